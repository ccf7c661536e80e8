// The ceremony record (signing/SPEC.md §4), as strictly as Python reads it: what one program refuses, the others refuse.
import { hex, sha256, unbase64 } from "./bytes.js";
import { Refused } from "./cobblestone.js";

const FIRST = ["v", "ceremony", "consultation", "threshold", "members", "keys", "code", "date"];
const FIELDS = { "ceremony/1": FIRST, "ceremony/2": [...FIRST, "epoch", "previous"] };
const KEYS = ["committee", "platform", "committee_public", "platform_public", "commitments"];
const KINDS = new Set(["candidature", "offre"]);
const PUBLIC_BYTES = 1216;

const refuse = (text) => new Refused("ceremony.refused", text);
const exactly = (value, names) =>
  value !== null && typeof value === "object" && Object.keys(value).sort().join() === [...names].sort().join();

// The record in these bytes. A field written twice, unknown, or a hash that is not its key's, is refused.
export async function parseRecord(bytes) {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  const record = JSON.parse(text);
  if (!Object.hasOwn(FIELDS, record?.v)) throw refuse("Version de cérémonie inconnue.");
  // Programs that write records write them without spaces: written again, the same bytes, or a field was there twice.
  if (JSON.stringify(record) !== text) throw refuse("Le compte rendu de la cérémonie n'est pas écrit comme il doit l'être.");
  if (!exactly(record, FIELDS[record.v])) throw refuse("Les champs du compte rendu ne sont pas ceux de la spécification.");
  const kinds = Object.keys(record.keys ?? {});
  if (!kinds.length || !kinds.every((kind) => KINDS.has(kind))) throw refuse("Les clés ne sont pas celles d'enveloppes connues.");
  for (const keys of Object.values(record.keys)) {
    if (!exactly(keys, KEYS)) throw refuse("Les champs des clés ne sont pas ceux de la spécification.");
    for (const who of ["committee", "platform"]) {
      const key = unbase64(keys[`${who}_public`]);
      if (key.length !== PUBLIC_BYTES || hex(await sha256(key)) !== keys[who]) {
        throw refuse("Une clé publique n'a pas l'empreinte annoncée.");
      }
    }
  }
  return record;
}
