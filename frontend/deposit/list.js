// The list of an envelope's files. Thousands of rows would freeze the page and drown a keyboard: the first are shown, and
// those that call for a look; each row is built once and changed only when what it says changes.
import { bytesText, element } from "./words.js";

const PAGE = 100; // rows more at each request

export class FileList {
  // `remove(id)` is called when somebody withdraws a file.
  constructor({ list, more, remove }) {
    Object.assign(this, { list, more, remove, rows: new Map(), shown: PAGE, files: [] });
    this.button = element("button", { type: "button", className: "btn btn-outline-primary" }, `Afficher ${PAGE} fichiers de plus`);
    this.button.addEventListener("click", () => {
      this.shown += PAGE;
      const [first] = this.files.filter(({ id }) => !this.rows.has(id));
      this.show(this.files);
      this.rows.get(first?.id)?.item.querySelector("button").focus();
    });
    this.text = element("p", { className: "text-secondary mt-2 mb-2" });
    this.more.append(this.text, element("p", { className: "actions" }, this.button));
  }

  show(files) {
    this.files = files;
    const beyond = files.slice(this.shown).filter(({ notes }) => notes?.some(({ level }) => level === "warn"));
    const visible = [...files.slice(0, this.shown), ...beyond.slice(0, PAGE)];
    const kept = new Set(visible.map(({ id }) => id));
    for (const [id, { item }] of this.rows) {
      if (kept.has(id)) continue;
      item.remove();
      this.rows.delete(id);
    }
    let place = this.list.firstElementChild;
    for (const each of visible) {
      const { item } = this.row(each);
      if (item === place) place = place.nextElementSibling;
      else this.list.insertBefore(item, place); // a row that is there stays there: focus is not lost
    }
    this.more.hidden = visible.length === files.length;
    const alike = beyond.length > PAGE ? `, ${beyond.length} autres appellent une remarque` : "";
    this.text.textContent = `${visible.length} fichiers affichés sur ${files.length}${alike}.`;
  }

  row(each) {
    const known = this.rows.get(each.id);
    if (known?.notes === each.notes && known.name === each.name) return known;
    const { id, size, name, notes } = each;
    const item = known?.item ?? element("li", { className: "deposit-file" });
    if (known?.name !== name) {
      const remove = element("button", { type: "button", className: "btn btn-link p-0" }, "Retirer");
      remove.append(element("span", { className: "visually-hidden" }, ` ${name}`));
      remove.addEventListener("click", () => this.remove(id));
      const title = element("p", { className: "mb-0" }, element("strong", {}, name), ` (${bytesText(size)}) `, remove);
      item.replaceChildren(title);
    }
    for (const old of [...item.children].slice(1)) old.remove();
    for (const { level, text } of notes ?? []) item.append(element("p", { className: `mb-0 note-${level}` }, text));
    if (notes === null) item.append(element("p", { className: "mb-0 text-secondary" }, "Vérification…"));
    const row = { item, notes, name };
    this.rows.set(id, row);
    return row;
  }
}
