// A timestamp token (RFC 3161) and the seal of a PDF (ISO 32000-2 §12.8.1) judged in the browser by pkijs: what they are
// about, their signature, their chain to an authority given.
import { fromBER } from "asn1js";
import { Certificate, ContentInfo, SignedData, TSTInfo, TimeStampResp } from "pkijs";
import { concat, hex, sha256, unhex } from "../sealing/bytes.js";

const TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
const EXTENDED_KEY_USAGE = "2.5.29.37";
const SHA256 = "2.16.840.1.101.3.4.2.1";
const COMMON_NAME = "2.5.4.3";
const SIGNATURE_TIMESTAMP = "1.2.840.113549.1.9.16.2.14"; // ETSI EN 319 122-1 §5.3
class Refused extends Error {}
const refuse = (text) => {
  throw new Refused(text);
};
const exact = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const parse = (bytes, what = "Le jeton d'horodatage") => {
  const { result, offset } = fromBER(exact(bytes));
  return offset === -1 ? refuse(`${what} est mal formé.`) : result;
};

function authorities(pem) {
  const found = [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)];
  return found.map(([, body]) => new Certificate({ schema: parse(Uint8Array.from(atob(body.replace(/\s/g, "")), (each) => each.charCodeAt(0))) }));
}

const nameOf = ({ typesAndValues }) => {
  const common = typesAndValues.find(({ type }) => type === COMMON_NAME) ?? typesAndValues.at(-1);
  return common ? common.value.valueBlock.value : "sans nom";
};
const der = (certificate) => hex(new Uint8Array(certificate.toSchema().toBER(false)));
const dated = (moment) => moment.toISOString().replace(/\.000Z$/, "Z");

// { time, signer, authority } of a token over this record; `authority` is empty when none of those given vouches for
// its signer. Throws in French when it is about something else, or when its signature is false.
globalThis.receiptToken = (token, record, pem) =>
  judge(token, record, pem).catch((error) => refuse(error instanceof Refused ? error.message : "Le jeton d'horodatage est mal formé."));

async function judge(token, record, pem) {
  const { timeStampToken } = new TimeStampResp({ schema: parse(token) });
  if (!timeStampToken) refuse("Cette réponse ne porte pas de jeton d'horodatage.");
  return judgeToken(timeStampToken, record, pem);
}

async function judgeToken(token, record, pem) {
  const signed = new SignedData({ schema: token.content });
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
  return { time: dated(info.genTime), signer: nameOf(said.signerCertificate.subject), authority: await authorityOf(signed, asked, authorities(pem)) };
}

// Whose word it is: the backup channel, or another platform, has an authority that this page does not know.
async function authorityOf(signed, asked, trustedCerts) {
  const chained = await signed.verify({ ...asked, trustedCerts, checkChain: true }).catch(() => ({}));
  const top = chained.signerCertificateVerified ? chained.certificatePath.at(-1) : null;
  return top ? nameOf(top.subject) : "";
}

// When a seal existed: by its own token, of an authority that is known; null without one.
async function stamped(signed, stampers) {
  const [{ signature, unsignedAttrs }] = signed.signerInfos;
  const found = unsignedAttrs?.attributes.find(({ type }) => type === SIGNATURE_TIMESTAMP);
  if (!found) return null;
  const token = new ContentInfo({ schema: found.values[0] });
  const { time, authority } = await judgeToken(token, new Uint8Array(signature.getValue()), stampers);
  return authority ? new Date(time) : null;
}

// { signer, authority } of the seal of a whole PDF. Throws in French when it leaves a byte out, or is false. Its
// certificate is judged when it sealed, not now: the hour of its own token, else the one that the journal proves.
globalThis.receiptSeal = (pdf, own, bought, stampers, journalled) => judgeSeal(pdf, own, bought, stampers, journalled).catch((error) => refuse(error instanceof Refused ? error.message : "Le cachet de ce PDF est mal formé."));

async function judgeSeal(pdf, own, bought, stampers, journalled) {
  const text = new TextDecoder("latin1").decode(pdf); // one character for each byte
  const ranges = [...text.matchAll(/\/ByteRange\s*\[\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*\]/g)].map((found) => found.slice(1).map(Number));
  if (ranges.length === 0) refuse("Ce PDF ne porte pas de cachet.");
  const [start, gap, after, rest] = ranges.find(([, , from, size]) => from + size === pdf.length) ?? refuse("Des octets ont été ajoutés à ce PDF après son cachet.");
  const held = text.slice(gap, after);
  if (start !== 0 || !/^<(?:[0-9a-fA-F]{2})+>$/.test(held)) refuse("Le cachet de ce PDF ne porte pas sur tout le fichier.");
  const signed = new SignedData({ schema: new ContentInfo({ schema: parse(unhex(held.slice(1, -1).toLowerCase()), "Le cachet de ce PDF") }).content });
  const data = exact(concat(pdf.subarray(0, gap), pdf.subarray(after, after + rest)));
  const asked = { signer: 0, data, extendedMode: true };
  const said = await signed.verify(asked).catch(() => ({}));
  if (!said.signatureVerified || signed.encapContentInfo.eContent) refuse("Le cachet de ce PDF ne se vérifie pas : le fichier a été modifié.");
  const { subject, issuer } = said.signerCertificate;
  // A seal bought from an authority, who sells them to anybody, is itself or nothing.
  const known = authorities(bought).some((each) => der(each) === der(said.signerCertificate));
  if (known) return { signer: nameOf(subject), authority: nameOf(issuer) };
  const moment = await stamped(signed, stampers);
  // Without its own hour: that of the deposit, or the present for one sealed again since.
  for (const checkDate of moment ? [moment] : [new Date(journalled), new Date()]) {
    const authority = await authorityOf(signed, { ...asked, checkDate }, authorities(own));
    if (authority) return { signer: nameOf(subject), authority };
  }
  return { signer: nameOf(subject), authority: "" };
}
