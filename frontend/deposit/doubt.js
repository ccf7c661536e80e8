// What may have been forgotten, asked once before anything leaves: the second press deposits.
const listed = new Intl.ListFormat("fr", { type: "conjunction" });

// What to ask of these zones, the empty string when nothing is missing.
export function doubtOf(zones) {
  const empty = zones.filter((zone) => !zone.files.length);
  if (!empty.length) return "";
  const full = new Set(zones.filter((zone) => zone.files.length).map(({ lot }) => lot));
  const lots = [...new Set(empty.map(({ lot }) => lot))];
  const unused = lots.filter((lot) => !full.has(lot));
  const missing = empty.map((zone) => zone.section.dataset.title).join(" ; ");
  if (!unused.length) return `Rien n'est choisi pour : ${missing}. Ajoutez les fichiers, ou déposez quand même.`;
  const which = unused.length === lots.length ? (lots.length > 1 ? "ces lots" : "le lot") : named(unused);
  return `Vous avez coché ${named(lots)}, mais rien n'est choisi pour : ${missing}. Ajoutez les fichiers, décochez ${which}, ou déposez quand même.`;
}

const named = (lots) => `${lots.length > 1 ? "les lots" : "le lot"} ${listed.format(lots)}`;
