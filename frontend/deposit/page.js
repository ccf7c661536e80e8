// The deposit page: choose, check, seal and send, resume. The work itself is in two workers: one that checks the files
// (preflight.js), one that seals and sends.
import { cleanNames } from "../sealing/names.js";
import { announced } from "./announced.js";
import { Beforehand } from "./beforehand.js";
import { doubtOf } from "./doubt.js";
import { forget, pending } from "./drafts.js";
import { dropped, measured } from "./gather.js";
import { FileList } from "./list.js";
import { summary } from "./notes.js";
import { showPieces } from "./pieces.js";
import { Preflight } from "./preflight.js";
import { bytesText, durationText, element } from "./words.js";

const root = document.querySelector("[data-deposit]");
const { consultation: uuid, worker: workerUrl, csrfCookie, limitFile, limitEnvelope, limitFiles } = root.dataset;
const worker = new Worker(workerUrl);
const state = { zones: [], next: 1, running: false, starting: null, deposit: null, left: false, spoken: 0, drawing: 0 };
const beforehand = new Beforehand(uuid);
const preflight = new Preflight({ url: root.dataset.preflight, pdf: root.dataset.preflightPdf, tell: checked });

const find = (selector, within = root) => within.querySelector(selector);
const all = (selector, within = root) => [...within.querySelectorAll(selector)];
const cookie = () => document.cookie.split("; ").find((each) => each.startsWith(`${csrfCookie}=`))?.split("=")[1] ?? "";
const organisation = () => find("[name=organisation]").value;

