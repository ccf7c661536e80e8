// What a deposit needs of the platform, asked while it answers: what is announced of the consultation, and the pass of
// the backup channel. Should the platform stop answering while files are being chosen, the offer is sealed and sent all
// the same.
const ANSWER = 60_000; // milliseconds that an answer may take

export class Beforehand {
  constructor(uuid) {
    Object.assign(this, { uuid, consultation: null, passes: new Map() });
  }

  // One try of each: the deposit itself asks again, and waits.
  async ask({ organisation, csrf }) {
    const options = { credentials: "same-origin", signal: AbortSignal.timeout(ANSWER) };
    const headers = { "X-Organisation": organisation, "X-CSRFToken": csrf, "Content-Type": "application/json" };
    const [announced, pass] = await Promise.all([
      read(`/api/v1/consultations/${this.uuid}`, options),
      read("/api/v1/channel/pass", { ...options, method: "POST", headers, body: "{}" }),
    ]);
    this.consultation = announced ?? this.consultation;
    if (pass) this.passes.set(organisation, { url: pass.url, pass: pass.pass });
  }

  // The channel of this company, or null.
  backup(organisation) {
    return this.passes.get(organisation) ?? null;
  }
}

async function read(url, options) {
  const answer = await fetch(url, options).catch(() => null);
  return answer?.ok ? answer.json().catch(() => null) : null;
}
