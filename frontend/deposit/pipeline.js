// Reading, sealing and hashing at once: each has its thread, and at most a few parts are in memory.
import { createSHA256 } from "hash-wasm";
import { hex, sha256 } from "../sealing/bytes.js";
import { Refused } from "../sealing/cobblestone.js";

const NAME = "digest"; // of the thread that only hashes: the same script, started again
const AHEAD = 2; // ranges given to it and not hashed yet

const failed = () => new Refused("client.program", "Le programme de cette page n'a pas pu se lancer : rechargez-la, puis recommencez.");

export const isDigestThread = () => self.name === NAME;

// In the thread that hashes: ranges in order, each byte once although neighbours share a chunk.
export function serveDigests() {
  const ready = createSHA256();
  let upTo = 0;
  let current = null;
  const serve = (hash, { file, plain, from, to }) => {
    if (file !== current) {
      hash.init(); // the former file may have been left in the middle
      [current, upTo] = [file, 0];
    }
    if (!plain) return postMessage({ file, digest: hash.digest("hex") });
    if (to > upTo) hash.update(plain.subarray(upTo - from));
    upTo = Math.max(upTo, to);
    return postMessage({ file });
  };
  addEventListener("message", async ({ data }) => serve(await ready, data));
}

// The SHA-256 of one file, given range by range; what is given may not be used afterwards.
export class FileDigest {
  static thread = null;
  static count = 0;

  constructor(size) {
    Object.assign(this, { size, pending: 0, tell: null, whole: null });
    if (size <= 8 * 1024 ** 2) return; // read in one range: WebCrypto hashes it
    FileDigest.thread ??= new Worker(self.location.href, { name: NAME });
    this.thread = FileDigest.thread;
    this.file = FileDigest.count += 1;
    this.thread.onmessage = ({ data }) => this.told(data);
    this.thread.onerror = () => this.told({ file: this.file, error: failed() });
  }

  told({ file, digest, error }) {
    if (file !== this.file) return;
    this.pending -= 1;
    Object.assign(this, { digest, error: this.error ?? error });
    this.tell?.();
  }

  async until(condition) {
    while (!this.error && !condition()) await new Promise((resolve) => (this.tell = resolve));
    if (this.error) throw this.error;
  }

  async add(plain, from, to) {
    if (!this.thread) {
      if (from === 0 && to === this.size) this.whole ??= sha256(plain);
      return;
    }
    await this.until(() => this.pending < AHEAD);
    this.pending += 1;
    this.thread.postMessage({ file: this.file, plain, from, to }, [plain.buffer]);
  }

  async end() {
    if (!this.thread) return hex(await this.whole);
    this.pending += 1;
    this.thread.postMessage({ file: this.file });
    await this.until(() => this.pending === 0);
    return this.digest;
  }
}

// The parts of one object in order, { start, bytes, digest }: while one is sealed, the next is read and the former hashed.
export async function* sealedParts(made, { size, sealed }, { part, read, plainDigest = null }) {
  const range = (start) => made.plainRange(start, Math.min(sealed, start + part), size);
  const reading = (start) => {
    const { from, to } = range(start);
    const bytes = read(from, to);
    bytes.catch(() => {}); // it is thrown when this part's turn comes
    return bytes;
  };
  let ahead = reading(0);
  for (let start = 0; start < sealed; start += part) {
    const [end, { from, to }] = [Math.min(sealed, start + part), range(start)];
    const plain = await ahead;
    if (end < sealed) ahead = reading(end);
    const sealing = made.sealPlain(start, end, plain, from);
    if (plainDigest) await plainDigest.add(plain, from, to);
    const bytes = await sealing;
    yield { start, bytes, digest: sha256(bytes).then(hex) };
  }
}