// Zones: one for each lot that is ticked and each envelope that is asked for.
class Zone {
  constructor(section) {
    Object.assign(this, { section, lot: section.dataset.lot, kind: section.dataset.kind, files: [], byId: new Map() });
    this.list = new FileList({
      list: find("[data-files]", section),
      more: find("[data-more]", section),
      remove: (id) => this.remove(id),
    });
    for (const input of all("input[type=file]", section)) {
      input.addEventListener("change", () => {
        this.add([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
        input.value = "";
      });
    }
    section.addEventListener("dragover", (event) => event.preventDefault());
    section.addEventListener("drop", async (event) => {
      event.preventDefault();
      this.add(await dropped(event.dataTransfer));
    });
  }

  get used() {
    return !this.section.closest("[data-lot-zone]").hidden;
  }

  async add(found) {
    for (const { file, path, size } of await measured(found)) {
      const each = { id: (state.next += 1), file, path, size, notes: null, asked: false };
      this.files.push(each);
      this.byId.set(each.id, each);
    }
    this.check();
  }

  remove(id) {
    this.files = this.files.filter((each) => each.id !== id);
    this.byId.delete(id);
    preflight.drop(id);
    this.check();
    find("input[type=file]", this.section).focus();
  }

  // A file whose name changes is checked again under its new name.
  check() {
    const names = cleanNames(this.files.map(({ path }) => path));
    this.files.forEach((each, at) => {
      if (each.name !== names[at]) Object.assign(each, { name: names[at], notes: null, asked: false });
    });
    const fresh = this.files.filter(({ notes, asked }) => notes === null && !asked);
    for (const each of fresh) each.asked = true;
    preflight.add(
      fresh.map(({ id, file, name, path }) => ({
        id,
        file,
        name,
        original: path,
        kind: this.kind,
        limit: Number(limitFile),
      })),
    );
    draw();
  }
}

function checked(id, notes) {
  for (const zone of state.zones) {
    const found = zone.byId.get(id);
    if (found) found.notes = notes;
  }
  draw();
}

// Once a frame, whatever the number of answers.
function draw() {
  if (state.drawing) return;
  state.drawing = requestAnimationFrame(() => {
    state.drawing = 0;
    for (const zone of state.zones) {
      zone.list.show(zone.files);
      showPieces(find("[data-pieces]", zone.section), zone.files.map(({ name }) => name));
    }
    showSummary();
  });
}

function problems() {
  const found = [];
  const used = state.zones.filter((zone) => zone.used);
  if (!used.some((zone) => zone.files.length)) found.push("Choisissez au moins un fichier.");
  for (const zone of used) {
    const total = zone.files.reduce((sum, { size }) => sum + size, 0);
    const where = zone.section.dataset.title;
    if (zone.files.length > Number(limitFiles)) found.push(`${where} : ${limitFiles} fichiers au plus.`);
    if (total > Number(limitEnvelope)) found.push(`${where} : ${bytesText(Number(limitEnvelope))} au plus.`);
    if (zone.files.some(({ size }) => size > Number(limitFile))) {
      found.push(`${where} : un fichier dépasse ${bytesText(Number(limitFile))}.`);
    }
    const empty = zone.files.find(({ size }) => size === 0);
    if (empty) found.push(`${where} : « ${empty.name} » est vide (0 octet). Retirez-le, puis choisissez le bon fichier.`);
  }
  return found;
}

function showSummary() {
  const used = state.zones.filter((zone) => zone.used);
  const files = used.flatMap((zone) => zone.files);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const empty = used.filter((zone) => !zone.files.length).map((zone) => zone.section.dataset.title);
  const lines = [`${files.length} fichier${files.length > 1 ? "s" : ""}, ${bytesText(total)}.`];
  if (files.length && empty.length) lines.push(`Rien n'est choisi pour : ${empty.join(" ; ")}.`);
  const wrong = problems();
  if (files.length) lines.push(checksText(files, wrong.length > 0));
  const said = find("[data-summary]");
  if (said.textContent !== lines.join(" ")) said.textContent = lines.join(" "); // it is read aloud at each change
  if (find("[data-doubt-text]").textContent !== doubtOf(used)) find("[data-doubt]").hidden = true;
  find("[data-problems]").replaceChildren(...(files.length ? wrong : []).map((text) => element("p", { className: "mb-0" }, text)));
  find("[data-send]").disabled = wrong.length > 0 || state.running;
}

function checksText(files, blocked) {
  if (files.some(({ notes }) => notes === null)) return blocked ? "Vérification en cours." : "Vérification en cours : vous pouvez déposer sans l'attendre.";
  const odd = files.filter(({ notes }) => notes.some(({ level }) => level === "warn")).length;
  if (!odd) return "Vérification faite : aucune remarque.";
  return `Vérification faite : ${odd} fichier${odd > 1 ? "s" : ""} à regarder.${blocked ? "" : " Rien ne vous empêche de déposer."}`;
}

// Progress, spoken at each tenth only.
function showProgress({ done, total, speed, file }) {
  const bar = find("[data-progress] progress");
  bar.max = total;
  bar.value = done;
  const left = speed > 0 ? (total - done) / speed : Number.POSITIVE_INFINITY;
  const percent = Math.floor((100 * done) / total);
  find("[data-percent]").textContent =
    `${percent} % : ${bytesText(done)} sur ${bytesText(total)}` +
    (speed > 0 ? `, ${bytesText(speed)}/s, encore ${durationText(left)}` : "");
  find("[data-current]").textContent = state.stage ? `${state.stage} ${file}` : file;
  const tenth = Math.floor(percent / 10);
  if (tenth > state.spoken) {
    state.spoken = tenth;
    say(state.stage ? `${state.stage} ${tenth * 10} %.` : `${tenth * 10} % envoyés.`);
  }
}

const say = (text) => (find("[data-spoken]").textContent = text);

function running(now) {
  state.running = now;
  find("[data-choose]").hidden = now;
  find("[data-progress]").hidden = !now;
  if (now) find("[data-progress] h2").focus();
  else checkAgain();
}

// What was not checked yet when the sending began.
function checkAgain() {
  for (const zone of state.zones) {
    for (const each of zone.files) each.asked = each.notes !== null;
    zone.check();
  }
}

function showNotice(kind, title, text) {
  const box = find("[data-notice]");
  box.className = `notice notice-${kind}`;
  box.hidden = false;
  box.replaceChildren(element("p", {}, element("strong", {}, title)), ...(text ? [element("p", {}, text)] : []));
}

const session = () => ({ organisation: organisation(), csrf: cookie() });

function network(text) {
  const box = find("[data-network]");
  box.hidden = !text;
  if (box.textContent !== text) box.textContent = text;
}

// A ticked lot without its files is asked about once; then it is what the company wants.
function sendUnlessInDoubt() {
  const doubt = find("[data-doubt]");
  const text = doubtOf(state.zones.filter((zone) => zone.used));
  if (!text || !doubt.hidden) return send();
  find("[data-doubt-text]").textContent = text;
  doubt.hidden = false;
  doubt.focus();
}

async function send() {
  find("[data-doubt]").hidden = true;
  running(true);
  preflight.stop();
  const { signal } = (state.starting = new AbortController());
  const backup = beforehand.backup(organisation());
  let consultation;
  try {
    consultation = await announced(uuid, {
      stop: signal,
      known: backup && beforehand.consultation,
      waiting: () => network("La plateforme ne répond pas pour l'instant : nouvel essai dans quelques secondes. Rien n'est encore déposé."),
    });
  } catch (refused) {
    return showRefused(refused);
  } finally {
    state.starting = null;
    network("");
  }
  if (!consultation) return showCancelled();
  worker.postMessage({
    type: "deposit",
    ...session(),
    backup,
    consultation,
    envelopes: state.zones
      .filter((zone) => zone.used && zone.files.length)
      .map(({ lot, kind, files }) => ({
        lot,
        kind,
        files: files.map(({ file, name }) => ({ file, name })),
        preflight: summary(files),
      })),
  });
}

// A deposit that a crash or a reload cut: the same files are asked for again, and compared byte for byte.
async function offerResume() {
  const [draft] = await pending(uuid, organisation());
  const box = find("[data-resume]");
  box.hidden = !draft;
  if (!draft) return;
  state.deposit = draft.deposit;
  const wanted = draft.envelopes.flatMap(({ envelope, entries, digests }) =>
    entries.map((entry, at) => ({ key: `${envelope}/${at + 1}`, ...entry, done: Boolean(digests[at + 1]) })),
  );
  const chosen = new Map();
  const missing = () => wanted.filter(({ key }) => !chosen.has(key));
  const show = () => {
    const left = missing();
    find("[data-resume-list]", box).replaceChildren(
      ...left.slice(0, 20).map(({ name, size }) => element("li", {}, `${name} (${bytesText(size)})`)),
      ...(left.length > 20 ? [element("li", {}, `et ${left.length - 20} autres`)] : []),
    );
    find("[data-resume-go]", box).disabled = left.some(({ done }) => !done);
    find("[data-resume-count]", box).textContent = left.length
      ? `Choisissez de nouveau ces fichiers (${left.length}) :`
      : "Tous les fichiers sont retrouvés.";
  };
  const alike = new Map(); // files that were chosen then, by what can be compared at once
  for (const each of wanted) {
    const like = `${each.size} ${each.modified}`;
    if (!alike.has(like)) alike.set(like, []);
    alike.get(like).push(each);
  }
  for (const input of all("input[type=file]", box)) {
    input.addEventListener("change", async () => {
      for (const { file, size } of await measured([...input.files].map((file) => ({ file })))) {
        const left = (alike.get(`${size} ${file.lastModified}`) ?? []).filter(({ key }) => !chosen.has(key));
        const same = ({ name }) =>
          name === file.name || name.endsWith(`/${file.name}`) || name === file.webkitRelativePath;
        const match = left.find(same) ?? left[0];
        if (match) chosen.set(match.key, file);
      }
      show();
    });
  }
  find("[data-resume-go]", box).addEventListener("click", () => {
    box.hidden = true;
    running(true);
    worker.postMessage({ type: "resume", ...session(), deposit: draft.deposit, files: [...chosen] });
  });
  find("[data-resume-forget]", box).addEventListener("click", async () => {
    await forget(draft.deposit);
    box.hidden = true;
    showNotice("warn", "Envoi abandonné.", "Rien n'est déposé.");
    find("[data-notice]").focus();
  });
  show();
}

// An expired session: wait for the person to sign in again, in another tab, then go on.
async function waitForSession() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const answer = await fetch("/api/v1/me", {
      headers: { "X-Organisation": organisation() },
      credentials: "same-origin",
    }).catch(() => null);
    if (answer?.ok) {
      worker.postMessage({ type: "csrf", token: cookie() });
      return;
    }
  }
}

