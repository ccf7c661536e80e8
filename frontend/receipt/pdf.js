// The files inside a sealed receipt: pdf.js reads them, nothing is drawn, nothing is fetched.
import "pdfjs-dist/legacy/build/pdf.worker.mjs"; // says `globalThis.pdfjsWorker`: no other worker is started
import { getDocument } from "pdfjs-dist/legacy/build/pdf.mjs";

globalThis.receiptAttachments = async (data) => {
  const task = getDocument({ data, isEvalSupported: false, disableFontFace: true, useSystemFonts: false, useWasm: false, verbosity: 0 });
  try {
    const pdf = await task.promise;
    const files = new Map();
    for (const [id, { filename }] of (await pdf.getAttachments()) ?? []) files.set(filename, await pdf.getAttachmentContent(id));
    return files;
  } finally {
    await task.destroy();
  }
};
