// What preflight says of a file: a level, a stable code, a sentence.
export const good = (text) => ({ level: "good", code: "ok", text });
export const warn = (code, text) => ({ level: "warn", code, text });

// How many files were looked at, and how many files each code was said of: no name, no content.
export function summary(files) {
  const checked = files.filter(({ notes }) => notes !== null);
  const codes = {};
  for (const { notes } of checked) for (const { code } of notes) codes[code] = (codes[code] ?? 0) + 1;
  return { checked: checked.length, codes };
}