// The platform cannot show it yet: the receipt is given here, to be kept.
function receivedByBackup({ number, received, state: lateness, receipt }) {
  running(false);
  find("[data-choose]").hidden = true;
  const late = lateness === "late" ? " Il est marqué hors délai ; la plateforme le dira d'après la date limite en vigueur." : "";
  const when = new Date(received).toLocaleString("fr-FR", { timeZone: document.documentElement.dataset.zone });
  showNotice("good", `Dépôt reçu par le canal de secours : accusé ${number}.`, `Reçu le ${when} (heure du canal).${late} La plateforme l'ajoutera aux autres dès son retour ; vous le verrez alors dans « Mes dépôts ».`);
  const blob = new Blob([JSON.stringify(receipt, null, 1)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(blob), download: `${number}.json`, className: "btn btn-primary" }, "Télécharger l'accusé (JSON)");
  find("[data-notice]").append(element("p", { className: "actions" }, link));
  find("[data-notice]").focus();
}

worker.addEventListener("message", ({ data }) => {
  switch (data.type) {
    case "draft":
      state.deposit = data.deposit;
      return;
    case "progress":
      return showProgress(data);
    case "fingerprinting":
      [state.stage, state.spoken] = ["Calcul de l'empreinte, avant l'envoi :", 0];
      return;
    case "sending":
      [state.stage, state.spoken] = ["", 0];
      say("Empreinte reçue par la plateforme. L'envoi commence.");
      return;
    case "finalising":
      find("[data-current]").textContent = "Finalisation : rien n'est déposé avant l'accusé de réception.";
      return;
    case "network":
      network(data.state === "going" ? "" : data.text);
      if (data.state === "session") waitForSession();
      return;
    case "channel":
      showNotice("warn", "La plateforme ne répond pas.", "L'envoi continue par son canal de secours ; rien n'est à refaire.");
      return;
    case "done":
      Object.assign(state, { running: false, left: true });
      if (data.receipt) return receivedByBackup(data);
      try {
        sessionStorage.setItem("result", "etat"); // where the next page begins to be read (site.js)
      } catch {}
      location.assign(root.dataset.done.replace("00000000-0000-0000-0000-000000000000", data.deposit));
      return;
    case "cancelled":
      return showCancelled();
    case "refused":
      return showRefused(data);
    default:
  }
});

