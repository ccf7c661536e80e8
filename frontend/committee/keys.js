// The committee's secrets, on a member's own machine: protector, shares, ceremony (signing/SPEC.md §3 to §5).
import { argon2id } from "hash-wasm";
import { combine, split } from "shamir-secret-sharing";
import { ascii, base64, concat, equal, hex, random, sha256, unbase64, unhex, uuidBytes } from "../sealing/bytes.js";
import { Refused } from "../sealing/cobblestone.js";
import { keyHash, newSeed, openWith, publicKey, sealTo } from "../sealing/keys.js";
import { parseRecord } from "../sealing/record.js";

export const PASSPHRASE_CHARS = 12;
const COST = { memory: 256 * 1024, passes: 3, lanes: 4 };

async function wrappingKey(passphrase, salt, { memory, passes, lanes }) {
  const raw = await argon2id({
    password: new TextEncoder().encode(passphrase),
    salt,
    iterations: passes,
    parallelism: lanes,
    memorySize: memory,
    hashLength: 32,
    outputType: "binary",
  });
  return crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
}

const associated = (key, version = "protector/1") => concat(ascii(version), key);

// A new protector: what the member keeps (and the platform stores, under the passphrase) and its public key.
export async function createProtector(passphrase) {
  if ([...passphrase].length < PASSPHRASE_CHARS) {
    throw new Refused("protector.refused", `Une phrase secrète compte au moins ${PASSPHRASE_CHARS} caractères.`);
  }
  const [seed, salt, nonce] = [newSeed(), random(16), random(12)];
  const key = publicKey(seed);
  const wrapping = await wrappingKey(passphrase, salt, COST);
  const sealed = new Uint8Array(
    await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: associated(key) }, wrapping, seed),
  );
  seed.fill(0);
  const fields = { public: base64(key), salt: base64(salt), nonce: base64(nonce), sealed: base64(sealed) };
  return { data: new TextEncoder().encode(JSON.stringify({ v: "protector/1", ...fields, ...COST })), public: key };
}

// The seed under the 32 bytes that a passkey gives (passkey/1).
async function passkeyKey(secret) {
  const raw = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
  const hkdf = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: ascii("passkey/1") };
  return crypto.subtle.deriveKey(hkdf, raw, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

export async function wrapForPasskey({ credential, salt, secret }) {
  const [seed, nonce] = [newSeed(), random(12)];
  const key = publicKey(seed);
  const parameters = { name: "AES-GCM", iv: nonce, additionalData: associated(key, "passkey/1") };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters, await passkeyKey(secret), seed));
  seed.fill(0);
  secret.fill(0);
  const said = { v: "passkey/1", public: base64(key), credential, salt, nonce: base64(nonce), sealed: base64(sealed) };
  return { data: new TextEncoder().encode(JSON.stringify(said)), public: key };
}

export async function unlockPasskey(data, secret) {
  const said = JSON.parse(new TextDecoder().decode(data));
  if (said.v !== "passkey/1") throw new Refused("protector.refused", "Version de protecteur inconnue.");
  const parameters = {
    name: "AES-GCM",
    iv: unbase64(said.nonce),
    additionalData: associated(unbase64(said.public), "passkey/1"),
  };
  try {
    const seed = await crypto.subtle.decrypt(parameters, await passkeyKey(secret), unbase64(said.sealed));
    return new Uint8Array(seed);
  } catch {
    throw new Refused("protector.refused", "Ce n'est pas la clé d'accès de ce protecteur.");
  }
}

export async function unlock(data, passphrase) {
  const wrong = () => new Refused("protector.refused", "Phrase secrète fausse : vérifiez les majuscules et recommencez.");
  const said = JSON.parse(new TextDecoder().decode(data));
  const { memory, passes, lanes } = said;
  const within = (value, low, high) => Number.isInteger(value) && value >= low && value <= high;
  const sane = said.v === "protector/1" && within(memory, 1024, 1024 ** 2) && within(passes, 1, 10) && within(lanes, 1, 16);
  if (!sane) throw new Refused("protector.refused", "Version de protecteur inconnue.");
  const key = unbase64(said.public);
  const wrapping = await wrappingKey(passphrase, unbase64(said.salt), { memory, passes, lanes });
  try {
    const parameters = { name: "AES-GCM", iv: unbase64(said.nonce), additionalData: associated(key) };
    return new Uint8Array(await crypto.subtle.decrypt(parameters, wrapping, unbase64(said.sealed)));
  } catch {
    throw wrong();
  }
}

export async function commitment(ceremony, index, salt, share) {
  const data = concat(ascii("pli/1 share"), Uint8Array.of(0), uuidBytes(ceremony), Uint8Array.of(index), salt, share);
  return hex(await sha256(data));
}

const info = (words, id, kind, index) =>
  concat(ascii(words), Uint8Array.of(0), uuidBytes(id), ascii(kind), Uint8Array.of(0, index));
const memberInfo = (ceremony, kind, index) => info("pli/1 share-to-member", ceremony, kind, index);
const sessionInfo = (session, kind, index) => info("pli/1 share-to-session", session, kind, index);

function* quorums(items, size, from = 0) {
  if (size === 0) {
    yield [];
    return;
  }
  for (let at = from; at <= items.length - size; at += 1) {
    for (const rest of quorums(items, size - 1, at + 1)) yield [items[at], ...rest];
  }
}

