// A passphrase easier to keep than to guess: five words of two syllables, 6 350 words or so, 63 bits.
const CONSONANTS = "bcdfgjklmnprstvz";
const VOWELS = "aeiou";
// Words that nobody wants to dictate; dematmp/demo/cast.py has the same. All together they cost a twentieth of a bit.
const RUDE = new Set(
  (
    "bico biko bite caca caka cona cone coni cucu cuku cula cule culi culo gode kaca kaka kike kiki kucu kuku lolo lope nazi naze nene " +
    "nika nike niko pede pete pine pipi pisa popo pube puta pute puto rote sida suca suce tare tepu vomi zebi zizi zobi"
  ).split(" "),
);

function word() {
  for (;;) {
    const syllables = [...crypto.getRandomValues(new Uint32Array(2))].map((draw) => CONSONANTS[draw % 16] + VOWELS[Math.floor(draw / 16) % 5]);
    const made = syllables.join("");
    if (!RUDE.has(made)) return made;
  }
}

export const suggestion = () => Array.from({ length: 5 }, word).join("-");