function showCancelled() {
  running(false);
  showNotice("warn", "Envoi annulé.", "Rien n'est déposé.");
  find("[data-notice]").focus();
}

function showRefused({ code, message, next }) {
  running(false);
  if (code === "deposit.cancelled") return;
  showNotice("bad", "Rien n'est déposé.", `${message} ${next ?? ""} (code : ${code})`);
  find("[data-notice]").focus();
  offerResume();
}

// What the countdown (site.js) learns: the deadline passed under the eyes of who prepares a deposit, or moved.
document.addEventListener("deadline", ({ detail: { moved } }) => {
  const late = find("[data-late]");
  if (moved) {
    late.hidden = true;
    return showNotice("good", `La date limite est reportée au ${moved}.`, "");
  }
  if (late.hidden) showNotice("bad", ...["strong", "span"].map((each) => find(each, late).textContent));
});

addEventListener("beforeunload", (event) => {
  if (state.running) event.preventDefault();
});

state.zones = all("[data-zone]").map((section) => new Zone(section));
function showLots() {
  for (const box of all("[name=lot]")) find(`[data-lot-zone="${CSS.escape(box.value)}"]`).hidden = !box.checked;
  showSummary();
}
for (const box of all("[name=lot]")) box.addEventListener("change", showLots);
// Back: the browser ticks the lots again after this program ran; a page it had frozen is that of a deposit already made.
addEventListener("pageshow", ({ persisted }) => (persisted && state.left ? location.reload() : showLots()));
find("[data-send]").addEventListener("click", sendUnlessInDoubt);
find("[data-anyway]").addEventListener("click", send);
find("[data-cancel]").addEventListener("click", () => {
  if (state.starting) state.starting.abort();
  else worker.postMessage({ type: "cancel", deposit: state.deposit });
});
const askBeforehand = () => "backup" in root.dataset && beforehand.ask(session());
for (const act of [offerResume, askBeforehand]) find("[name=organisation]").addEventListener("change", act);
find("[data-noscript]").remove();
find("[data-choose]").hidden = false;
showLots();
offerResume();
askBeforehand();
