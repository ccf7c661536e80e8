// What is announced of the consultation, its keys first: the one request that the page makes before its worker begins.
const LONGEST = 15_000; // milliseconds between two tries
const ANSWER = 60_000; // milliseconds that an answer may take
const PATIENCE = 4; // tries before what was known beforehand will do: some fifteen seconds

// Asked again until it comes: null once `stop` is aborted. `waiting()` is told of each try that failed.
// `known` is what was announced before, where a backup channel can take the deposit: it does when nobody answers.
// Throws what the platform says when it refuses.
export async function announced(uuid, { stop, waiting, known = null }) {
  for (let tried = 0; !stop.aborted; tried += 1) {
    const late = AbortSignal.timeout(ANSWER);
    const signal = AbortSignal.any ? AbortSignal.any([late, stop]) : stop;
    const answer = await fetch(`/api/v1/consultations/${uuid}`, { credentials: "same-origin", signal }).catch(() => null);
    const said = await answer?.json().catch(() => null); // a page of HTML is nobody's answer
    if (stop.aborted) return null;
    if (answer?.ok && said) return said;
    if (said?.code && answer.status < 500 && answer.status !== 429) throw said;
    if (known && tried >= PATIENCE) return known;
    waiting();
    await pause(Math.min(LONGEST, 1000 * 2 ** tried) * (0.5 + Math.random()), stop);
  }
  return null;
}

// Ends at once when it is stopped.
function pause(milliseconds, stop) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
