// The journal's proofs (C2SP tlog-proof, signed notes, RFC 9162), as strictly as Python reads them.
import { ascii, concat, equal, hex, sha256, unbase64, unhex } from "../sealing/bytes.js";

export class Refused extends Error {}

const LOG_KEY = 1; // the algorithm byte of a log's Ed25519 key
const HASH = 32;
const MAX_PROOF = 63;
const fail = (text) => {
  throw new Refused(text);
};

const bytesOf = (text, what) => {
  try {
    return unbase64(text);
  } catch {
    return fail(`${what} est mal encodé.`);
  }
};

// { name, id, key } of a verifier key line.
export async function parseKey(line) {
  const [name, id, ...rest] = line.trim().split("+");
  const raw = bytesOf(rest.join("+"), "La clé du journal");
  const expected = (await sha256(concat(ascii(`${name}\n`), raw))).subarray(0, 4);
  if (!name || raw[0] !== LOG_KEY || raw.length !== 33 || id !== hex(expected)) fail("Cette clé de journal n'est pas valide.");
  return { name, id: unhex(id), key: raw.subarray(1), line: line.trim() };
}

// The text of a note, once the signature of this key is verified. Throws Refused.
export async function signedText(note, { name, id, key }) {
  const at = note.lastIndexOf("\n\n");
  if (at < 0 || !note.endsWith("\n")) fail("Le point de contrôle n'est pas une note signée.");
  const text = note.slice(0, at + 1);
  for (const line of note.slice(at + 2, -1).split("\n")) {
    const [dash, who, encoded, more] = line.split(" ");
    if (dash !== "—" || !encoded || more !== undefined) fail("Une signature du point de contrôle est mal formée.");
    const raw = bytesOf(encoded, "Une signature du point de contrôle");
    if (who !== name || !equal(raw.subarray(0, 4), id)) continue;
    const publicKey = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    if (await crypto.subtle.verify({ name: "Ed25519" }, publicKey, raw.subarray(4), ascii(text))) return text;
    fail("La signature du point de contrôle est fausse.");
  }
  return fail("Le point de contrôle n'est pas signé par cette clé.");
}

// { size, root } of a checkpoint's text. Throws Refused.
export function parseCheckpoint(text, origin) {
  const [said, size, root] = text.split("\n");
  const hash = bytesOf(root ?? "", "Le point de contrôle");
  if (said !== origin || !/^(0|[1-9][0-9]*)$/.test(size) || hash.length !== HASH) fail("Le point de contrôle est mal formé, ou d'un autre journal.");
  return { size: Number(size), root: hash };
}

export const node = (left, right) => sha256(concat(Uint8Array.of(1), left, right));

// Of whose journal a proof is, as it says.
export const originOf = (proof) => proof.slice(proof.indexOf("\n\n") + 2).split("\n")[0];

// { index, size, root } once the leaf is under the signed root. Throws Refused.
export async function verifyProof(text, leaf, key) {
  const at = text.indexOf("\n\n");
  const lines = text.slice(0, at).split("\n");
  if (at < 0 || lines.shift() !== "c2sp.org/tlog-proof@v1") fail("Ce n'est pas une preuve de journal.");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const found = /^index (0|[1-9][0-9]*)$/.exec(lines.shift() ?? "");
  const hashes = lines.map((line) => bytesOf(line, "La preuve de journal"));
  if (!found || hashes.length > MAX_PROOF || hashes.some(({ length }) => length !== HASH)) fail("La preuve de journal est mal formée.");
  const { size, root } = parseCheckpoint(await signedText(text.slice(at + 2), key), key.name);
  const index = Number(found[1]);
  if (index >= size) fail("Cette entrée n'est pas dans le journal.");
  let [position, last, value] = [index, size - 1, await sha256(concat(Uint8Array.of(0), leaf))];
  for (const sibling of hashes) {
    if (last === 0) fail("La preuve d'inclusion est trop longue.");
    if (position % 2 || position === last) {
      value = await node(sibling, value);
      while (position % 2 === 0 && position) [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
    } else {
      value = await node(value, sibling);
    }
    [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  }
  if (last !== 0 || !equal(value, root)) fail("La preuve d'inclusion ne mène pas à la racine signée.");
  return { index, size, root };
}
