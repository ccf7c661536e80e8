// What `slip39` asks of Node's crypto, in a browser: the primitives are @noble/hashes' and WebCrypto's.
import { hmac } from "@noble/hashes/hmac.js";
import { pbkdf2 } from "@noble/hashes/pbkdf2.js";
import { sha256 } from "@noble/hashes/sha2.js";

function only(digest) {
  if (digest !== "sha256") throw new TypeError(`digest ${digest}`);
}

export const randomBytes = (count) => globalThis.crypto.getRandomValues(new Uint8Array(count));

export function pbkdf2Sync(password, salt, c, dkLen, digest) {
  only(digest);
  return pbkdf2(sha256, password, salt, { c, dkLen });
}

export function createHmac(digest, key) {
  only(digest);
  return hmac.create(sha256, key);
}
