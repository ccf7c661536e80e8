// A receipt verified on the visitor's machine: no byte of it leaves.
import { ascii, concat, equal, hex, sha256, unbase64, unhex } from "../sealing/bytes.js";
import { cosigned, follows, published } from "./follow.js";
import { Refused, originOf, parseKey, verifyProof } from "./journal.js";

const LIMIT = 20 * 1024 ** 2; // bytes
const root = document.querySelector("[data-receipt]");
const find = (selector) => root.querySelector(selector);
const refuse = (text) => {
  throw new Refused(text);
};
const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};
const same = (left, right) => JSON.stringify(sorted(left)) === JSON.stringify(sorted(right));

function script(url) {
  return new Promise((resolve, reject) => {
    const made = Object.assign(document.createElement("script"), { src: url, onload: resolve });
    made.onerror = () => reject(new Refused("Un morceau de cette page n'a pas pu se charger : rechargez-la."));
    document.head.append(made);
  });
}

// A text in which an object has a key twice is two receipts: JSON.parse keeps the last, another reader the first.
function hasTwice(text) {
  const open = [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}]/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (token.endsWith(":")) {
      const key = JSON.parse(token.replace(/\s*:$/, ""));
      if (open.at(-1)?.has(key)) return true;
      open.at(-1)?.add(key);
    }
  }
  return false;
}

const KEYS = "v number deposit operator buyer consultation bidder received deadline state attempt envelopes record journal timestamp".split(" ");
const named = ({ operator, buyer, consultation, bidder }) => ({ operator, buyer: { ...buyer, uuid: undefined }, consultation: { ...consultation, uuid: undefined }, bidder: { ...bidder, uuid: undefined } });

