// What a member does with their secrets, away from the page: the passphrase and the shares never leave this worker.
import { base64, unbase64 } from "../sealing/bytes.js";
import { Refused } from "../sealing/cobblestone.js";
import {
  checkOwn,
  createProtector,
  deal,
  myShares,
  recordOf,
  sealAgain,
  sharesForSession,
  unlock,
  unlockPasskey,
  wrapForPasskey,
} from "./keys.js";
import { dealAgain, dealerCode, dealerKey, forgetDealerKey, keepDealerKey, lend, listCode, newRecord } from "./renewal.js";
import { keyHash, publicKey } from "../sealing/keys.js";
import { createPaper, PAPER_WORDS, readWords, unlockPaper } from "./paper.js";

async function call({ organisation, csrf }, method, path, json) {
  const answer = await fetch(`/api/v1${path}`, {
    method,
    headers: {
      "X-Organisation": organisation,
      "X-CSRFToken": csrf,
      ...(json === undefined ? {} : { "Content-Type": "application/json" }),
    },
    body: json === undefined ? undefined : JSON.stringify(json),
    credentials: "same-origin",
    redirect: "error",
  }).catch(() => {
    throw new Refused("client.server-unreachable", "Le serveur ne répond pas : vérifiez la connexion et recommencez.");
  });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const refused = new Refused(said.code ?? `http.${answer.status}`, said.message ?? `Réponse ${answer.status}.`);
  refused.next = said.next;
  throw refused;
}

// The seed that this protector keeps: { uuid, kind } and what the member gave (passphrase, words, secret).
async function seedOf({ wrapped, kind }, { passphrase, words, secret }) {
  if (kind === "paper") return unlockPaper(words);
  if (kind === "card") {
    throw new Refused("protector.refused", "Une carte s'utilise par la ligne de commande : choisissez un autre protecteur, ou utilisez-la.");
  }
  if (!wrapped) {
    throw new Refused("protector.refused", "Ce protecteur est sur le poste où vous l'avez créé : utilisez la ligne de commande.");
  }
  return kind === "passkey" ? unlockPasskey(unbase64(wrapped), secret) : unlock(unbase64(wrapped), passphrase);
}

async function unlocked(session, given) {
  const protectors = await call(session, "GET", "/committee/protectors");
  const chosen = protectors.find(({ protector }) => protector === given.protector);
  if (!chosen) throw new Refused("protector.refused", "Ce protecteur n'est pas, ou n'est plus, l'un des vôtres.");
  return seedOf(chosen, given);
}

// My shares of this consultation, opened with this seed and compared with their commitments.
async function mine(session, consultation, protector, seed) {
  const path = `/consultations/${consultation}`;
  const said = await call(session, "GET", `${path}/ceremony`);
  const { record, sha256 } = await recordOf(said);
  const rows = await call(session, "GET", `${path}/shares/mine`);
  const shares = await myShares(record, rows.filter((row) => row.protector === protector), seed);
  return { said, record, sha256, shares };
}

// What is sealed beside my name, in a record or in a list, is mine: the one that I have just opened, and those recognised.
async function ownRow(row, seed, recognised) {
  const hashes = [];
  for (const { sha256, protector_sha256: first, public_key: key } of row.protectors ?? [row]) {
    hashes.push(sha256 ?? first ?? (await keyHash(unbase64(key))));
  }
  checkOwn(hashes, new Set([...(recognised ?? []), await keyHash(publicKey(seed))]));
}

const rowOf = (record, shares) => record.members.find(({ index }) => index === shares[0].index);

async function enrol(session, { label, kind, made }) {
  const body = { label, kind, public_key: base64(made.public), ...(made.data ? { wrapped: base64(made.data) } : {}) };
  await call(session, "POST", "/committee/protectors", body);
  return keyHash(made.public);
}

