// The JSON API from the worker: every call may be repeated, and is, until the network comes back.
import { Refused } from "../sealing/cobblestone.js";

const LONGEST = 15_000; // milliseconds between two tries
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Api {
  // `tell(state)` is told "waiting" and "going"; `signedIn()` resolves with a fresh CSRF token.
  constructor({ organisation, csrf, tell, signedIn }) {
    Object.assign(this, { organisation, csrf, tell, signedIn, cancelled: false });
  }

  async call(method, path, { json, body, headers = {} } = {}) {
    for (let tried = 0; ; tried += 1) {
      if (this.cancelled) throw new Refused("deposit.cancelled", "Envoi annulé.");
      let answer;
      try {
        answer = await fetch(`/api/v1${path}`, {
          method,
          headers: {
            "X-Organisation": this.organisation,
            "X-CSRFToken": this.csrf,
            ...(json === undefined ? {} : { "Content-Type": "application/json" }),
            ...headers,
          },
          body: json === undefined ? body : JSON.stringify(json),
          credentials: "same-origin",
          redirect: "error",
        });
      } catch {
        await this.wait(tried, "La connexion est coupée : l'envoi reprendra de lui-même.");
        continue;
      }
      if (answer.ok) {
        if (tried > 0) this.tell("going", "");
        return answer.json();
      }
      if (answer.status >= 500 || answer.status === 429) {
        await this.wait(tried, "Le serveur est momentanément indisponible : l'envoi reprendra de lui-même.");
        continue;
      }
      const said = await answer.json().catch(() => ({}));
      if (answer.status === 401 || said.code === "access.page-expired") {
        this.csrf = await this.signedIn();
        continue;
      }
      const refused = new Refused(said.code ?? `http.${answer.status}`, said.message ?? `Réponse ${answer.status}.`);
      refused.next = said.next ?? "";
      throw refused;
    }
  }

  async wait(tried, text) {
    this.tell("waiting", text);
    await pause(Math.min(LONGEST, 500 * 2 ** tried) * (0.5 + Math.random()));
  }
}
