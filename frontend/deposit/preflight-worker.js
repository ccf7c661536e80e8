// Checks files one after the other, away from the page and from what seals: it may be killed at any time. Its policy
// (dematmp/web/static_headers.py) lets it reach no address at all.
import { inspect } from "./inspect.js";

function openPdf(url) {
  if (!globalThis.preflightPdf) {
    postMessage({ type: "loading" });
    importScripts(url);
    postMessage({ type: "loaded" });
  }
  return globalThis.preflightPdf;
}

addEventListener("message", async ({ data }) => {
  if (data.type !== "inspect") return; // pdf.js listens here too
  for (const { id, file, ...context } of data.files) {
    postMessage({ type: "inspected", id, notes: await inspect(file, context, () => openPdf(data.pdf)) });
  }
});
