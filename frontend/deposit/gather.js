// The files that a person chooses or drops, thousands of them without freezing the page.
const SLICE = 40; // milliseconds of work between two breaths of the page

// A browser looks at the disk the first time that it is asked for a size: thousands would freeze the page.
export async function measured(found) {
  const sized = [];
  let since = performance.now();
  for (const each of found) {
    sized.push({ ...each, size: each.file.size });
    if (performance.now() - since < SLICE) continue;
    await new Promise((resolve) => setTimeout(resolve));
    since = performance.now();
  }
  return sized;
}

// Files and folders let fall on the page, with their paths.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: path + entry.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const each of batch) await walk(each, `${path}${entry.name}/`);
    }
  };
  for (const entry of entries) await walk(entry, "");
  return found;
}
