// HPKE base mode with MLKEM768-X25519 (0x647a), HKDF-SHA256, AES-256-GCM, through hpke and @panva/hpke-noble.
import { MLKEM768X25519 } from "@noble/post-quantum/hybrid.js";
import { KEM_MLKEM768_X25519 } from "@panva/hpke-noble";
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256 } from "hpke";
import { concat, hex, random, sha256 } from "./bytes.js";
import { Refused } from "./cobblestone.js";

const suite = new CipherSuite(KEM_MLKEM768_X25519, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
const ENCAPSULATED = 1120;
export const PUBLIC = 1216;

export const newSeed = () => random(32);

// ML-KEM-768 (1184 bytes) || X25519 (32); the 32-byte seed expands as X-Wing does.
export const publicKey = (seed) => MLKEM768X25519.keygen(seed).publicKey;

export const keyHash = async (key) => {
  if (key.length !== PUBLIC) throw new Refused("key.refused", `Une clé publique compte ${PUBLIC} octets.`);
  return hex(await sha256(key));
};

// enc (1120) || ciphertext || tag (16)
export async function sealTo(key, plaintext, info) {
  const recipient = await suite.DeserializePublicKey(key);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(recipient, plaintext, { info });
  return concat(new Uint8Array(encapsulatedSecret), new Uint8Array(ciphertext));
}

export async function openWith(seed, sealed, info) {
  try {
    const key = await suite.DeserializePrivateKey(seed, true);
    const [secret, ciphertext] = [sealed.subarray(0, ENCAPSULATED), sealed.subarray(ENCAPSULATED)];
    return new Uint8Array(await suite.Open(key, secret, ciphertext, { info }));
  } catch {
    throw new Refused("envelope.stanza-refused", "Ce secret n'a pas été scellé à cette clé pour cet usage.");
  }
}
