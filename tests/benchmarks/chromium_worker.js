// What the deposit's worker does to one file, measured: read, seal, hash, send. Bundled by chromium.py.
import { FileDigest, isDigestThread, sealedParts, serveDigests } from "../../frontend/deposit/pipeline.js";
import { random } from "../../frontend/sealing/bytes.js";
import { Cobblestone, sealedSize } from "../../frontend/sealing/cobblestone.js";

const PART = 8 * 1024 ** 2;

async function seconds(work) {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

// The deposit's own pipeline; `each` part is given and waited for.
async function parts(file, plainDigest, each) {
  const made = await Cobblestone.with(random(32), random(8), random(24));
  const read = async (from, to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
  const object = { size: file.size, sealed: sealedSize(file.size) };
  for await (const { bytes, digest } of sealedParts(made, object, { part: PART, read, plainDigest })) {
    await each(bytes, digest);
  }
  return plainDigest?.end();
}

const put = (bytes) => fetch("/put", { method: "PUT", body: new Blob([bytes]) });

const work = {
  async read(file) {
    for (let at = 0; at < file.size; at += PART) await file.slice(at, at + PART).arrayBuffer();
  },
  async cipher(file) {
    await parts(file, null, () => {});
  },
  async seal(file) {
    const digests = [];
    await parts(file, new FileDigest(file.size), (_, digest) => digests.push(digest));
    await Promise.all(digests);
  },
  async put(file) {
    for (let at = 0; at < file.size; at += PART) {
      await put(new Uint8Array(await file.slice(at, at + PART).arrayBuffer()));
    }
  },
  async sealput(file) {
    let sending = Promise.resolve();
    await parts(file, new FileDigest(file.size), async (bytes, digest) => {
      await sending;
      sending = digest.then(() => put(bytes));
    });
    await sending;
  },
};

if (isDigestThread()) serveDigests();
else addEventListener("message", async ({ data: { name, file } }) => postMessage(await seconds(() => work[name](file))));