// The president's part: seeds, split, commitments, every quorum recombined, each share sealed to its holder.
// `seeds` are dealt again for a later epoch; without them new ones are made. `dealer` is the member who does it.
export async function deal(said, { code, now, dealer, seeds, epoch = 1, previous = "", twin = "" }) {
  const keys = {};
  const shares = [];
  for (const [kind, encoded] of Object.entries(said.platform)) {
    const seed = seeds?.[kind] ?? newSeed();
    const dealt = await split(seed, said.members.length, said.threshold);
    for (const quorum of quorums(dealt, said.threshold)) {
      if (!equal(await combine(quorum), seed)) {
        throw new Refused("share.refused", "Un quorum ne reconstitue pas la clé : la cérémonie est abandonnée.");
      }
    }
    const committee = publicKey(seed);
    seed.fill(0);
    const platform = unbase64(encoded);
    const commitments = [];
    for (const [at, member] of said.members.entries()) {
      const salt = random(32);
      const index = member.index;
      commitments.push({
        index,
        salt: hex(salt),
        commitment: await commitment(said.ceremony, index, salt, dealt[at]),
      });
      for (const { protector, public_key: key } of member.protectors) {
        const sealed = await sealTo(unbase64(key), dealt[at], memberInfo(said.ceremony, kind, index));
        shares.push({ kind, index, protector, sealed: base64(sealed) });
      }
      dealt[at].fill(0);
    }
    keys[kind] = {
      committee: await keyHash(committee),
      platform: await keyHash(platform),
      committee_public: base64(committee),
      platform_public: base64(platform),
      commitments,
    };
  }
  const members = [];
  for (const { index, name, member, protectors } of said.members) {
    const hashed = [];
    for (const { protector, public_key: key } of protectors) {
      hashed.push({ protector, sha256: await keyHash(unbase64(key)) });
    }
    members.push({ index, name, member, protectors: hashed });
  }
  const record = {
    v: "ceremony/3",
    ceremony: said.ceremony,
    consultation: said.consultation,
    epoch,
    previous,
    dealer,
    twin,
    threshold: said.threshold,
    members,
    keys,
    code,
    date: now,
  };
  return { record: base64(new TextEncoder().encode(JSON.stringify(record))), shares };
}


export async function recordOf(said) {
  if (!said.record) throw new Refused("ceremony.refused", "Les parts ne sont pas encore réparties.");
  const bytes = unbase64(said.record);
  const record = await parseRecord(bytes);
  if (record.ceremony !== said.ceremony || record.consultation !== said.consultation) {
    throw new Refused("ceremony.refused", "Le compte rendu n'est pas celui de cette consultation.");
  }
  return { record, sha256: hex(await sha256(bytes)) };
}

// My shares, opened here and compared with their commitments: nothing leaves this machine.
export async function myShares(record, rows, seed) {
  const mine = [];
  for (const { kind, index, sealed } of rows) {
    const share = await openWith(seed, unbase64(sealed), memberInfo(record.ceremony, kind, index));
    const said = record.keys[kind].commitments.find((each) => each.index === index);
    if (!said || (await commitment(record.ceremony, index, unhex(said.salt), share)) !== said.commitment) {
      throw new Refused("share.refused", `Votre part (n° ${index}) n'est pas celle de la cérémonie : prévenez la présidente ou le président.`);
    }
    mine.push({ kind, index, share });
  }
  if (!mine.length) throw new Refused("share.refused", "Vous n'avez aucune part dans cette cérémonie.");
  return mine;
}

// The fingerprint that people compare: 16 hex digits in groups of four.
export const fingerprint = (sha256) => sha256.slice(0, 16).toUpperCase().match(/.{4}/g).join(" ");

// Refuses what is sealed to a protector that is not mine: the platform could add one of its own, and only I can tell.
// `recognised` are hashes that this browser made or that I have compared with what I wrote down.
export function checkOwn(hashes, recognised) {
  const foreign = hashes.filter((sha256) => !recognised.has(sha256));
  if (!foreign.length) return;
  const refused = new Refused("protector.unknown", "Ce poste ne connaît pas un des protecteurs de votre part.");
  refused.next = "Comparez son empreinte avec celle que vous avez notée, puis dites si c'est bien le vôtre.";
  refused.unknown = foreign.map((sha256) => ({ sha256, fingerprint: fingerprint(sha256) }));
  throw refused;
}

// My shares sealed to another protector of mine, whose key is this one.
export async function sealAgain(record, mine, { protector, public_key: key }) {
  const shares = [];
  for (const { kind, index, share } of mine) {
    const sealed = await sealTo(unbase64(key), share, memberInfo(record.ceremony, kind, index));
    shares.push({ kind, index, protector, sealed: base64(sealed) });
    share.fill(0);
  }
  return shares;
}

export async function sharesForSession(session, mine) {
  const shares = [];
  for (const { kind, index, share } of mine.filter((each) => session.kinds.includes(each.kind))) {
    const sealed = await sealTo(unbase64(session.public_key), share, sessionInfo(session.session, kind, index));
    shares.push({ kind, index, sealed: base64(sealed) });
    share.fill(0);
  }
  return { shares };
}
