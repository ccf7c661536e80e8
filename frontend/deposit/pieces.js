// Which expected pieces no file seems to bring (signing/pieces.py): advice, never a refusal.
const SMALL = new Set("a au aux ce d de des du en et l la le les ou par pour sur un une".split(" "));

const wordsOf = (text) =>
  (text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "").match(/[a-z]+[0-9]*|[0-9]+/g) ?? []).filter((word) => !SMALL.has(word));

export function brings(name, title) {
  const [wanted, held] = [wordsOf(title), wordsOf(name)];
  if (!wanted.length) return true;
  const joined = held.join("");
  const found = wanted.filter((word) => held.includes(word) || (word.length > 3 && joined.includes(word))).length;
  const initials = wanted.map((word) => word[0]).join("");
  return found * 3 >= wanted.length * 2 || (initials.length > 1 && held.includes(initials));
}

// The list of an envelope's pieces: what brings each, or that nothing seems to.
export function showPieces(list, names) {
  for (const item of list?.querySelectorAll("[data-piece]") ?? []) {
    const name = names.find((each) => brings(each, item.dataset.piece));
    const text = name ? `trouvée : ${name}` : "aucun fichier n'en porte le nom : vérifiez qu'elle y est";
    const said = item.querySelector("[data-found]");
    if (said.textContent === text) continue;
    said.textContent = text;
    said.className = name ? "note-good" : names.length ? "note-warn" : "text-secondary";
  }
}
