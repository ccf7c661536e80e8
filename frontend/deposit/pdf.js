// Does this PDF really open? pdf.js reads it by ranges, in the worker that checks: nothing is drawn, no script of the
// document runs (pdf.js has none outside its viewer's sandbox, which is not here), nothing is fetched.
import "pdfjs-dist/legacy/build/pdf.worker.mjs"; // says `globalThis.pdfjsWorker`: no other worker is started
import { PDFDataRangeTransport, PasswordException, getDocument } from "pdfjs-dist/legacy/build/pdf.mjs";
import { good, warn } from "./notes.js";

const RANGE = 64 * 1024;
const READ_BYTES = 64 * 1024 ** 2; // a PDF in order asks for much less; without its table of objects, for the whole file
const UNREADABLE = warn("pdf.unreadable", "Ce fichier n'est pas un PDF lisible.");

class TooMuch extends Error {}

class Ranges extends PDFDataRangeTransport {
  constructor(file, fail) {
    super(file.size, null);
    Object.assign(this, { file, fail, asked: 0 });
  }

  requestDataRange(begin, end) {
    this.asked += end - begin;
    if (this.asked > READ_BYTES) {
      this.fail(new TooMuch());
      return;
    }
    this.file
      .slice(begin, end)
      .arrayBuffer()
      .then((bytes) => this.onDataRange(begin, new Uint8Array(bytes)))
      .catch(this.fail);
  }
}

// One note. Throws when the file itself cannot be read any more.
async function examine(file) {
  let fail;
  const lost = new Promise((_, reject) => (fail = reject));
  lost.catch(() => {});
  const task = getDocument({
    range: new Ranges(file, fail),
    rangeChunkSize: RANGE,
    disableAutoFetch: true,
    disableStream: true,
    disableFontFace: true,
    isImageDecoderSupported: false,
    isOffscreenCanvasSupported: false,
    useSystemFonts: false,
    useWasm: false,
    useWorkerFetch: false,
    verbosity: 0,
  });
  try {
    const pages = await Promise.race([lost, pagesOf(task)]);
    if (pages === 0) return warn("pdf.no-page", "Ce PDF ne contient aucune page.");
    return good(`Vérifié : PDF de ${pages} page${pages > 1 ? "s" : ""}.`);
  } catch (error) {
    if (error instanceof PasswordException) {
      return warn("pdf.password", "Ce PDF demande un mot de passe : la commission ne pourra pas le lire.");
    }
    if (error instanceof TooMuch) return warn("pdf.damaged", "Ce PDF est abîmé : vérifiez qu'il s'ouvre avant de le déposer.");
    if (error instanceof DOMException) throw error;
    return UNREADABLE;
  } finally {
    await task.destroy().catch(() => {});
  }
}

async function pagesOf(task) {
  const opened = await task.promise;
  const count = opened.numPages;
  for (const number of count > 0 ? new Set([1, count]) : []) await opened.getPage(number);
  return count;
}

globalThis.preflightPdf = { examine };
