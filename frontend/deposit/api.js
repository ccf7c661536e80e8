// The JSON API from the worker: every call may be repeated, and is, until the network comes back.
import { Refused } from "../sealing/cobblestone.js";

const LONGEST = 15_000; // milliseconds between two tries
const PATIENCE = 4; // tries before the backup channel is looked at: some ten seconds
const ANSWER = 60_000; // milliseconds that an answer may take, but for the bytes that are sent
const SLOWEST = 32; // bytes a millisecond: a line so slow is still waited for
const LOOKED_AT = 20_000; // milliseconds of silence after which the backup channel is looked at
const STORE_AWAY = "deposit.store-away"; // the finalisation is received: what waits is its receipt
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The platform does not answer, and its backup channel does.
export class Away extends Error {}

export class Api {
  // `tell(state)` is told "waiting" and "going"; `signedIn()` resolves with a fresh CSRF token. `backup` is the
  // channel to turn to, { url, pass }; `channel` says that this is it.
  constructor({ organisation, csrf, tell, signedIn, backup = null, channel = null }) {
    Object.assign(this, { organisation, csrf, tell, signedIn, backup, channel, cancelled: false, stop: new AbortController() });
    this.base = `${channel?.url ?? ""}/api/v1`;
  }

  // The session of the page, or the pass that the platform signed beforehand.
  identity() {
    if (this.channel) return { Authorization: `Bearer ${this.channel.pass}` };
    return { "X-Organisation": this.organisation, "X-CSRFToken": this.csrf };
  }

  cancel() {
    this.cancelled = true;
    this.stop.abort();
  }

  // No call waits for ever: a server that hangs is one that does not answer.
  limit(body) {
    const late = AbortSignal.timeout(ANSWER + (body?.size ?? 0) / SLOWEST);
    return AbortSignal.any ? AbortSignal.any([late, this.stop.signal]) : late;
  }

  async call(method, path, { json, body, headers = {} } = {}) {
    const since = Date.now();
    for (let tried = 0; ; tried += 1) {
      if (this.cancelled) throw new Refused("deposit.cancelled", "Envoi annulé.");
      let answer;
      try {
        answer = await fetch(`${this.base}${path}`, {
          method,
          headers: { ...this.identity(), ...(json === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
          body: json === undefined ? body : JSON.stringify(json),
          credentials: this.channel ? "omit" : "same-origin",
          redirect: "error",
          signal: this.limit(body),
        });
      } catch {
        await this.failed(tried, since, "La connexion est coupée : l'envoi reprendra de lui-même.");
        continue;
      }
      if (answer.ok) {
        if (tried > 0) this.tell("going", "");
        return answer.json();
      }
      if (answer.status >= 500 || answer.status === 429) {
        const fault = await answer.json().catch(() => ({}));
        const received = fault.code === STORE_AWAY ? fault.message : "";
        await this.failed(tried, since, received || "Le serveur est momentanément indisponible : l'envoi reprendra de lui-même.");
        continue;
      }
      const said = await answer.json().catch(() => ({}));
      if (!this.channel && (answer.status === 401 || said.code === "access.page-expired")) {
        this.csrf = await this.signedIn();
        continue;
      }
      const refused = new Refused(said.code ?? `http.${answer.status}`, said.message ?? `Réponse ${answer.status}.`);
      refused.next = said.next ?? "";
      throw refused;
    }
  }

  async failed(tried, since, text) {
    if (this.cancelled) return;
    if (this.backup && (tried >= PATIENCE || Date.now() - since > LOOKED_AT) && (await this.backupAnswers())) throw new Away();
    await this.wait(tried, text);
  }

  // When it does not answer either, it is this machine's network: everything waits.
  async backupAnswers() {
    const answer = await fetch(`${this.backup.url}/api/v1/time`, { credentials: "omit", signal: AbortSignal.timeout(ANSWER) }).catch(() => null);
    return answer?.ok ?? false;
  }

  async wait(tried, text) {
    this.tell("waiting", text);
    await pause(Math.min(LONGEST, 500 * 2 ** tried) * (0.5 + Math.random()));
  }
}
