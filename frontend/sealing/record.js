// The ceremony record (signing/SPEC.md §4), as strictly as Python reads it: what one program refuses, the others refuse.
import { hex, sha256, unbase64 } from "./bytes.js";
import { Refused } from "./cobblestone.js";

const FIRST = ["v", "ceremony", "consultation", "threshold", "members", "keys", "code", "date"];
const SECOND = [...FIRST, "epoch", "previous"];
const FIELDS = { "ceremony/1": FIRST, "ceremony/2": SECOND, "ceremony/3": [...SECOND, "dealer", "twin"] };
const KEYS = ["committee", "platform", "committee_public", "platform_public", "commitments"];
const NAME = /^(candidature|offre)(\/[A-Za-z0-9._-]{1,16})?$/;
const MAX_KEYS = 50;
const MAX_HOLDERS = 20;
const MAX_PROTECTORS = 8;
const COMMITMENT = ["index", "salt", "commitment"];
const PUBLIC_BYTES = 1216;

const HEX64 = /^[0-9a-f]{64}$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const isWhole = (value, low, high) => Number.isInteger(value) && value >= low && value <= high;
const refuse = (text) => new Refused("ceremony.refused", text);
const isText = (value) => typeof value === "string";
const inOrder = (rows) => Array.isArray(rows) && rows.length >= 2 && rows.length <= MAX_HOLDERS && rows.every(({ index }, at) => index === at + 1);
const exactly = (value, names) =>
  value !== null && typeof value === "object" && Object.keys(value).sort().join() === [...names].sort().join();

function checkMembers(record) {
  const first = record.v === "ceremony/1";
  const names = ["index", "name", "member", ...(first ? ["protector", "protector_sha256"] : ["protectors"])];
  if (!inOrder(record.members)) throw refuse(`Membres : de 2 à ${MAX_HOLDERS} lignes, numérotées dans l'ordre.`);
  for (const each of record.members) {
    if (!exactly(each, names) || !isText(each.name) || !UUID.test(each.member)) throw refuse("Un membre n'est pas décrit comme il doit l'être.");
    const protectors = first ? [{ protector: each.protector, sha256: each.protector_sha256 }] : each.protectors;
    if (!Array.isArray(protectors) || !protectors.length || protectors.length > MAX_PROTECTORS) {
      throw refuse(`Un membre a de 1 à ${MAX_PROTECTORS} protecteurs.`);
    }
    const sound = (one) => exactly(one, ["protector", "sha256"]) && UUID.test(one.protector) && HEX64.test(one.sha256);
    if (!protectors.every(sound)) throw refuse("Un protecteur n'est pas décrit comme il doit l'être.");
  }
  if (new Set(record.members.map(({ member }) => member)).size !== record.members.length) throw refuse("Un même membre y figure deux fois.");
}

// The record in these bytes. A field written twice, unknown, or a hash that is not its key's, is refused.
export async function parseRecord(bytes) {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  const record = JSON.parse(text);
  if (!Object.hasOwn(FIELDS, record?.v)) throw refuse("Version de cérémonie inconnue.");
  // Programs that write records write them without spaces: written again, the same bytes, or a field was there twice.
  if (JSON.stringify(record) !== text) throw refuse("Le compte rendu de la cérémonie n'est pas écrit comme il doit l'être.");
  if (!exactly(record, FIELDS[record.v])) throw refuse("Les champs du compte rendu ne sont pas ceux de la spécification.");
  const names = Object.keys(record.keys ?? {});
  const perLot = names.filter((name) => name.includes("/")).length;
  const whole = perLot === 0 || (perLot === names.length && record.v === "ceremony/3");
  if (!names.length || names.length > MAX_KEYS || !whole || !names.every((name) => NAME.test(name))) {
    throw refuse("Les clés ne sont pas celles d'enveloppes connues.");
  }
  checkMembers(record);
  if (!UUID.test(record.ceremony) || !UUID.test(record.consultation) || !isText(record.code)) throw refuse("Les identifiants du compte rendu ne se lisent pas.");
  if (record.v === "ceremony/3" && !record.members.some(({ member }) => member === record.dealer)) {
    throw refuse("Qui a réparti les parts n'est pas l'un des détenteurs.");
  }
  if (!isWhole(record.threshold, 2, record.members.length)) throw refuse("Le quorum n'est pas un nombre de détenteurs.");
  if (record.v !== "ceremony/1" && (!isWhole(record.epoch, 1, 1000) || (record.epoch === 1) !== (record.previous === "") || (record.previous && !HEX64.test(record.previous)))) {
    throw refuse("Une nouvelle répartition nomme celle qu'elle remplace, la première aucune.");
  }
  if (record.twin && !UUID.test(record.twin)) throw refuse("La consultation jumelle n'a pas d'identifiant.");
  if (typeof record.date !== "string" || Number.isNaN(Date.parse(record.date))) throw refuse("La date de la cérémonie ne se lit pas.");
  if (new Set(Object.values(record.keys).map((keys) => keys.committee)).size !== names.length) {
    throw refuse("Une même clé y porte plusieurs noms : ouvrir l'un ouvrirait l'autre.");
  }
  for (const keys of Object.values(record.keys)) {
    if (!exactly(keys, KEYS)) throw refuse("Les champs des clés ne sont pas ceux de la spécification.");
    const line = (one) => exactly(one, COMMITMENT) && HEX64.test(one.salt) && HEX64.test(one.commitment);
    if (!inOrder(keys.commitments) || keys.commitments.length !== record.members.length || !keys.commitments.every(line)) {
      throw refuse("Il faut un engagement par détenteur.");
    }
    for (const who of ["committee", "platform"]) {
      const key = unbase64(keys[`${who}_public`]);
      if (key.length !== PUBLIC_BYTES || hex(await sha256(key)) !== keys[who]) {
        throw refuse("Une clé publique n'a pas l'empreinte annoncée.");
      }
    }
  }
  return record;
}

// The keys to which this envelope of this lot is sealed: its lot's own, or those of all the lots.
export const keysFor = (keys, kind, lot) => keys[`${kind}/${lot}`] ?? keys[kind];
