// What the deposit's worker does to one file, measured: read, seal, hash, send. Bundled by chromium.py.
import { createSHA256 } from "hash-wasm";
import { random, sha256 } from "../../frontend/sealing/bytes.js";
import { Cobblestone, sealedSize } from "../../frontend/sealing/cobblestone.js";

const PART = 8 * 1024 ** 2;

async function seconds(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

async function parts(file, each) {
  const made = await Cobblestone.with(random(32), random(8), random(24));
  const sealed = sealedSize(file.size);
  const read = async (from, to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
  for (let start = 0; start < sealed; start += PART) await each(made, start, Math.min(sealed, start + PART), read);
}

const put = (bytes) => fetch("/put", { method: "PUT", body: new Blob([bytes]) });

const work = {
  async read(file) {
    for (let at = 0; at < file.size; at += PART) await file.slice(at, at + PART).arrayBuffer();
  },
  async cipher(file) {
    await parts(file, (made, start, end, read) => made.sealRange(start, end, file.size, read));
  },
  async seal(file) {
    const hash = (await createSHA256()).init();
    let upTo = 0;
    await parts(file, async (made, start, end, read) => {
      const bytes = await made.sealRange(start, end, file.size, read, (plain, from, to) => {
        hash.update(plain.subarray(upTo - from));
        upTo = to;
      });
      await sha256(bytes);
    });
    hash.digest("hex");
  },
  async put(file) {
    for (let at = 0; at < file.size; at += PART) {
      await put(new Uint8Array(await file.slice(at, at + PART).arrayBuffer()));
    }
  },
  async sealput(file) {
    const hash = (await createSHA256()).init();
    let upTo = 0;
    let sending = Promise.resolve();
    await parts(file, async (made, start, end, read) => {
      const bytes = await made.sealRange(start, end, file.size, read, (plain, from, to) => {
        hash.update(plain.subarray(upTo - from));
        upTo = to;
      });
      await sha256(bytes);
      await sending;
      sending = put(bytes);
    });
    await sending;
  },
};

addEventListener("message", async ({ data: { name, file } }) => postMessage(await seconds(() => work[name](file))));
