// Seal and send in one pass, in constant memory: while a part is sent, the next is sealed.
import { keysFor, parseRecord } from "../sealing/record.js";
import { base64, concat, hex, sha256, unbase64, unhex } from "../sealing/bytes.js";
import { Refused, closingBytes, newEnvelope, partBytes, sealer } from "../sealing/envelope.js";
import { keyHash } from "../sealing/keys.js";
import { Api, Away } from "./api.js";
import { find, forget, keep } from "./drafts.js";
import { FileDigest, isDigestThread, sealedParts, serveDigests } from "./pipeline.js";
import { Transfer } from "./transfer.js";

const IN_FLIGHT_BYTES = 16 * 1024 ** 2; // two parts being sent while another is sealed
const IN_FLIGHT = 6; // requests, for many small files
const TELL_EVERY = 200; // milliseconds
const KEEP_EVERY = 2000;
let api = null;
let resume = null;
let waiting = null;

const say = (type, data = {}) => postMessage({ type, ...data });

// Keys are those that the ceremony record carries, or nothing is sealed.
export async function trustedKeys(consultation) {
  const record = unbase64(consultation.ceremony.record);
  if (hex(await sha256(record)) !== consultation.ceremony.sha256) {
    throw new Refused("ceremony.refused", "Le compte rendu de la cérémonie des clés n'a pas l'empreinte annoncée.");
  }
  const said = await parseRecord(record);
  if (said.consultation !== consultation.uuid) {
    throw new Refused("ceremony.refused", "La cérémonie des clés n'est pas celle de cette consultation.");
  }
  const keys = {};
  for (const [kind, offered] of Object.entries(consultation.keys)) {
    const [committee, platform] = [unbase64(offered.committee), unbase64(offered.platform)];
    const carried = said.keys[kind];
    if (!carried || carried.committee !== (await keyHash(committee)) || carried.platform !== (await keyHash(platform))) {
      throw new Refused("ceremony.refused", "La plateforme propose une clé que la cérémonie n'a pas faite : rien n'est envoyé.");
    }
    keys[kind] = { committee, platform };
  }
  return keys;
}

async function newDraft({ consultation, organisation, envelopes }) {
  const keys = await trustedKeys(consultation);
  const deposit = crypto.randomUUID();
  const made = [];
  for (const { lot, kind, files, preflight } of envelopes) {
    const pair = keysFor(keys, kind, lot);
    if (!pair) throw new Refused("deposit.envelope-refused", `Aucune enveloppe « ${kind} » n'est demandée.`);
    const ids = {
      consultation: consultation.uuid,
      lot,
      bidder: organisation,
      kind,
      deposit,
      envelope: crypto.randomUUID(),
    };
    const entries = files.map(({ file, name }) => ({
      name,
      size: file.size,
      type: file.type,
      original: name,
      modified: file.lastModified,
    }));
    const envelope = await newEnvelope({ ids, entries, ...pair, ceremony: consultation.ceremony.sha256 });
    made.push({ ...envelope, preflight });
  }
  return { deposit, consultation: consultation.uuid, organisation, begun: Date.now(), envelopes: made };
}

const attemptBody = (draft) => ({
  consultation: draft.consultation,
  client_clock: new Date().toISOString(),
  envelopes: draft.envelopes.map(({ header, keys, objects }) => ({
    header: base64(header),
    keys: base64(keys),
    objects: objects.map(({ name, sealed }) => ({ name, size: sealed })),
  })),
});

class Progress {
  constructor(total) {
    Object.assign(this, { total, done: 0, started: performance.now(), begun: 0, told: 0 });
  }

  // `fresh` bytes really went through the network: what was there before counts neither for speed nor for time.
  advance(count, fresh, file) {
    this.done += count;
    if (fresh) this.begun += count;
    const now = performance.now();
    if (now - this.told < TELL_EVERY && this.done < this.total) return;
    this.told = now;
    const speed = this.begun / Math.max(0.001, (now - this.started) / 1000);
    say("progress", { done: this.done, total: this.total, speed, file });
  }
}

// At most two parts in memory; an error of any stops all.
class Sending {
  constructor() {
    Object.assign(this, { bytes: 0, all: new Set(), failed: null });
  }

  async add(size, work) {
    while (this.all.size && (this.bytes + size > IN_FLIGHT_BYTES || this.all.size >= IN_FLIGHT)) {
      await Promise.race(this.all);
      if (this.failed) throw this.failed;
    }
    this.bytes += size;
    const promise = work()
      .catch((error) => {
        this.failed ??= error;
      })
      .finally(() => {
        this.bytes -= size;
        this.all.delete(promise);
      });
    this.all.add(promise);
  }

