// The browser's implementation against the committed vectors and Wycheproof:
// node frontend/vectors.mjs tests/vectors [wycheproof.json] ; prints one line and exits 1 on the first difference.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { combine, split } from "shamir-secret-sharing";
import { ascii, concat, hex, u32be, unhex } from "./sealing/bytes.js";
import { Cobblestone, openWhole, sealedSize } from "./sealing/cobblestone.js";
import { fileKey, headerHash, joinHalves } from "./sealing/envelope.js";
import { openWith, publicKey, sealTo } from "./sealing/keys.js";

const [folder, wycheproof] = process.argv.slice(2);
const load = (name) => JSON.parse(readFileSync(`${folder}/${name}.json`, "utf8"));
let checks = 0;
function same(got, wanted, what) {
  checks += 1;
  if (got !== wanted) throw new Error(`${what}: ${String(got).slice(0, 80)} != ${String(wanted).slice(0, 80)}`);
}
async function refused(work, what) {
  checks += 1;
  try {
    await work();
  } catch {
    return;
  }
  throw new Error(`${what}: accepted`);
}

const keys = load("keys");
for (const pair of keys.pairs) same(hex(publicKey(unhex(pair.seed))), pair.public, "public key");
const { sealed } = keys;
same(hex(await openWith(unhex(sealed.seed), unhex(sealed.sealed), unhex(sealed.info))), sealed.plaintext, "stanza");
await refused(() => openWith(unhex(sealed.seed), unhex(sealed.sealed), ascii("autre")), "info");
const mine = publicKey(unhex(sealed.seed));
const again = await sealTo(mine, unhex(sealed.plaintext), unhex(sealed.info));
same(hex(await openWith(unhex(sealed.seed), again, unhex(sealed.info))), sealed.plaintext, "round trip");

const envelope = load("envelope");
const header = new TextEncoder().encode(envelope.header_text);
const hh = await headerHash(header);
same(hex(hh), envelope.header_hash, "header hash");
const ek = await joinHalves(hh, unhex(envelope.halves.committee), unhex(envelope.halves.platform));
const names = Object.keys(envelope.objects);
for (const [at, name] of names.entries()) {
  const index = name === "t.cob" ? names.length - 1 : Number.parseInt(name, 10);
  const key = await fileKey(ek, index);
  same(hex(key), envelope.file_keys[index], `file key ${index}`);
  const context = concat(ascii("pli/1 file"), Uint8Array.of(0), hh, u32be(index));
  const whole = unhex(envelope.objects[name]);
  const plain = await openWhole(key, context, whole);
  same(sealedSize(plain.length), whole.length, `size of ${name}`);
  // The same salt gives the same bytes, in one range or in many.
  const made = await Cobblestone.with(key, context, whole.slice(0, 24));
  const read = async (from, to) => plain.subarray(from, to);
  same(hex(await made.sealRange(0, whole.length, plain.length, read)), envelope.objects[name], `seal ${name}`);
  for (const step of [1, 55, 57, 16399, 16400, 16401, 20000]) {
    if (whole.length / step > 2000) continue;
    const parts = [];
    for (let start = 0; start < whole.length; start += step) {
      parts.push(await made.sealRange(start, Math.min(whole.length, start + step), plain.length, read));
    }
    same(hex(concat(...parts)), envelope.objects[name], `seal ${name} by ${step}`);
  }
  const flipped = whole.slice();
  flipped[(whole.length * (at + 1)) % whole.length] ^= 1;
  await refused(() => openWhole(key, context, flipped), `flipped ${name}`);
  await refused(() => openWhole(key, context, whole.subarray(0, -1)), `truncated ${name}`);
}

const shares = load("shares");
const given = shares.shares.map((each) => unhex(each.share));
same(hex(await combine(given.slice(0, shares.threshold))), shares.seed, "combine");
const dealt = await split(unhex(shares.seed), 5, 3);
same(hex(await combine([dealt[4], dealt[0], dealt[2]])), shares.seed, "split");
process.stdout.write(`${JSON.stringify({ dealt: dealt.map(hex), sealed: hex(again) })}\n`);

if (wycheproof) {
  const data = JSON.parse(readFileSync(wycheproof, "utf8"));
  for (const group of data.testGroups) {
    for (const test of group.tests) {
      const what = `wycheproof ${test.tcId} ${test.comment}`;
      const sealed = new Uint8Array(inflateSync(Buffer.from(test.ct, "hex")));
      const open = () => openWhole(unhex(test.key), unhex(test.ctx), sealed);
      if (test.result === "valid") {
        same(createHash("sha512").update(await open()).digest("hex"), test.msgSha512, what);
      } else await refused(open, what);
    }
  }
}
process.stdout.write(`${checks} checks\n`);
