// A timestamp token judged in the browser (RFC 3161, RFC 5652) by pkijs: imprint, signature, chain to an authority given.
import { fromBER } from "asn1js";
import { Certificate, SignedData, TSTInfo, TimeStampResp } from "pkijs";
import { hex, sha256 } from "../sealing/bytes.js";

const TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
const EXTENDED_KEY_USAGE = "2.5.29.37";
const SHA256 = "2.16.840.1.101.3.4.2.1";
const COMMON_NAME = "2.5.4.3";
class Refused extends Error {}
const refuse = (text) => {
  throw new Refused(text);
};
const exact = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const parse = (bytes) => {
  const { result, offset } = fromBER(exact(bytes));
  return offset === -1 ? refuse("Le jeton d'horodatage est mal formé.") : result;
};

function authorities(pem) {
  const found = [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)];
  return found.map(([, body]) => new Certificate({ schema: parse(Uint8Array.from(atob(body.replace(/\s/g, "")), (each) => each.charCodeAt(0))) }));
}

const nameOf = ({ typesAndValues }) => {
  const common = typesAndValues.find(({ type }) => type === COMMON_NAME) ?? typesAndValues.at(-1);
  return common ? common.value.valueBlock.value : "sans nom";
};
const dated = (moment) => moment.toISOString().replace(/\.000Z$/, "Z");

// { time, signer, authority } of a token over this record; `authority` is empty when none of those given vouches for
// its signer. Throws in French when it is about something else, or when its signature is false.
globalThis.receiptToken = (token, record, pem) =>
  judge(token, record, pem).catch((error) => refuse(error instanceof Refused ? error.message : "Le jeton d'horodatage est mal formé."));

async function judge(token, record, pem) {
  const response = new TimeStampResp({ schema: parse(token) });
  if (!response.timeStampToken) refuse("Cette réponse ne porte pas de jeton d'horodatage.");
  const signed = new SignedData({ schema: response.timeStampToken.content });
  const content = signed.encapContentInfo.eContent;
  const info = new TSTInfo({ schema: parse(new Uint8Array(content.getValue())) });
  const asked = { signer: 0, data: exact(record), checkDate: info.genTime, extendedMode: true };
  const imprint = new Uint8Array(info.messageImprint.hashedMessage.getValue());
  const { algorithmId } = info.messageImprint.hashAlgorithm;
  if (algorithmId !== SHA256 || hex(imprint) !== hex(await sha256(record))) refuse("Le jeton d'horodatage porte sur autre chose que cet enregistrement.");
  const said = await signed.verify(asked).catch(() => ({}));
  if (!said.signatureVerified) refuse("La signature du jeton d'horodatage ne se vérifie pas.");
  const usages = said.signerCertificate.extensions?.find(({ extnID }) => extnID === EXTENDED_KEY_USAGE)?.parsedValue?.keyPurposes ?? [];
  if (usages.join() !== TIME_STAMPING) refuse("Le certificat de ce jeton n'est pas celui d'une autorité d'horodatage.");
  // Whose word it is: the backup channel, or another platform, has an authority that this page does not know.
  const chained = await signed.verify({ ...asked, trustedCerts: authorities(pem), checkChain: true }).catch(() => ({}));
  const top = chained.signerCertificateVerified ? chained.certificatePath.at(-1) : null;
  return { time: dated(info.genTime), signer: nameOf(said.signerCertificate.subject), authority: top ? nameOf(top.subject) : "" };
}
