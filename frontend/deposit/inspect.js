// Preflight, on the bidder's own machine: what a committee could not read, said before it is sealed.
// Nothing here blocks a deposit; each note is { level: "good" | "warn", text }.
import { NAME_CHARS } from "../sealing/names.js";

const RUNS = /\.(?:exe|com|scr|bat|cmd|msi|js|vbs|ps1|jar|lnk|hta|dll|app|dmg|apk)$/i;
const DOUBLE = /\.(?:pdf|docx?|xlsx?|odt|ods|jpe?g|png|zip)\.[a-z0-9]{2,4}$/i;
const MACROS = /\.(?:docm|dotm|xlsm|xltm|xlam|pptm|ppsm)$/i;
const OFFICE = /\.(?:docx|xlsx|pptx|odt|ods|odp)$/i;
const LOOKS_LIKE_AN_OFFER = /(?:offre|prix|bpu|dpgf|dqe|bordereau|acte.?d.?engagement|devis)/i;
const EDGE = 64 * 1024; // bytes read at each end of a file
const MAX_ENTRIES = 20_000;

const warn = (text) => ({ level: "warn", text });
const latin = (bytes) => new TextDecoder("latin1").decode(bytes);
const bytesOf = async (file, from, to) => new Uint8Array(await file.slice(Math.max(0, from), to).arrayBuffer());

export async function inspect(file, { name, original, kind, limit }) {
  const notes = [];
  if (file.size === 0) notes.push(warn("Ce fichier est vide (0 octet)."));
  if (limit && file.size > limit) notes.push(warn("Ce fichier dépasse la taille permise : il sera refusé."));
  if (name !== original) notes.push(warn(`Il sera déposé sous le nom « ${name} ».`));
  if ([...original].length > NAME_CHARS) notes.push(warn(`Son nom dépasse ${NAME_CHARS} caractères.`));
  if (DOUBLE.test(name) || RUNS.test(name)) {
    notes.push(warn("C'est un programme, ou un nom à double extension : l'antivirus peut l'écarter."));
  }
  if (MACROS.test(name)) notes.push(warn("Ce document porte des macros : la commission peut refuser de l'ouvrir."));
  if (kind === "candidature" && LOOKS_LIKE_AN_OFFER.test(name)) {
    notes.push(warn("Ce nom ressemble à une pièce de l'offre : vérifiez qu'il est dans la bonne enveloppe."));
  }
  if (file.size > 2 * 1024 ** 3) notes.push(warn("Au-delà de 2 Go, l'antivirus ne peut pas analyser un fichier."));
  if (file.size > 0) {
    try {
      notes.push(...(await inspectContent(file, name)));
    } catch {
      notes.push(warn("Ce fichier n'a pas pu être lu : est-il encore sur ce poste ?"));
    }
  }
  return notes.length ? notes : [{ level: "good", text: "Vérifié." }];
}

async function inspectContent(file, name) {
  const head = await bytesOf(file, 0, EDGE);
  if (/\.pdf$/i.test(name)) return inspectPdf(file, head);
  if (head[0] === 0x50 && head[1] === 0x4b) return inspectZip(file, name);
  if (/\.zip$/i.test(name) || OFFICE.test(name)) return [warn("Ce fichier n'est pas celui que son nom annonce.")];
  return [];
}

async function inspectPdf(file, head) {
  if (!latin(head.subarray(0, 1024)).includes("%PDF-")) return [warn("Ce fichier n'est pas un PDF lisible.")];
  const tail = latin(await bytesOf(file, file.size - EDGE, file.size));
  const notes = [];
  if (!tail.includes("%%EOF")) notes.push(warn("Ce PDF semble incomplet."));
  if (/\/Encrypt\s+\d+\s+\d+\s+R/.test(tail) || /\/Encrypt\s+\d+\s+\d+\s+R/.test(latin(head))) {
    notes.push(warn("Ce PDF est protégé : s'il demande un mot de passe, la commission ne pourra pas le lire."));
  }
  return notes;
}

// The central directory (APPNOTE.TXT §4.3.12, §4.3.16), bounded.
async function inspectZip(file, name) {
  const span = Math.min(file.size, 65_557);
  const tail = await bytesOf(file, file.size - span, file.size);
  const view = new DataView(tail.buffer);
  let end = tail.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) return [warn("Cette archive est incomplète ou abîmée.")];
  const [count, size, offset] = [
    view.getUint16(end + 10, true),
    view.getUint32(end + 12, true),
    view.getUint32(end + 16, true),
  ];
  if (count === 0xffff || size === 0xffffffff || offset === 0xffffffff) {
    return [warn("Archive au format ZIP64 : l'antivirus ne peut pas l'analyser. Découpez-la ou déposez les fichiers.")];
  }
  if (size > 16 * 1024 ** 2 || offset + size > file.size) return [warn("Cette archive est incomplète ou abîmée.")];
  const directory = await bytesOf(file, offset, offset + size);
  const notes = new Set();
  const rows = new DataView(directory.buffer);
  for (let at = 0, seen = 0; at + 46 <= directory.length && seen < MAX_ENTRIES; seen += 1) {
    if (rows.getUint32(at, true) !== 0x02014b50) return [warn("Cette archive est incomplète ou abîmée.")];
    const [flags, nameSize, extra, comment] = [8, 28, 30, 32].map((place) => rows.getUint16(at + place, true));
    const inside = latin(directory.subarray(at + 46, at + 46 + nameSize));
    if (flags & 1) notes.add("Cette archive demande un mot de passe : la commission ne pourra pas la lire.");
    if (rows.getUint32(at + 20, true) === 0xffffffff || rows.getUint32(at + 24, true) === 0xffffffff) {
      notes.add("Archive au format ZIP64 : l'antivirus ne peut pas l'analyser.");
    }
    if (/\.(?:zip|7z|rar|tar|gz)$/i.test(inside)) notes.add("Cette archive en contient une autre.");
    if (RUNS.test(inside)) notes.add("Cette archive contient un programme : l'antivirus peut l'écarter.");
    if (/vbaProject\.bin$/i.test(inside)) notes.add("Ce document porte des macros.");
    at += 46 + nameSize + extra + comment;
  }
  if (OFFICE.test(name) && count === 0) notes.add("Ce document est vide ou abîmé.");
  return [...notes].map(warn);
}