  async end() {
    await Promise.all(this.all);
    if (this.failed) throw this.failed;
  }
}

// To the platform; to its backup channel when only that one answers. Both know a deposit by its id.
async function deposit(draft, files) {
  try {
    await remember(draft);
    await send(draft, files);
  } catch (error) {
    if (!(error instanceof Away)) throw error;
    say("channel");
    say("network", { state: "going", text: "" });
    api = new Api({ ...api, tell: api.tell, backup: null, channel: draft.backup });
    await send(draft, files);
  }
}

// Where to turn if the platform stops answering, kept with the draft: asked while it answers.
async function remember(draft) {
  try {
    const { url, pass } = await api.call("POST", "/channel/pass", { json: {} });
    draft.backup = { url, pass };
    await keep(draft);
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "not-found") throw error;
  }
  api.backup = draft.backup ?? null;
}

async function send(draft, files) {
  const state = await api.call("POST", "/attempts", { json: attemptBody(draft) });
  if (state.state === "deposited") return finish(draft, await deposited(draft));
  if (state.state === "withdrawn") {
    await forget(draft.deposit); // nothing brings it back: the refusal says what to do
    return api.call("POST", `/attempts/${state.attempt}/finalise`, { json: { objects: [] } });
  }
  const held = new Map(
    state.objects.map(({ envelope, name, parts }) => [
      `${envelope}/${name}`,
      new Map(parts.map(({ number, sha256: digest }) => [number, digest])),
    ]),
  );
  const total = draft.envelopes.flatMap(({ objects }) => objects).reduce((sum, { sealed }) => sum + sealed, 0);
  if (state.fingerprint_first && !state.fingerprint) {
    // Sealed once to know its digests, and once more, byte for byte the same, to be sent.
    say("fingerprinting");
    const objects = await sendAll({ draft, files, held: new Map(), total, transfer: null });
    await keep(draft);
    await api.call("POST", `/attempts/${state.attempt}/fingerprint`, { json: { objects } });
    say("sending");
  }
  const objects = await sendAll({ draft, files, held, total, transfer: new Transfer(api, state) });
  say("finalising");
  const preflight = draft.envelopes
    .filter((each) => each.preflight)
    .map(({ envelope, preflight: { checked, codes } }) => ({ envelope, checked, codes }));
  const json = { objects, preflight };
  let receipt;
  for (let tried = 0; !receipt || receipt.state === "recording"; tried += 1) {
    // Received at its instant; the store puts a very large deposit away.
    if (receipt) await api.wait(Math.min(tried, 3), `${receipt.message} ${receipt.next}`);
    receipt = await api.call("POST", `/attempts/${state.attempt}/finalise`, { json });
  }
  return finish(draft, receipt);
}

// Seals every object and gives their digests; sends what is not held, unless there is no transfer.
async function sendAll({ draft, files, held, total, transfer }) {
  const progress = new Progress(total);
  const sending = new Sending();
  const digests = [];
  for (const envelope of draft.envelopes) {
    for (const object of envelope.objects) {
      const parts = held.get(`${envelope.envelope}/${object.name}`) ?? new Map();
      const context = { draft, envelope, object, held: parts, progress, sending };
      digests.push(await sendObject({ ...context, transfer, source: await sourceOf(context, files) }));
    }
  }
  await sending.end();
  return Promise.all(digests.map((composite) => composite()));
}

const deposited = async (draft) => (await api.call("GET", `/deposits/${draft.deposit}`)).receipt;

async function finish(draft, receipt) {
  await forget(draft.deposit); // EK goes with it: nobody but a quorum can open what was deposited
  const { number, state, received } = receipt;
  say("done", { deposit: draft.deposit, number, state, received, receipt: api.channel ? receipt : null });
}

// Where the plaintext of an object comes from: the manifest, a file, or the closing record.
async function sourceOf({ envelope, object }, files) {
  if (object.index === 0) return inMemory(envelope.manifest);
  if (object.index <= envelope.entries.length) {
    return { file: files.get(`${envelope.envelope}/${object.index}`) ?? null, index: object.index };
  }
  const digests = envelope.entries.map(({ size }, at) => ({ size, sha256: envelope.digests[at + 1] }));
  return inMemory(closingBytes(digests, envelope.closingNonce));
}

