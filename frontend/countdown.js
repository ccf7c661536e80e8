// What is left until the deadline, on the server's clock. The deadline is read again now and then: it may move.
const AGAIN = 60_000; // milliseconds between two readings
const counted = new WeakSet();

export function countdown() {
  for (const element of document.querySelectorAll("[data-deadline]")) {
    if (!counted.has(element)) new Countdown(element).begin();
    counted.add(element);
  }
}

class Countdown {
  constructor(element) {
    const { deadline, serverNow, deadlineUrl } = element.dataset;
    Object.assign(this, { element, url: deadlineUrl, at: Date.parse(deadline) });
    this.setClock(serverNow);
    this.passed = this.left() < 0;
  }

  setClock(now) {
    Object.assign(this, { now: Date.parse(now), since: performance.now() });
  }

  // Seconds.
  left() {
    return Math.floor((this.at - this.now - (performance.now() - this.since)) / 1000);
  }

  begin() {
    this.read = performance.now();
    this.tick();
  }

  async tick() {
    if (!this.element.isConnected) return;
    const due = performance.now() - this.read >= AGAIN && !document.hidden;
    if (this.url && (due || (this.left() < 0 && !this.passed))) await this.readAgain();
    this.show();
    setTimeout(() => this.tick(), 1000);
  }

  async readAgain() {
    this.read = performance.now();
    const signal = AbortSignal.timeout(10_000);
    const said = await fetch(this.url, { credentials: "omit", signal }).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
    if (!said?.deadline) return; // no network: the last known deadline and clock stand
    this.setClock(said.now);
    if (Date.parse(said.deadline) !== this.at) this.move(said);
  }

  move({ deadline, text }) {
    Object.assign(this, { at: Date.parse(deadline), passed: false });
    const time = this.element.parentElement.querySelector("time");
    time.dateTime = deadline;
    time.textContent = text;
    this.element.parentElement.querySelector("[data-moved]").textContent = `La date limite est reportée au ${text}.`;
    document.dispatchEvent(new CustomEvent("deadline", { detail: { moved: text } }));
  }

  show() {
    const seconds = this.left();
    if (seconds < 0) {
      this.element.textContent = "La date limite est passée.";
      if (!this.passed) document.dispatchEvent(new CustomEvent("deadline", { detail: {} }));
      this.passed = true;
      return;
    }
    const days = Math.floor(seconds / 86400);
    const clock = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
    const text = clock.map((part) => String(part).padStart(2, "0")).join(":");
    this.element.textContent = `Il reste ${days > 0 ? `${days} j ` : ""}${text}`;
  }
}
