// The sealed envelope pli/1 (signing/SPEC.md): header, manifest, closing record, keys.
import { ascii, concat, hex, random, sha256, u32be } from "./bytes.js";
import { Cobblestone, Refused, SALT, expand, hmacKey, sealedSize } from "./cobblestone.js";
import { keyHash, sealTo } from "./keys.js";

const PART = 8 * 1024 ** 2;
const LARGE_PART = 16 * 1024 ** 2;

export const partBytes = (sealed) => (sealed > 80 * 10 ** 9 ? LARGE_PART : PART);
const text = (value) => new TextEncoder().encode(JSON.stringify(value));

export const headerHash = (header) => sha256(concat(ascii("pli/1 header"), Uint8Array.of(0), header));

export function manifestBytes(entries, nonce = random(32)) {
  const files = entries.map(({ name, size, type }, at) => ({ i: at + 1, name, size, type: type ?? "" }));
  return text({ nonce: hex(nonce), files });
}

export function closingBytes(digests, nonce) {
  const files = digests.map(({ size, sha256: digest }, at) => ({ i: at + 1, size, sha256: digest }));
  return text({ nonce: hex(nonce), files });
}

// Its length is known before any digest is.
export const closingSize = (sizes) =>
  closingBytes(sizes.map((size) => ({ size, sha256: "0".repeat(64) })), new Uint8Array(32)).length;

const stanzaInfo = (recipient, hh) => concat(ascii(`pli/1 ${recipient}`), Uint8Array.of(0), hh);
const fileContext = (hh, index) => concat(ascii("pli/1 file"), Uint8Array.of(0), hh, u32be(index));

// EK as an HMAC key that no script can read back; FK_i comes out of it, EK never.
export async function fileKey(ek, index) {
  const info = concat(ascii("pli/1 file-key"), Uint8Array.of(0), u32be(index));
  return expand(ek, info, 32);
}

export async function joinHalves(hh, committee, platform) {
  const mac = await hmacKey(hh, "SHA-256");
  return hmacKey(new Uint8Array(await crypto.subtle.sign("HMAC", mac, concat(committee, platform))));
}

// A new envelope for these files. What it returns is all that is needed to go on after a crash.
export async function newEnvelope({ ids, entries, committee, platform, ceremony }) {
  const manifest = manifestBytes(entries);
  const header = text({
    v: "pli/1",
    consultation: ids.consultation,
    lot: ids.lot,
    bidder: ids.bidder,
    kind: ids.kind,
    deposit: ids.deposit,
    envelope: ids.envelope,
    files: entries.length,
    manifest: hex(await sha256(manifest)),
    committee: await keyHash(committee),
    platform: await keyHash(platform),
    ceremony,
  });
  const hh = await headerHash(header);
  const [first, second] = [random(32), random(32)];
  const keys = concat(
    await sealTo(committee, first, stanzaInfo("committee", hh)),
    await sealTo(platform, second, stanzaInfo("platform", hh)),
  );
  const ek = await joinHalves(hh, first, second);
  first.fill(0);
  second.fill(0);
  const sizes = entries.map(({ size }) => size);
  const plain = [manifest.length, ...sizes, closingSize(sizes)];
  return {
    envelope: ids.envelope,
    lot: ids.lot,
    kind: ids.kind,
    entries,
    header,
    hh,
    keys,
    ek,
    manifest,
    closingNonce: random(32),
    objects: plain.map((size, index) => ({
      index,
      name: index === entries.length + 1 ? "t.cob" : `${index}.cob`,
      size,
      sealed: sealedSize(size),
      salt: random(SALT),
    })),
    digests: {}, // index of a file → hex SHA-256, once it was read whole
  };
}

// What seals one object of an envelope, any part of it, as often as needed.
export async function sealer(draft, object) {
  const key = await fileKey(draft.ek, object.index);
  return Cobblestone.with(key, fileContext(draft.hh, object.index), object.salt);
}

export { Refused };
