// What a member does with their secrets, away from the page: the passphrase and the shares never leave this worker.
import { base64, unbase64 } from "../sealing/bytes.js";
import { Refused } from "../sealing/cobblestone.js";
import { createProtector, deal, myShares, recordOf, sharesForSession, unlock } from "./keys.js";

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

// The seed of whichever of my protectors this passphrase opens, among those of this ceremony.
async function mine(session, consultation, passphrase) {
  const path = `/consultations/${consultation}`;
  const said = await call(session, "GET", `${path}/ceremony`);
  const { record, sha256 } = await recordOf(said);
  const protectors = await call(session, "GET", "/committee/protectors");
  const used = new Set(said.members.map(({ protector }) => protector));
  const stored = protectors.filter(({ protector, wrapped }) => wrapped && used.has(protector));
  if (!stored.length) {
    throw new Refused("protector.refused", "Votre protecteur est sur le poste où vous l'avez créé : utilisez la ligne de commande.");
  }
  const seed = await unlock(unbase64(stored[0].wrapped), passphrase);
  const shares = await myShares(record, await call(session, "GET", `${path}/shares/mine`), seed);
  seed.fill(0);
  return { said, sha256, shares };
}

const work = {
  async protector({ session, passphrase, label }) {
    const made = await createProtector(passphrase);
    const body = { label, kind: "passphrase", public_key: base64(made.public), wrapped: base64(made.data) };
    await call(session, "POST", "/committee/protectors", body);
    return { file: made.data };
  },
  async deal({ session, consultation, code }) {
    const path = `/consultations/${consultation}/ceremony`;
    const said = await call(session, "GET", path);
    const made = await deal(said, { code, now: new Date().toISOString().replace("Z", "+00:00") });
    await call(session, "POST", path, made);
    return {};
  },
  async confirm({ session, consultation, passphrase }) {
    const { sha256 } = await mine(session, consultation, passphrase);
    return call(session, "POST", `/consultations/${consultation}/ceremony/confirm`, { sha256 });
  },
  async rehearse({ session, consultation, passphrase }) {
    const { sha256 } = await mine(session, consultation, passphrase);
    return call(session, "POST", `/consultations/${consultation}/ceremony/rehearsal`, { sha256 });
  },
  async share({ session, consultation, passphrase, deadline }) {
    if (Date.now() <= Date.parse(deadline)) {
      throw new Refused("share.before-deadline", "D'après l'horloge de ce poste, la date limite n'est pas passée.");
    }
    const { shares } = await mine(session, consultation, passphrase);
    const opening = await call(session, "POST", `/consultations/${consultation}/opening`, {});
    return call(session, "POST", `/openings/${opening.session}/shares`, await sharesForSession(opening, shares));
  },
  async open({ session, consultation }) {
    const opening = await call(session, "POST", `/consultations/${consultation}/opening`, {});
    return call(session, "POST", `/openings/${opening.session}/open`, {});
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
    });
  }
});
