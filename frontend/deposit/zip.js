// What is in a ZIP, read by zip.js in ranges: bounded in bytes, in entries and in time whatever the archive declares.
import {
  ERR_AMBIGUOUS_ARCHIVE,
  ERR_ENTRY_DATA_OUT_OF_BOUNDS,
  ERR_INVALID_COMPRESSED_DATA,
  ERR_INVALID_CRC32,
  ERR_INVALID_UNCOMPRESSED_SIZE,
  ERR_LOCAL_FILE_HEADER_NOT_FOUND,
  ZipReader,
} from "@zip.js/zip.js/lib/zip-core-reader.js";
import { good, warn } from "./notes.js";

const DIRECTORY_BYTES = 16 * 1024 ** 2;
const ENTRIES = 10_000; // what the antivirus unpacks
const TESTED_BYTES = 64 * 1024 ** 2; // decompressed to compare check sums, for one archive
const TESTED_SECONDS = 4;
const RATIO = 100; // decompressed over compressed: beyond, an archive made to exhaust whoever opens it
const END_BYTES = 22 + 65_535; // the end record and its longest comment (APPNOTE.TXT §4.3.16)
const DAMAGED = new Set([
  ERR_AMBIGUOUS_ARCHIVE,
  ERR_ENTRY_DATA_OUT_OF_BOUNDS,
  ERR_INVALID_COMPRESSED_DATA,
  ERR_INVALID_CRC32,
  ERR_INVALID_UNCOMPRESSED_SIZE,
  ERR_LOCAL_FILE_HEADER_NOT_FOUND,
]);
const WORDS = {
  archive: {
    what: "Cette archive",
    broken: "Cette archive est incomplète ou abîmée.",
    locked: "Cette archive demande un mot de passe : la commission ne pourra pas la lire.",
    damaged: "Cette archive est abîmée : un fichier qu'elle contient ne se décompresse pas.",
  },
  office: {
    what: "Ce document",
    broken: "Ce document est incomplet ou abîmé.",
    locked: "Ce document demande un mot de passe : la commission ne pourra pas le lire.",
    damaged: "Ce document est abîmé : il ne se décompresse pas.",
  },
};
const ZIP64_TEXT = "Archive au format ZIP64 : l'antivirus ne peut pas l'analyser. Découpez-la, ou déposez ses fichiers.";

class TooMuch extends Error {}

// zip.js reads a directory whole, as long as the archive declares it.
const ranges = (file) => ({
  size: file.size,
  async readUint8Array(offset, length) {
    if (length > DIRECTORY_BYTES) throw new TooMuch();
    return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
  },
  createReadable: ({ offset = 0, size }) => file.slice(offset, offset + size).stream(),
});

// `office` says that the name is that of an Office document; `runs` knows the name of a program.
export async function inspectZip(file, { office, runs, macros }) {
  const words = office ? WORDS.office : WORDS.archive;
  const notes = [];
  const entries = [];
  const tail = new Uint8Array(await file.slice(Math.max(0, file.size - END_BYTES - 76)).arrayBuffer());
  // As the platform's antivirus looks for it: a ZIP64 end record makes the archive one, even where it was not needed.
  let zip64 = new TextDecoder("latin1").decode(tail).includes("PK\x06\x06");
  try {
    const reader = new ZipReader(ranges(file), { strictness: "tolerant", useWebWorkers: false });
    for await (const entry of reader.getEntriesGenerator()) {
      entries.push(entry);
      if (entries.length > ENTRIES) throw new TooMuch();
    }
  } catch (error) {
    if (zip64) return [warn("zip.zip64", ZIP64_TEXT)];
    if (!(error instanceof TooMuch)) return [warn("zip.broken", words.broken)];
    return [warn("zip.too-many", `${words.what} contient plus de 10 000 fichiers : l'antivirus ne peut pas l'analyser.`)];
  }
  const files = entries.filter(({ directory }) => !directory);
  const named = (pattern) => files.some(({ filename }) => pattern.test(filename));
  zip64 ||= files.some((entry) => entry.zip64);
  const locked = files.some(({ encrypted }) => encrypted);
  if (zip64) notes.push(warn("zip.zip64", ZIP64_TEXT));
  if (locked) notes.push(warn("zip.password", words.locked));
  if (!office && named(/\.(?:zip|7z|rar|tar|gz|tgz|bz2|xz)$/i)) {
    notes.push(warn("zip.nested", "Cette archive en contient une autre : déposez plutôt les fichiers eux-mêmes."));
  }
  if (named(runs)) notes.push(warn("zip.program", `${words.what} contient un programme : l'antivirus peut l'écarter.`));
  if (named(/vbaProject\.bin$/i)) notes.push(warn("office.macros", macros));
  if (!files.length) notes.push(warn("zip.empty", `${words.what} est vide.`));
  const tested = await test(files);
  if (tested.damaged) notes.push(warn("zip.damaged", words.damaged));
  if (tested.bomb) notes.push(warn("zip.bomb", `${words.what} se décompresse en plus de ${RATIO} fois sa taille : l'antivirus peut l'écarter.`));
  if (notes.length) return notes;
  if (office) return [good("Vérifié.")];
  const count = `${files.length} fichier${files.length > 1 ? "s" : ""} dans l'archive`;
  return [good(tested.whole ? `Vérifié : ${count}.` : `Vérifié : ${count} ; le contenu n'a été contrôlé qu'en partie.`)];
}

// Decompress and compare check sums, the smallest declared first, until the budget is spent. What was not tested is said.
async function test(files) {
  const found = { damaged: false, bomb: false, whole: true };
  const packed = files.reduce((sum, { compressedSize }) => sum + compressedSize, 0);
  const unpacked = files.reduce((sum, { uncompressedSize }) => sum + uncompressedSize, 0);
  found.bomb = unpacked > TESTED_BYTES && unpacked > RATIO * packed;
  let left = TESTED_BYTES;
  const until = performance.now() + TESTED_SECONDS * 1000;
  for (const entry of files.filter(({ encrypted }) => !encrypted).sort((a, b) => a.uncompressedSize - b.uncompressedSize)) {
    if (found.bomb || entry.uncompressedSize > left || performance.now() > until) {
      found.whole = false;
      break;
    }
    const budget = new AbortController();
    const sink = new WritableStream({
      write(chunk) {
        left -= chunk.length;
        if (left < 0) throw new TooMuch(); // it declared less than it holds
      },
    });
    try {
      await entry.getData(sink, { checkCrc32: true, checkOverlappingEntry: true, signal: budget.signal });
    } catch (error) {
      budget.abort();
      if (left < 0) found.bomb = true;
      else if (DAMAGED.has(error?.message)) found.damaged = true;
      else found.whole = false; // a compression that this browser does not have
      if (left < 0 || found.damaged) break;
    }
  }
  return found;
}