const work = {
  async passphrase({ session, passphrase, label }) {
    const made = await createProtector(passphrase);
    return { file: made.data, sha256: await enrol(session, { label, kind: "passphrase", made }) };
  },
  async passkey({ session, label, credential, salt, secret }) {
    const made = await wrapForPasskey({ credential, salt, secret });
    return { sha256: await enrol(session, { label, kind: "passkey", made }) };
  },
  // The sheet is shown, printed, proved readable by a few of its words; its key is enrolled only then.
  async sheet() {
    const made = createPaper();
    return { ...made, sha256: await keyHash(made.public) };
  },
  async paper({ session, label, key }) {
    return { sha256: await enrol(session, { label, kind: "paper", made: { public: key } }) };
  },
  async read({ words }) {
    return { read: readWords(words), wanted: PAPER_WORDS };
  },
  async deal({ session, consultation, code }) {
    const said = await call(session, "GET", `/consultations/${consultation}/ceremony`);
    const { uuid: dealer } = await call(session, "GET", "/me");
    for (const each of [consultation, said.twin].filter(Boolean)) {
      const path = `/consultations/${each}/ceremony`;
      const here = each === consultation ? said : await call(session, "GET", path);
      if (here.record) continue;
      const now = new Date().toISOString().replace("Z", "+00:00");
      const twin = each === consultation ? (said.twin ?? "") : "";
      await call(session, "POST", path, await deal(here, { code, now, dealer, twin }));
    }
    return {};
  },
  async confirm({ session, consultation, protector, recognised, ...given }) {
    const seed = await unlocked(session, { protector, ...given });
    const { said, record, sha256, shares } = await mine(session, consultation, protector, seed);
    await ownRow(rowOf(record, shares), seed, recognised);
    const done = await call(session, "POST", `/consultations/${consultation}/ceremony/confirm`, { sha256, protector });
    // The rehearsal is that of the record which was just confirmed, not another that the platform would choose.
    const named = record.twin ?? said.twin;
    if (named) {
      const twin = await mine(session, named, protector, seed);
      if (twin.record.consultation !== named) throw new Refused("ceremony.refused", "La répétition n'est pas celle que nomme le compte rendu.");
      await ownRow(rowOf(twin.record, twin.shares), seed, recognised);
      await call(session, "POST", `/consultations/${named}/ceremony/confirm`, { sha256: twin.sha256, protector });
    }
    return done;
  },
  async rehearse({ session, consultation, protector, ...given }) {
    const seed = await unlocked(session, { protector, ...given });
    const { sha256 } = await mine(session, consultation, protector, seed);
    return call(session, "POST", `/consultations/${consultation}/ceremony/rehearsal`, { sha256, protector });
  },
  async again({ session, consultation, protector, other, recognised, ...given }) {
    const seed = await unlocked(session, { protector, ...given });
    const { record, sha256, shares } = await mine(session, consultation, protector, seed);
    const protectors = await call(session, "GET", "/committee/protectors");
    const target = protectors.find((each) => each.protector === other);
    if (!target) throw new Refused("protector.refused", "Choisissez l'autre protecteur.");
    await ownRow({ protectors: [target] }, seed, recognised);
    const body = { sha256, shares: await sealAgain(record, shares, target) };
    return call(session, "POST", `/consultations/${consultation}/shares/mine`, body);
  },
  // The dealer's key never leaves this machine; its code is computed from it, not from what the platform says.
  async renewOffer({ session, renewal }) {
    const key = await keepDealerKey(renewal);
    await call(session, "POST", `/renewals/${renewal}/dealer`, { public_key: base64(key) });
    return {};
  },
  async renewCode({ renewal }) {
    return { code: await dealerCode((await dealerKey(renewal)).key) };
  },
  async renewLend({ session, renewal, protector, typed, ...given }) {
    const said = await call(session, "GET", `/renewals/${renewal}`);
    const seed = await unlocked(session, { protector, ...given });
    const { shares } = await mine(session, said.consultation, protector, seed);
    return call(session, "POST", `/renewals/${renewal}/lent`, await lend(said, shares, typed));
  },
  // A new holder sees that only its own protectors stand beside its name; the code tells the dealer which list that was.
  async renewList({ session, renewal, protector, recognised, ...given }) {
    const said = await call(session, "GET", `/renewals/${renewal}`);
    const seed = await unlocked(session, { protector, ...given });
    const own = await keyHash(publicKey(seed));
    for (const row of said.members) {
      const hashes = await Promise.all(row.protectors.map(({ public_key: key }) => keyHash(unbase64(key))));
      if (!hashes.includes(own)) continue;
      await ownRow(row, seed, recognised);
      return { code: await listCode(said) };
    }
    throw new Refused("protector.refused", "Ce protecteur n'est pas dans la nouvelle liste : utilisez-en un autre.");
  },
  async renewDeal({ session, renewal, code, listed }) {
    const said = await call(session, "GET", `/renewals/${renewal}`);
    const rows = await call(session, "GET", `/renewals/${renewal}/lent`);
    const now = new Date().toISOString().replace("Z", "+00:00");
    const { uuid: dealer } = await call(session, "GET", "/me");
    const made = await dealAgain(said, rows, { code, now, dealer, listed });
    await call(session, "POST", `/renewals/${renewal}/ceremony`, made);
    await forgetDealerKey(renewal);
    return {};
  },
  async renewConfirm({ session, renewal, protector, recognised, ...given }) {
    const said = await call(session, "GET", `/renewals/${renewal}`);
    const { record, sha256 } = await newRecord(said);
    const seed = await unlocked(session, { protector, ...given });
    const rows = await call(session, "GET", `/renewals/${renewal}/shares/mine`);
    const shares = await myShares(record, rows.filter((row) => row.protector === protector), seed);
    await ownRow(rowOf(record, shares), seed, recognised);
    return call(session, "POST", `/renewals/${renewal}/confirm`, { sha256, protector });
  },
  async share({ session, consultation, protector, deadline, rehearsal, ...given }) {
    if (Date.now() <= Date.parse(deadline)) {
      throw new Refused("share.before-deadline", "D'après l'horloge de ce poste, la date limite n'est pas passée.");
    }
    const seed = await unlocked(session, { protector, ...given });
    const { shares, record } = await mine(session, consultation, protector, seed);
    if (rehearsal && record.twin) throw new Refused("ceremony.refused", "Ces clés sont celles des vrais plis, pas celles de la répétition.");
    const opening = await call(session, "POST", `/consultations/${consultation}/opening`, {});
    return call(session, "POST", `/openings/${opening.session}/shares`, await sharesForSession(opening, shares));
  },
  async open({ session, consultation, leave_undecided: leave }) {
    const opening = await call(session, "POST", `/consultations/${consultation}/opening`, {});
    return call(session, "POST", `/openings/${opening.session}/open`, { leave_undecided: leave === "on" });
  },
};

addEventListener("message", async ({ data: { type, ...data } }) => {
  try {
    postMessage({ done: true, result: await work[type](data) });
  } catch (error) {
    const known = error instanceof Refused;
    postMessage({
      done: false,
      code: known ? error.code : "client.fault",
      message: known ? error.message : `Erreur inattendue : ${error.message}`,
      next: error.next ?? "",
      unknown: error.unknown,
    });
  }
});
