// A passkey whose PRF extension gives the same 32 bytes at each touch (WebAuthn level 3 §10.1.4). On the page: a worker has none.
import { base64, random, unbase64 } from "../sealing/bytes.js";
import { Refused } from "../sealing/cobblestone.js";

const ALGORITHMS = [-7, -8, -257]; // ES256, EdDSA, RS256
const refuse = (text) => new Refused("protector.refused", text);
const url64 = (text) => text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

async function ask(work) {
  if (!globalThis.PublicKeyCredential) throw refuse("Ce navigateur ne connaît pas les clés d'accès : choisissez un autre protecteur.");
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw refuse("La clé d'accès n'a pas répondu : recommencez, puis touchez-la ou déverrouillez-la quand le navigateur le demande.");
  }
}

// The 32 bytes of this credential for this salt.
async function touch(credential, salt) {
  const got = await navigator.credentials.get({
    publicKey: {
      challenge: random(32),
      allowCredentials: [{ type: "public-key", id: credential }],
      userVerification: "required",
      extensions: { prf: { eval: { first: salt } } },
    },
  });
  const first = got.getClientExtensionResults().prf?.results?.first;
  if (!first) throw refuse("Cette clé d'accès ne sait pas garder un secret (extension PRF) : choisissez un autre protecteur.");
  return new Uint8Array(first);
}

export function createPasskey({ name, displayName }) {
  return ask(async () => {
    const salt = random(32);
    const made = await navigator.credentials.create({
      publicKey: {
        rp: { name: document.title },
        user: { id: random(16), name, displayName },
        challenge: random(32),
        pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: "public-key", alg })),
        authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
        extensions: { prf: { eval: { first: salt } } },
      },
    });
    const credential = new Uint8Array(made.rawId);
    const secret = await touch(credential, salt);
    return { credential: url64(base64(credential)), salt: base64(salt), secret };
  });
}

export function usePasskey(wrapped) {
  return ask(() => {
    const said = JSON.parse(new TextDecoder().decode(unbase64(wrapped)));
    const credential = unbase64(said.credential.replaceAll("-", "+").replaceAll("_", "/"));
    return touch(credential, unbase64(said.salt));
  });
}
