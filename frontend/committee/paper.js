// A recovery sheet: the seed in 33 words (SLIP-39, one share of one), to be printed and typed again.
import Slip39 from "slip39";
import { WORD_LIST } from "slip39/src/slip39_helper.js";
import { Refused } from "../sealing/cobblestone.js";
import { newSeed, publicKey } from "../sealing/keys.js";

export const PAPER_WORDS = 33;
const PREFIX_CHARS = 4; // no two words share their first four letters
const KNOWN = new Map(WORD_LIST.map((word) => [word.slice(0, PREFIX_CHARS), word]));

const refuse = (text) => new Refused("protector.refused", text);

export function createPaper() {
  const seed = newSeed();
  const key = publicKey(seed);
  const words = Slip39.fromArray([...seed]).fromPath("r/0").mnemonics[0].split(" ");
  seed.fill(0);
  return { words, public: key };
}

// Each typed word as it is in the list, or null: any case, any spacing, numbered or not, four letters suffice.
export function readWords(typed) {
  return (typed.toLowerCase().match(/\p{L}+/gu) ?? []).map((each) => {
    const word = KNOWN.get(each.slice(0, PREFIX_CHARS));
    return { typed: each, word: word?.startsWith(each) ? word : null };
  });
}

export function unlockPaper(typed) {
  const read = readWords(typed);
  const at = read.findIndex(({ word }) => word === null);
  if (at >= 0) throw refuse(`Le mot n° ${at + 1} (« ${read[at].typed.slice(0, 20)} ») n'est pas dans la liste.`);
  if (read.length !== PAPER_WORDS) throw refuse(`Une feuille porte ${PAPER_WORDS} mots ; ${read.length} ont été lus.`);
  let seed;
  try {
    seed = Uint8Array.from(Slip39.recoverSecret([read.map(({ word }) => word).join(" ")], ""));
  } catch {
    throw refuse("Ces mots existent, mais l'un d'eux n'est pas celui de la feuille : relisez-les.");
  }
  if (seed.length !== 32) throw refuse("Ces mots ne sont pas ceux d'une feuille de secours.");
  return seed;
}