async function read(file) {
  if (file.size > LIMIT) refuse("Ce fichier est trop gros pour être un accusé de réception.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  let [json, record] = [bytes, null];
  const pdf = bytes[0] === 0x25 ? bytes.slice() : null; // its reader takes the bytes that it is given
  if (pdf) {
    if (!globalThis.receiptAttachments) await script(root.dataset.pdf);
    const files = await globalThis.receiptAttachments(bytes).catch(() => refuse("Ce PDF ne se lit pas."));
    [json, record] = [files.get("receipt.json"), files.get("record")];
    if (!json || !record) refuse("Ce PDF ne contient pas d'accusé vérifiable : prenez l'accusé JSON.");
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(json);
    const receipt = JSON.parse(text);
    if (hasTwice(text) || Object.keys(receipt).some((key) => !KEYS.includes(key))) throw new TypeError("keys");
    return { receipt, record, pdf };
  } catch {
    return refuse("Ce fichier n'est pas un accusé de réception de cette plateforme.");
  }
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isText = (value) => typeof value === "string";
const isTextOrNull = (value) => value === null || isText(value);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

// JavaScript takes ["x"] for "x": what another reader would refuse is refused here too.
function isShaped({ number, deposit, received, deadline, state, operator, buyer, consultation, bidder, attempt, envelopes, record, journal, timestamp }) {
  return (
    [number, deposit, received, deadline, state, operator, record].every(isText) &&
    [buyer, consultation, bidder, journal, timestamp].every(isObject) &&
    Array.isArray(envelopes) &&
    [journal.nonce, journal.proof, journal.key].every(isText) &&
    isCount(journal.index) &&
    [timestamp.token, timestamp.time, timestamp.authority].every(isTextOrNull) &&
    typeof timestamp.qualified === "boolean" &&
    (attempt === undefined || (isObject(attempt) && isCount(attempt.parts) && isCount(attempt.refusals)))
  );
}

const vouched = (authority) => (authority ? `sous l'autorité « ${authority} »` : "d'une autorité que cette page ne connaît pas : la ligne de commande la vérifie avec son certificat");

// What is checked, in order; each step gives the sentence that says what it proves.
async function* steps(given, keyLines, witnessLines) {
  const { receipt, record: attached, pdf } = given;
  if (receipt?.v !== "receipt/1") refuse("Ce fichier n'est pas un accusé de réception de cette plateforme.");
  if (!isShaped(receipt)) refuse("Cet accusé est incomplet ou mal formé.");
  const bytes = unbase64(receipt.record);
  if (attached && !equal(bytes, attached)) refuse("L'enregistrement joint au PDF n'est pas celui de l'accusé.");
  const record = JSON.parse(new TextDecoder().decode(bytes));
  const shown = [receipt.deposit, receipt.received, receipt.deadline, receipt.state, receipt.envelopes, receipt.bidder?.uuid];
  const written = [record.deposit, record.received, record.deadline, record.late ? "late" : "in-time", record.envelopes, record.bidder];
  if (!same(shown, written)) refuse("L'accusé ne dit pas ce que dit l'enregistrement.");
  if (receipt.consultation?.uuid !== record.consultation) refuse("L'accusé ne dit pas de quelle consultation est l'enregistrement.");
  if (record.mentions && !same(named(receipt), named(record.mentions))) refuse("L'accusé ne dit pas les noms, l'intitulé ou l'objet que dit l'enregistrement.");
  const numbered = new RegExp(`^ARS?-\\d{8}-${record.deposit.replaceAll("-", "").slice(0, 10)}(-\\d+)?$`, "i");
  if (!numbered.test(receipt.number)) refuse("Le numéro de l'accusé n'est pas celui de ce dépôt.");
  const history = receipt.attempt; // receipts of before have none
  if (history && !same([history.uuid, history.started, history.first_part, history.last_part], [record.attempt, record.started, record.first_part, record.last_part])) refuse("L'accusé ne dit pas de la tentative ce que dit l'enregistrement.");
  yield `L'accusé dit ce que dit l'enregistrement horodaté : dépôt, heure, date limite, fichiers et empreintes${record.mentions ? ", noms et SIRET, référence, intitulé et objet" : ""}.`;
  given.mentions = Boolean(record.mentions);
  const keys = await Promise.all(keyLines.map(parseKey));
  if (keys.length === 0) refuse("Donnez la clé du journal.");
  const origin = originOf(receipt.journal.proof);
  const key = keys.find(({ name }) => name === origin) ?? keys[0]; // whose signature it is not, is then said
  given.key = key.line;
  if (!/^[0-9a-f]{64}$/i.test(receipt.journal.nonce)) refuse("Cet accusé est incomplet ou mal formé."); // some bytes of the record would pass for it
  const digest = hex(await sha256(concat(unhex(receipt.journal.nonce), bytes)));
  const leaf = JSON.stringify({ consultation: record.consultation, digest, time: record.received, type: "deposit" });
  const { index, size, root: seen } = await verifyProof(receipt.journal.proof, ascii(leaf), key);
  if (receipt.journal.index !== index) refuse("L'accusé ne dit pas à quelle entrée du journal il est inscrit.");
  yield `L'enregistrement est l'entrée n° ${index} du journal « ${key.name} », sous un point de contrôle signé de ${size} entrées.`;
  yield* followed(given, { size, root: seen }, key, keys, witnessLines);
  if ((pdf || receipt.timestamp.token) && !globalThis.receiptToken) await script(root.dataset.token);
  if (pdf) {
    const { signer, authority } = await globalThis.receiptSeal(pdf, root.dataset.seals, root.dataset.bought, root.dataset.authorities, record.received).catch(({ message }) => refuse(message));
    // Anybody seals a PDF with a key of their own: what is printed is then their word, not ours.
    if (!authority) refuse(`Le cachet de ce PDF est celui de « ${signer} », d'une autorité que cette page ne connaît pas : ce qui y est imprimé n'est pas prouvé. Vérifiez l'accusé JSON, ou le PDF par la ligne de commande.`);
    yield `Le cachet du PDF porte sur tout le fichier, signé par « ${signer} », ${vouched(authority)}.`;
  }
  yield* stamp(receipt, record, bytes);
  if (history) yield "NON VÉRIFIÉ : le nombre de parties et de refus, que le journal n'a pas.";
  if (!pdf) yield `CACHET NON JUGÉ : aucun PDF ici.${record.mentions ? "" : ` ${UNPROVEN}`}`;
}

// The journal of today, which this page reads from this site alone, continues that of the receipt.
async function* followed(given, seen, key, keys, witnessLines) {
  const uncompared = (why) => `NON COMPARÉ au journal publié : ${why}`;
  if (!root.dataset.journals.split(" ").includes(key.line)) {
    yield uncompared(`cet accusé est du journal « ${key.name} », que ce site ne publie pas.`);
    return;
  }
  try {
    const now = await published(root.dataset.journal, keys);
    if (!now.key) {
      yield uncompared(now.note ? `il est signé par « ${now.note.split("\n")[0]} », dont la clé n'est pas donnée.` : "il n'en a pas encore paru.");
      return;
    }
    const broken = await contradiction(now, seen);
    // A journal that lost entries was succeeded by another: this receipt stays what the former key signed.
    if (broken && now.key.line !== key.line) {
      given.succeeded = ` Son journal « ${key.name} » a été remplacé par « ${now.key.name} », qui n'en a pas repris toutes les entrées : la page « Journal public » dit combien ont été gardées, et pourquoi.`;
      yield uncompared(`« ${now.key.name} » a remplacé « ${key.name} », et n'en prolonge pas les ${seen.size} entrées.`);
      return;
    }
    if (now.size < seen.size) {
      given.shorter = true;
      yield uncompared(`il compte ${now.size} entrée${now.size > 1 ? "s" : ""}, et en comptait ${seen.size} pour cet accusé. Il en paraît un chaque minute : recommencez.`);
      return;
    }
    if (broken) throw broken;
    yield `Le journal publié aujourd'hui (${now.size} entrées) prolonge celui de l'accusé : rien n'en a été réécrit.`;
    for (const line of witnessLines) {
      const { name, time } = await cosigned(now.note, line);
      yield time ? `Le témoin « ${name} » a cosigné ce journal, le ${when(time)}.` : `NON COSIGNÉ par le témoin « ${name} » : recommencez dans une minute.`;
    }
    if (witnessLines.length === 0) yield "NON VÉRIFIÉ : que d'autres voient le même journal, aucun témoin n'est donné.";
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what fetch throws, or an answer that is not the file
    yield uncompared("il n'a pas pu être lu. Rechargez cette page, ou prenez la ligne de commande.");
  }
}

// Why the journal of today does not continue that of the receipt (Refused); null when it does.
async function contradiction(now, seen) {
  if (now.size < seen.size) return new Refused("Le journal publié est plus court que celui de cet accusé.");
  try {
    await follows(root.dataset.journal, now, seen);
    return null;
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
}

const UNPROVEN = "Sans le PDF et son cachet, ne sont pas prouvés : le numéro, les noms, la référence, l'intitulé et l'objet.";

async function* stamp({ timestamp }, record, bytes) {
  if (!timestamp.token) {
    if (timestamp.time) refuse("L'accusé dit une heure d'horodatage, et n'en porte pas le jeton.");
    yield "HORODATAGE NON JUGÉ : aucun jeton ici.";
    return;
  }
  const { time, signer, authority } = await globalThis
    .receiptToken(unbase64(timestamp.token), bytes, root.dataset.authorities)
    .catch(({ message }) => refuse(message));
  if (timestamp.time && Date.parse(timestamp.time) !== Date.parse(time)) refuse("L'accusé ne dit pas l'heure que dit son jeton d'horodatage.");
  if (Date.parse(time) < Date.parse(record.received) - 60_000) refuse("Le jeton d'horodatage est antérieur à la réception qu'il atteste.");
  yield `Le jeton d'horodatage porte sur cet enregistrement, le ${when(time)}, signé par « ${signer} », ${vouched(authority)}.`;
  yield "NON VÉRIFIÉ : que ce jeton est qualifié, et le nom de son autorité que l'accusé dit.";
}

// « vendredi 27 novembre 2026 à 21:38:03 (Europe/Paris) », then the exact instant as it was signed.
const ZONE = root.dataset.zone;
const words = new Intl.DateTimeFormat("fr-FR", { dateStyle: "full", timeStyle: "medium", timeZone: ZONE });
const when = (instant) => `${words.format(new Date(instant))} (${ZONE}), soit ${instant}`;

const linesOf = (field) => find(field).value.split("\n").filter((each) => each.trim());
const line = (text) => Object.assign(document.createElement("li"), { textContent: text });

async function verify() {
  const [file] = find("[type=file]").files;
  const [list, box] = [find("[data-steps]"), find("[data-verdict]")];
  list.replaceChildren();
  box.hidden = true;
  const say = (kind, title, text) => {
    box.className = `notice notice-${kind}`;
    box.querySelector("[data-title]").textContent = title;
    box.querySelector("[data-text]").textContent = text;
    box.hidden = false;
    box.focus();
  };
  if (!file) return say("warn", "Rien n'a été vérifié.", "Choisissez d'abord l'accusé de réception, en PDF ou en JSON.");
  try {
    const given = await read(file);
    for await (const done of steps(given, linesOf("[name=key]"), linesOf("[name=witnesses]"))) list.append(line(done));
    const { number, state, received } = given.receipt;
    const late = state === "late" ? "reçu hors délai" : "reçu dans les délais";
    const own = root.dataset.known.split(" ").includes(given.key) ? "" : " La clé de son journal n'est pas une de celles de cette plateforme.";
    const printed = given.pdf || given.mentions ? "" : ` ${UNPROVEN}`;
    const shorter = given.shorter ? " Le journal publié est plus court que celui de cet accusé : si cela dure plus de quelques minutes, il a perdu des entrées." : "";
    const succeeded = given.succeeded ?? "";
    say(shorter || succeeded || own ? "warn" : "good", `Accusé ${number} : authentique, ${late}.`, `Reçu le ${when(received)}.${own}${shorter}${succeeded}${printed} Ce que cette page ne vérifie pas est dit ci-dessous.`);
  } catch (error) {
    const unknown = error.name === "NotSupportedError" ? "Ce navigateur ne sait pas vérifier une signature Ed25519 : mettez-le à jour, ou prenez la ligne de commande." : "Cet accusé est incomplet ou mal formé.";
    say("bad", "Cet accusé n'est pas vérifié.", error instanceof Refused ? error.message : unknown);
  }
}

find("[data-verify]").addEventListener("click", verify);
find("[type=file]").addEventListener("change", () => {
  find("[data-verdict]").hidden = true;
  find("[data-steps]").replaceChildren();
});
find("[data-noscript]").remove();
find("[data-form]").hidden = false;
