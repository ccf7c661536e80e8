// Preflight, on the bidder's own machine: what a committee could not read, said before it is sealed.
// Nothing here blocks a deposit; each note is { level: "good" | "warn", code, text }. The codes, without a name or a
// text, are what the receipt keeps (dematmp/bids/preflight.py).
import { NAME_CHARS } from "../sealing/names.js";
import { good, warn } from "./notes.js";
import { inspectZip } from "./zip.js";

const RUNS = /\.(?:exe|com|scr|bat|cmd|msi|js|vbs|ps1|jar|lnk|hta|dll|app|dmg|apk)$/i;
const DOUBLE = /\.(?:pdf|docx?|xlsx?|odt|ods|jpe?g|png|zip)\.[a-z0-9]{2,4}$/i;
const MACROS = /\.(?:docm|dotm|xlsm|xltm|xlam|pptm|ppsm)$/i;
const ZIPPED_OFFICE = /\.(?:docx|xlsx|pptx|docm|dotm|xlsm|xltm|xlam|pptm|ppsm|odt|ods|odp)$/i;
const LOOKS_LIKE_AN_OFFER = /(?:offre|prix|bpu|dpgf|dqe|bordereau|acte.?d.?engagement|devis)/i;
const HEAD = 1024; // bytes in which a PDF must say that it is one, and end (ISO 32000-1, implementation notes)
const PDF_BYTES = 256 * 1024 ** 2; // pdf.js reserves the size of the file
const OLE_BYTES = 16 * 1024 ** 2; // read of an old Office file, block by block
const OLE = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
const MACROS_TEXT = "Ce document porte des macros : l'antivirus peut l'écarter, la commission refuser de l'ouvrir.";

const latin = (bytes) => new TextDecoder("latin1").decode(bytes);
const bytesOf = async (file, from, to) => new Uint8Array(await file.slice(Math.max(0, from), to).arrayBuffer());

// The notes of one file; never throws. `openPdf` answers the program of pdf.js, fetched at the first PDF only.
export async function inspect(file, { name, original, kind, limit }, openPdf) {
  const notes = inspectName(file, { name, original, kind, limit });
  if (file.size > 0) {
    try {
      notes.push(...(await inspectContent(file, name, openPdf)));
    } catch {
      notes.push(warn("file.unreadable", "Ce fichier n'a pas pu être lu : est-il encore sur ce poste ?"));
    }
  }
  const warnings = notes.filter(({ level }) => level === "warn");
  if (warnings.length) return [...new Map(warnings.map((note) => [note.code, note])).values()];
  return [notes[0] ?? good("Vérifié.")];
}

function inspectName(file, { name, original, kind, limit }) {
  const notes = [];
  if (file.size === 0) notes.push(warn("file.empty", "Ce fichier est vide (0 octet)."));
  if (limit && file.size > limit) {
    notes.push(warn("file.over-limit", "Ce fichier dépasse la taille permise : il sera refusé."));
  }
  if (name !== original) notes.push(warn("name.changed", `Il sera déposé sous le nom « ${name} ».`));
  if ([...original].length > NAME_CHARS) notes.push(warn("name.too-long", `Son nom dépasse ${NAME_CHARS} caractères.`));
  if (DOUBLE.test(name)) notes.push(warn("name.double-extension", "Nom à double extension : l'antivirus peut l'écarter."));
  if (RUNS.test(name)) notes.push(warn("name.program", "C'est un programme : l'antivirus peut l'écarter."));
  if (MACROS.test(name)) notes.push(warn("office.macros", MACROS_TEXT));
  if (kind === "candidature" && LOOKS_LIKE_AN_OFFER.test(name)) {
    const text = "Ce nom ressemble à une pièce de l'offre : vérifiez qu'il est dans la bonne enveloppe.";
    notes.push(warn("name.looks-like-offer", text));
  }
  if (file.size > 2 * 1024 ** 3) {
    notes.push(warn("file.over-antivirus", "Au-delà de 2 Go, l'antivirus n'analyse pas un fichier, sauf une archive, dont il analyse chaque pièce de moins de 2 Go."));
  }
  return notes;
}

async function inspectContent(file, name, openPdf) {
  const head = await bytesOf(file, 0, HEAD);
  if (/\.pdf$/i.test(name)) return inspectPdf(file, head, openPdf);
  if (head[0] === 0x50 && head[1] === 0x4b) {
    return inspectZip(file, { office: ZIPPED_OFFICE.test(name), runs: RUNS, macros: MACROS_TEXT });
  }
  if (OLE.every((byte, at) => head[at] === byte)) return inspectOle(file, name);
  if (/\.zip$/i.test(name) || ZIPPED_OFFICE.test(name)) {
    return [warn("file.mismatch", "Ce fichier n'est pas celui que son nom annonce.")];
  }
  return [];
}

async function inspectPdf(file, head, openPdf) {
  if (!latin(head).includes("%PDF-")) return [warn("pdf.unreadable", "Ce fichier n'est pas un PDF lisible.")];
  const notes = [];
  if (!latin(await bytesOf(file, file.size - HEAD, file.size)).includes("%%EOF")) {
    notes.push(warn("pdf.truncated", "Ce PDF semble incomplet : sa fin manque."));
  }
  if (file.size > PDF_BYTES) {
    return [...notes, warn("pdf.too-large", "Ce PDF dépasse 256 Mo : il est trop gros pour être ouvert à la vérification.")];
  }
  let examine;
  try {
    ({ examine } = openPdf());
  } catch {
    return [...notes, warn("check.unavailable", "Ce PDF n'a pas pu être ouvert par cette page : vérifiez-le vous-même.")];
  }
  return [...notes, await examine(file)];
}

// Office files before 2007, and later ones under a password: streams are named in UTF-16 in the directory (MS-CFB §2.6).
async function inspectOle(file, name) {
  const wide = (text) => [...text].map((letter) => `${letter}\0`).join("");
  const [macros, password] = [wide("_VBA_PROJECT"), wide("EncryptedPackage")];
  const overlap = password.length;
  for (let at = 0; at < Math.min(file.size, OLE_BYTES); at += 1024 ** 2) {
    const block = latin(await bytesOf(file, at, at + 1024 ** 2 + overlap));
    if (block.includes(password)) {
      return [warn("office.password", "Ce document demande un mot de passe : la commission ne pourra pas le lire.")];
    }
    if (block.includes(macros)) return [warn("office.macros", MACROS_TEXT)];
  }
  return ZIPPED_OFFICE.test(name) ? [warn("file.mismatch", "Ce fichier n'est pas celui que son nom annonce.")] : [];
}
