// Cobblestone-256 (C2SP chunked-encryption with AES-256-GCM and SHA-512), by WebCrypto.
// Any range of the sealed object can be made again: a lost part is recomputed byte for byte.
import { ascii, concat, equal } from "./bytes.js";

export const CHUNK = 16384;
const TAG = 16;
const SEALED_CHUNK = CHUNK + TAG;
export const SALT = 24;
const PREFIX = SALT + 32;

export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Bytes of the sealed object for `size` bytes of plaintext.
export const sealedSize = (size) => PREFIX + size + TAG * (Math.floor(size / CHUNK) + 1);

// HKDF-Expand (RFC 5869 §2.3) with SHA-512; `key` is an HMAC CryptoKey, at most 255 blocks of 64 bytes.
export async function expand(key, info, length) {
  let block = new Uint8Array(0);
  let out = new Uint8Array(0);
  for (let counter = 1; out.length < length; counter += 1) {
    block = new Uint8Array(await crypto.subtle.sign("HMAC", key, concat(block, info, Uint8Array.of(counter))));
    out = concat(out, block);
  }
  return out.slice(0, length);
}

export const hmacKey = (bytes, hash = "SHA-512") =>
  crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash }, false, ["sign"]);

export class Cobblestone {
  static async with(fileKey, context, salt, uses = ["encrypt"]) {
    if (fileKey.length !== 32) throw new Refused("envelope.object-refused", "Une clé de fichier compte 32 octets.");
    const info = concat(ascii("c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM"), Uint8Array.of(0), salt, context);
    const derived = await expand(await hmacKey(fileKey), info, 32 + 12 + 32);
    const made = new Cobblestone();
    made.key = await crypto.subtle.importKey("raw", derived.subarray(0, 32), "AES-GCM", false, uses);
    made.nonce = derived.slice(32, 44);
    made.prefix = concat(salt, derived.subarray(44));
    return made;
  }

  nonceOf(chunk) {
    const nonce = this.nonce.slice();
    let left = chunk;
    for (let at = 11; left > 0; at -= 1) {
      nonce[at] ^= left % 256;
      left = Math.floor(left / 256);
    }
    return nonce;
  }

  // Which plaintext the sealed bytes start to end of an object of `size` bytes are made from.
  plainRange(start, end, size) {
    if (end <= PREFIX) return { from: 0, to: 0 };
    const first = Math.max(0, Math.floor((start - PREFIX) / SEALED_CHUNK));
    const last = Math.floor((end - 1 - PREFIX) / SEALED_CHUNK);
    return { from: first * CHUNK, to: Math.min(size, (last + 1) * CHUNK) };
  }

  // Sealed bytes start to end, from their plaintext (`plainRange`), which may be given away as soon as this returns.
  async sealPlain(start, end, plain, from) {
    const out = new Uint8Array(end - start);
    if (start < PREFIX) out.set(this.prefix.subarray(start, Math.min(end, PREFIX)), 0);
    const last = Math.floor((end - 1 - PREFIX) / SEALED_CHUNK);
    const work = [];
    for (let chunk = from / CHUNK; end > PREFIX && chunk <= last; chunk += 1) {
      const at = chunk * CHUNK - from;
      const place = PREFIX + chunk * SEALED_CHUNK;
      work.push(
        crypto.subtle
          .encrypt({ name: "AES-GCM", iv: this.nonceOf(chunk) }, this.key, plain.subarray(at, at + CHUNK))
          .then((sealed) => {
            const skip = Math.max(0, start - place);
            out.set(new Uint8Array(sealed).subarray(skip, Math.max(skip, end - place)), Math.max(place, start) - start);
          }),
      );
    }
    await Promise.all(work);
    return out;
  }

  // The same, from what `read(from, to)` gives.
  async sealRange(start, end, size, read) {
    const { from, to } = this.plainRange(start, end, size);
    return this.sealPlain(start, end, await read(from, to), from);
  }
}

// The plaintext of a whole sealed object held in memory; throws Refused when it is not intact.
export async function openWhole(fileKey, context, sealed) {
  const refused = () => new Refused("envelope.object-refused", "L'objet du pli a été altéré, tronqué ou déplacé.");
  if (sealed.length < PREFIX + TAG) throw refused();
  const made = await Cobblestone.with(fileKey, context, sealed.slice(0, SALT), ["decrypt"]);
  if (!equal(made.prefix, sealed.subarray(0, PREFIX))) throw refused();
  const body = sealed.subarray(PREFIX);
  if (body.length % SEALED_CHUNK < TAG) throw refused(); // the last chunk is always there, and short
  const parts = [];
  for (let chunk = 0; chunk * SEALED_CHUNK < body.length; chunk += 1) {
    const piece = body.subarray(chunk * SEALED_CHUNK, (chunk + 1) * SEALED_CHUNK);
    try {
      const iv = made.nonceOf(chunk);
      parts.push(new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, made.key, piece)));
    } catch {
      throw refused();
    }
  }
  return concat(...parts);
}
