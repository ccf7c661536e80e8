// Other holders for the same keys (signing/renewal.py): the dealer's ephemeral key stays on the dealer's machine.
import { combine } from "shamir-secret-sharing";
import { ascii, base64, concat, equal, hex, random, sha256, unbase64, unhex, uuidBytes } from "../sealing/bytes.js";
import { Refused } from "../sealing/cobblestone.js";
import { keyHash, newSeed, openWith, publicKey, sealTo } from "../sealing/keys.js";
import { parseRecord } from "../sealing/record.js";
import { commitment, deal, fingerprint } from "./keys.js";

const refuse = (text) => new Refused("ceremony.refused", text);
const dealerInfo = (ceremony, kind, index) =>
  concat(ascii("pli/1 share-to-dealer"), Uint8Array.of(0), uuidBytes(ceremony), ascii(kind), Uint8Array.of(0, index));

// 16 hex digits of the hash of the key, in groups of four: what is read aloud.
export const dealerCode = async (key) => fingerprint(await keyHash(key));

// What every new holder and the dealer compare aloud: the new holders, and all that is sealed to them.
export async function listCode(said) {
  const lines = [];
  for (const { member, protectors } of said.members) {
    for (const { public_key: key } of protectors) lines.push(`${member} ${await keyHash(unbase64(key))}`);
  }
  const text = ["pli/1 new holders", said.ceremony, said.threshold, ...lines.sort()].join("\n");
  return fingerprint(hex(await sha256(new TextEncoder().encode(text))));
}

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("dematmp-committee", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("dealers", { keyPath: "renewal" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function table(mode, work) {
  const db = await database();
  try {
    return await new Promise((resolve, reject) => {
      const asked = work(db.transaction("dealers", mode).objectStore("dealers"));
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
  } finally {
    db.close();
  }
}

// A new ephemeral key, kept under a key that no script can read; its public half.
export async function keepDealerKey(renewal) {
  const seed = newSeed();
  const key = publicKey(seed);
  const nonce = random(12);
  const wrapping = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, wrapping, seed));
  seed.fill(0);
  await table("readwrite", (store) => store.put({ renewal, wrapping, nonce, sealed, key }));
  return key;
}

export async function dealerKey(renewal) {
  const kept = await table("readonly", (store) => store.get(renewal));
  if (!kept) throw refuse("La clé de cette répartition n'est pas sur ce poste : recommencez, puis dictez le nouveau code.");
  return kept;
}

export const forgetDealerKey = (renewal) => table("readwrite", (store) => store.delete(renewal));

// A former holder's shares, sealed to the dealer once the code typed is the one of the key that the platform gives.
export async function lend(said, mine, code) {
  if (!said.dealer) throw refuse("Personne ne répartit encore : attendez son code.");
  const key = unbase64(said.dealer.public_key);
  const typed = code.toUpperCase().replace(/[^0-9A-F]/g, "");
  if (typed !== (await dealerCode(key)).replaceAll(" ", "")) {
    throw refuse(
      "Ce code n'est pas celui de la clé que la plateforme présente : n'allez pas plus loin. Demandez de nouveau le code, de vive voix ; s'il diffère encore, prévenez la commission.",
    );
  }
  const shares = [];
  for (const { kind, index, share } of mine) {
    shares.push({ kind, index, sealed: base64(await sealTo(key, share, dealerInfo(said.ceremony, kind, index))) });
    share.fill(0);
  }
  return { dealer: await keyHash(key), shares };
}

// The dealer's second step: every share compared with its commitment, the key compared with the committee's, dealt again.
export async function dealAgain(said, rows, { code, now, dealer, listed }) {
  if (listed.toUpperCase().replace(/[^0-9A-F]/g, "") !== (await listCode(said)).replaceAll(" ", "")) {
    throw refuse(
      "Ce code n'est pas celui de la liste que la plateforme présente : ne répartissez rien. Demandez de nouveau son code à chaque nouveau détenteur, de vive voix.",
    );
  }
  const { wrapping, nonce, sealed, key } = await dealerKey(said.ceremony);
  if (!said.dealer || said.dealer.public_key !== base64(key)) throw refuse("Cette clé n'est pas celle de cette répartition : recommencez.");
  const seed = new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce }, wrapping, sealed));
  const former = unbase64(said.former);
  const record = await parseRecord(former);
  const seeds = {};
  for (const [kind, keys] of Object.entries(record.keys)) {
    const shares = [];
    for (const row of rows.filter((each) => each.kind === kind)) {
      const share = await openWith(seed, unbase64(row.sealed), dealerInfo(said.ceremony, kind, row.index));
      const known = keys.commitments.find(({ index }) => index === row.index);
      if (!known || (await commitment(record.ceremony, row.index, unhex(known.salt), share)) !== known.commitment) {
        throw new Refused("share.refused", `La part du détenteur n° ${row.index} n'est pas celle de la cérémonie.`);
      }
      shares.push(share);
    }
    if (shares.length < record.threshold) {
      throw new Refused("share.refused", `Quorum incomplet : ${shares.length} part(s) sur ${record.threshold}.`);
    }
    seeds[kind] = await combine(shares);
    for (const share of shares) share.fill(0);
    if (!equal(publicKey(seeds[kind]), unbase64(keys.committee_public))) {
      throw new Refused("share.refused", "Les parts ne reconstituent pas la clé de la commission.");
    }
  }
  seed.fill(0);
  const previous = hex(await sha256(former));
  return deal(said, { code, now, dealer, seeds, epoch: said.epoch, previous, twin: record.twin ?? "" });
}

// The new record, refused unless it deals the very keys of the former one.
export async function newRecord(said) {
  if (!said.record) throw refuse("Les parts ne sont pas encore réparties de nouveau.");
  const [bytes, former] = [unbase64(said.record), unbase64(said.former)];
  const [record, before] = [await parseRecord(bytes), await parseRecord(former)];
  const same = Object.keys(before.keys).every((kind) => before.keys[kind].committee_public === record.keys[kind]?.committee_public);
  if (!same || record.ceremony !== said.ceremony || record.previous !== hex(await sha256(former))) {
    throw refuse("Cette répartition n'est pas celle des mêmes clés : ne confirmez pas.");
  }
  return { record, sha256: hex(await sha256(bytes)) };
}
