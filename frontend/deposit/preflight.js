// The page's side of preflight: a queue of files, and a worker that is killed when a file holds it for too long.
import { warn } from "./notes.js";

const SECONDS = 10; // for one file
const LOADING_SECONDS = 120; // for the program that opens PDFs, on a slow line
const BATCH = 32; // files in the worker's hands
const CRASHES = 3; // in a row, without one answer
const SLOW = warn("file.timeout", "Ce fichier n'a pas pu être vérifié dans le temps prévu.");
const UNAVAILABLE = warn("check.unavailable", "Ce fichier n'a pas pu être vérifié par cette page.");

export class Preflight {
  // `tell(id, notes)` is called once for each file that was added.
  constructor({ url, pdf, tell }) {
    Object.assign(this, { url, pdf, tell, waiting: new Map(), sent: new Map(), worker: null, timer: 0, crashes: 0 });
  }

  add(files) {
    for (const each of files) this.waiting.set(each.id, each);
    this.next();
  }

  // What is no longer of interest; what the worker already has is checked for nothing.
  drop(id) {
    this.waiting.delete(id);
  }

  stop() {
    this.waiting.clear();
    this.kill();
  }

  next() {
    if (this.sent.size || !this.waiting.size) return;
    this.worker ??= this.start();
    for (const [id, each] of this.waiting) {
      if (this.sent.size >= BATCH) break;
      this.sent.set(id, each);
      this.waiting.delete(id);
    }
    this.worker.postMessage({ type: "inspect", pdf: this.pdf, files: [...this.sent.values()] });
    this.watch(SECONDS);
  }

  start() {
    const worker = new Worker(this.url);
    worker.addEventListener("message", ({ data }) => this.heard(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.crashes += 1;
      this.giveUp(UNAVAILABLE);
    });
    return worker;
  }

  heard({ type, id, notes }) {
    if (type === "loading") this.watch(LOADING_SECONDS);
    else if (type === "loaded") this.watch(SECONDS);
    else if (type === "inspected" && this.sent.delete(id)) {
      this.crashes = 0;
      this.watch(SECONDS);
      this.tell(id, notes);
      this.next();
    }
  }

  watch(seconds) {
    clearTimeout(this.timer);
    if (this.sent.size) this.timer = setTimeout(() => this.giveUp(SLOW), seconds * 1000);
  }

  kill() {
    clearTimeout(this.timer);
    this.worker?.terminate();
    this.worker = null;
    this.sent.clear();
  }

  // Files are checked in order: the oldest one is at fault, the others start again without it.
  giveUp(note) {
    const [fault, ...others] = this.sent.values();
    this.kill();
    if (fault) this.tell(fault.id, [note]);
    this.waiting = new Map([...others, ...this.waiting.values()].map((each) => [each.id, each]));
    if (this.crashes >= CRASHES) {
      for (const id of this.waiting.keys()) this.tell(id, [UNAVAILABLE]);
      this.waiting.clear();
    }
    this.next();
  }
}
