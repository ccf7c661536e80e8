// Bundle the theme and the scripts into dematmp/web/static/build: `node frontend/build.js [--watch]`.
import { copyFile } from "node:fs/promises";
import { context, build } from "esbuild";

const options = {
  entryPoints: {
    site: "frontend/site.js",
    theme: "frontend/theme.css",
    early: "frontend/early.js",
    deposit: "frontend/deposit/page.js",
    "deposit-worker": "frontend/deposit/worker.js",
    "preflight-worker": "frontend/deposit/preflight-worker.js",
    "preflight-pdf": "frontend/deposit/pdf.js", // fetched at the first PDF only
    committee: "frontend/committee/page.js",
    receipt: "frontend/receipt/page.js",
    "receipt-pdf": "frontend/receipt/pdf.js", // fetched for a PDF only
    "receipt-token": "frontend/receipt/token.js", // fetched for a receipt that has a token
    "committee-worker": "frontend/committee/worker.js",
  },
  // `slip39` was written for Node: these two files are all it asks of it.
  alias: { crypto: "./frontend/committee/node/crypto.js" },
  inject: ["frontend/committee/node/buffer.js"],
  outdir: "dematmp/web/static/build",
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  legalComments: "linked",
  logLevel: "warning",
};

if (process.argv.includes("--watch")) {
  await (await context(options)).watch();
} else {
  await build(options);
  // Their sources carry no comment that esbuild keeps, and their licences ask to be kept.
  const kept = { "preflight-worker": "@zip.js/zip.js", "preflight-pdf": "pdfjs-dist", "receipt-pdf": "pdfjs-dist", "receipt-token": "pkijs" };
  for (const [name, from] of Object.entries(kept)) {
    await copyFile(`node_modules/${from}/LICENSE`, `${options.outdir}/${name}.js.LEGAL.txt`);
  }
}