const inMemory = (bytes) => ({ read: async (from, to) => bytes.subarray(from, to) });

const changed = (name) =>
  new Refused("envelope.file-changed", `Le fichier « ${name} » n'est plus celui qui a été choisi : recommencez le dépôt.`);

async function sendObject({ draft, envelope, object, held, progress, sending, transfer, source }) {
  const size = partBytes(object.sealed);
  const count = Math.ceil(object.sealed / size);
  const parts = Array.from({ length: count }, (_, at) => held.get(at + 1) ?? null);
  const isFile = source.index !== undefined;
  const complete = parts.every(Boolean) && (!isFile || envelope.digests[object.index]);
  const label = isFile ? envelope.entries[object.index - 1].name : "";
  if (complete) {
    progress.advance(object.sealed, false, label);
  } else {
    if (isFile && !source.file) throw new Refused("deposit.file-missing", `Il manque le fichier « ${label} ».`);
    const plainDigest = isFile ? new FileDigest(object.size) : null;
    const read = isFile ? reader(source.file, label) : source.read;
    const made = await sealer(envelope, object);
    for await (const { start, bytes, digest } of sealedParts(made, object, { part: size, read, plainDigest })) {
      const at = start / size;
      await sending.add(bytes.length, async () => {
        const sha256 = await digest;
        const fresh = !parts[at];
        if (!fresh && parts[at] !== sha256) throw changed(label);
        parts[at] = sha256;
        const part = { envelope: envelope.envelope, name: object.name, number: at + 1, sha256 };
        if (fresh && transfer) await transfer.send(part, bytes);
        progress.advance(bytes.length, fresh && transfer !== null, label);
      });
    }
    if (isFile) {
      // Kept even if its last parts are still on their way: a resume asks the store what it has.
      envelope.digests[object.index] = await plainDigest.end();
      await keepNowAndThen(draft);
    }
  }
  // Once every part is sent.
  return async () => ({
    envelope: envelope.envelope,
    name: object.name,
    sha256: hex(await sha256(concat(...parts.map(unhex)))),
  });
}

let kept = 0;
async function keepNowAndThen(draft) {
  if (performance.now() - kept < KEEP_EVERY) return;
  await keep(draft);
  kept = performance.now();
}

function reader(file, label) {
  return async (from, to) => {
    const bytes = await file
      .slice(from, to)
      .arrayBuffer()
      .then((buffer) => new Uint8Array(buffer))
      .catch(() => null);
    if (bytes?.length !== to - from) throw changed(label);
    return bytes;
  };
}

function open({ organisation, csrf }) {
  api = new Api({ organisation, csrf, tell: (state, text) => say("network", { state, text }), signedIn });
}

// Several requests may wait at once for the same person to sign in again.
function signedIn() {
  if (!waiting) {
    say("network", { state: "session", text: "Votre session a expiré : reconnectez-vous dans un autre onglet, l'envoi reprendra." });
    waiting = new Promise((resolve) => (resume = resolve));
  }
  return waiting;
}

const work = {
  async deposit(plan) {
    open(plan);
    const draft = await newDraft(plan);
    if (plan.backup) draft.backup = plan.backup;
    api.backup = plan.backup ?? null;
    await keep(draft);
    say("draft", { deposit: draft.deposit });
    const files = new Map();
    for (const [at, envelope] of draft.envelopes.entries()) {
      for (const [index, { file }] of plan.envelopes[at].files.entries()) files.set(`${envelope.envelope}/${index + 1}`, file);
    }
    await deposit(draft, files);
  },
  async resume({ deposit: id, files, ...session }) {
    open(session);
    const draft = await find(id);
    api.backup = draft.backup ?? null;
    await deposit(draft, new Map(files));
  },
  csrf({ token }) {
    resume?.(token);
    waiting = resume = null;
    say("network", { state: "going", text: "" });
  },
  async cancel({ deposit: id }) {
    api?.cancel();
    if (id) await forget(id);
    say("cancelled");
  },
};

async function perform({ data: { type, ...data } }) {
  try {
    await work[type](data);
  } catch (error) {
    const known = error instanceof Refused;
    say("refused", {
      code: known ? error.code : "client.fault",
      message: known ? error.message : `Erreur inattendue : ${error.message}`,
      next: error.next ?? "Ce qui est déjà reçu est conservé : vous pouvez recommencer.",
    });
  }
}

if (isDigestThread()) serveDigests();
else addEventListener("message", perform);
