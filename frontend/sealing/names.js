// Names under which files are sealed (signing/SPEC.md §1).

export const NAME_CHARS = 255;

// The closest name that every opener accepts; folders are kept, nothing leaves them.
export function cleanName(path) {
  const cleaned = path
    .normalize("NFC")
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}]/gu, "")
    .replaceAll("\\", "-")
    .split("/")
    .map((part) => part.trim())
    .filter((part) => part !== "" && part !== "." && part !== "..")
    .join("/");
  const name = cleaned || "fichier";
  if ([...name].length <= NAME_CHARS) return name;
  const dot = name.lastIndexOf(".");
  const ending = dot > 0 && name.length - dot <= 12 ? name.slice(dot) : "";
  return [...name].slice(0, NAME_CHARS - [...ending].length).join("") + ending;
}

// Names as they will be sealed, in order, each different from the others whatever the case.
export function cleanNames(paths) {
  const taken = new Set();
  const copies = new Map(); // the last number given for a name: a thousand files of one name stay quick
  return paths.map((path) => {
    const name = cleanName(path);
    const dot = name.lastIndexOf(".");
    const [stem, ending] = dot > name.lastIndexOf("/") + 1 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    let chosen = name;
    let copy = copies.get(folded(name)) ?? 1;
    while (taken.has(folded(chosen))) chosen = cleanName(`${stem} (${(copy += 1)})${ending}`);
    copies.set(folded(name), copy);
    taken.add(folded(chosen));
    return chosen;
  });
}

const folded = (name) => name.toUpperCase().toLowerCase();
