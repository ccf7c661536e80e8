// Is the journal published now the continuation of the one that a receipt was given under? Its checkpoint and its tiles
// are fetched (C2SP tlog-tiles); nothing of the receipt is sent. Tiles are believed for nothing: the proof made of them
// leads to both signed roots (RFC 9162 §2.1.4), or is refused.
import { ascii, concat, equal, hex, sha256, unbase64, unhex } from "../sealing/bytes.js";
import { Refused, node, parseCheckpoint, signedText } from "./journal.js";

const WIDTH = 256;
const HASH = 32;
const WITNESS_KEY = 4; // the algorithm byte of a witness's Ed25519 key (tlog-cosignature)
const HEAD = 12; // bytes of a cosignature before its signature: key id, time
const REWRITTEN = "Le journal publié n'est pas le prolongement de celui de cet accusé : il a été réécrit.";
const fail = (text) => {
  throw new Refused(text);
};

async function get(url) {
  const answer = await fetch(url, { cache: "no-cache", credentials: "omit" });
  if (!answer.ok) throw new TypeError(`${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

function tilePath(level, index, width) {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g);
  const path = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join("/");
  return `tile/${level}/${path}${width === WIDTH ? "" : `.p/${width}`}`;
}

// { note, size, root, key } of what this site publishes, signed by the one of these keys that it is of. Throws Refused,
// TypeError when it cannot be fetched.
export async function published(base, keys) {
  const note = new TextDecoder().decode(await get(`${base}checkpoint`));
  const key = keys.find(({ name }) => name === note.split("\n")[0]);
  if (!note || !key) return { note, key: null };
  return { note, key, ...parseCheckpoint(await signedText(note, key), key.name) };
}

const split = (count) => 2 ** (Math.ceil(Math.log2(count)) - 1); // the largest power of two below it

// The hash of leaves start to end of a journal of `size`, from its tiles.
function reader(base, size) {
  const tiles = new Map();
  const tile = (level, index) => {
    const width = Math.min(WIDTH, Math.floor(size / WIDTH ** level) - index * WIDTH);
    const path = tilePath(level, index, width);
    if (!tiles.has(path)) tiles.set(path, get(base + path).then((bytes) => (bytes.length === width * HASH ? bytes : fail("Une tuile du journal est trop courte."))));
    return tiles.get(path);
  };
  const merged = async (hashes) => (hashes.length === 1 ? hashes[0] : node(await merged(hashes.slice(0, hashes.length / 2)), await merged(hashes.slice(hashes.length / 2))));
  const range = async (start, end) => {
    const count = end - start;
    const height = Math.log2(count);
    if (!Number.isInteger(height) || start % count) {
      const middle = start + split(count);
      return node(await range(start, middle), await range(middle, end));
    }
    const level = Math.floor(height / 8);
    const inner = 2 ** (height % 8); // hashes of that level
    const first = (start / count) * inner;
    const bytes = await tile(level, Math.floor(first / WIDTH));
    const at = (first % WIDTH) * HASH;
    return merged(Array.from({ length: inner }, (_, rank) => bytes.subarray(at + rank * HASH, at + (rank + 1) * HASH)));
  };
  return range;
}

async function consistencyProof(old, size, range) {
  const below = async (count, start, end, whole) => {
    if (count === end - start) return whole ? [] : [await range(start, end)];
    const middle = split(end - start);
    if (count <= middle) return [...(await below(count, start, start + middle, whole)), await range(start + middle, end)];
    return [...(await below(count - middle, start + middle, end, false)), await range(start, start + middle)];
  };
  return below(old, 0, size, true);
}

async function verifyConsistency(old, size, oldRoot, root, proof) {
  if (old === size) return equal(oldRoot, root) || fail(REWRITTEN);
  const path = Number.isInteger(Math.log2(old)) ? [oldRoot, ...proof] : [...proof];
  let [position, last] = [old - 1, size - 1];
  const up = () => ([position, last] = [Math.floor(position / 2), Math.floor(last / 2)]);
  while (position % 2) up();
  let [first, second] = [path[0], path[0]];
  for (const value of path.slice(1)) {
    if (last === 0) fail(REWRITTEN);
    if (position % 2 || position === last) {
      [first, second] = [await node(value, first), await node(value, second)];
      while (position % 2 === 0 && position) up();
    } else {
      second = await node(second, value);
    }
    up();
  }
  return (last === 0 && equal(first, oldRoot) && equal(second, root)) || fail(REWRITTEN);
}

// Throws Refused unless the journal published here begins with the `size` entries of `root`.
export async function follows(base, now, { size, root }) {
  const proof = await consistencyProof(size, now.size, reader(base, now.size));
  await verifyConsistency(size, now.size, root, now.root, proof);
}

// { name, time } of the cosignature of a witness, time null when it did not sign. Throws Refused for what is no key.
export async function cosigned(note, line) {
  const [name, id, ...rest] = line.trim().split("+");
  let raw;
  try {
    raw = unbase64(rest.join("+"));
  } catch {
    raw = new Uint8Array();
  }
  const expected = (await sha256(concat(ascii(`${name}\n`), raw))).subarray(0, 4);
  if (!name || raw[0] !== WITNESS_KEY || raw.length !== HASH + 1 || id !== hex(expected)) fail("Cette clé de témoin n'est pas valide.");
  const key = await crypto.subtle.importKey("raw", raw.subarray(1), { name: "Ed25519" }, false, ["verify"]);
  const at = note.lastIndexOf("\n\n");
  for (const [, who, encoded] of note.slice(at + 2, -1).split("\n").map((each) => each.split(" "))) {
    const said = unbase64(encoded);
    if (who !== name || !equal(said.subarray(0, 4), unhex(id)) || said.length <= HEAD) continue;
    const seconds = new DataView(said.buffer).getBigUint64(4);
    const message = ascii(`cosignature/v1\ntime ${seconds}\n${note.slice(0, at + 1)}`);
    if (await crypto.subtle.verify({ name: "Ed25519" }, key, said.subarray(HEAD), message)) return { name, time: new Date(Number(seconds) * 1000).toISOString() };
  }
  return { name, time: null };
}
