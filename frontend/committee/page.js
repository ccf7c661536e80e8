// The forms of a member of the committee: each asks one thing, does it in the worker, says what happened.
import encodeQR from "qr";
import { createPasskey, usePasskey } from "./passkey.js";
import { suggestion } from "./phrase.js";

const WORDS_ASKED = 3;

const cookie = (name) => document.cookie.split("; ").find((each) => each.startsWith(`${name}=`))?.split("=")[1] ?? "";

function say(form, kind, title, text) {
  const box = form.querySelector("[data-answer]");
  box.className = `notice notice-${kind}`;
  box.hidden = false;
  const strong = document.createElement("strong");
  strong.textContent = title;
  const first = document.createElement("p");
  first.append(strong);
  const second = document.createElement("p");
  second.textContent = text;
  box.replaceChildren(first, second);
  box.focus();
}

// One task of the worker; { done, result } or { done: false, code, message, next }.
function task(form, type, given = {}) {
  const { worker: url, organisation, consultation, renewal, closes, code, rehearsal, csrfCookie } = form.dataset;
  return new Promise((resolve) => {
    const worker = new Worker(url);
    const end = (said) => {
      worker.terminate();
      resolve(said);
    };
    worker.addEventListener("message", ({ data }) => end(data));
    worker.addEventListener("error", () =>
      end({
        done: false,
        code: "client.program",
        message: "Le programme de cette page n'a pas pu se lancer.",
        next: "Rechargez la page, puis recommencez.",
      }),
    );
    const session = { organisation, csrf: cookie(csrfCookie) };
    worker.postMessage({ type, session, consultation, renewal, deadline: closes, code, rehearsal, ...given });
  });
}

const chosen = (form) => form.querySelector("[name=protector]:checked, input[type=hidden][name=protector]");

// Only what the chosen protector asks for is shown, and required.
function follow(form) {
  const kind = chosen(form)?.dataset.kind;
  for (const part of form.querySelectorAll("[data-for]")) {
    part.hidden = part.dataset.for !== kind;
    for (const input of part.querySelectorAll("input, textarea")) input.required = !part.hidden;
  }
}

// The words of the sheet, looked up as they are typed: which one is not in the list.
function watchWords(form) {
  const area = form.querySelector("textarea[name=words]");
  const state = form.querySelector("[data-words]");
  let last = 0;
  area?.addEventListener("input", () => {
    const mine = (last += 1);
    setTimeout(async () => {
      if (mine !== last) return;
      const { done, result } = await task(form, "read", { words: area.value });
      if (!done || mine !== last) return;
      const wrong = result.read.flatMap(({ typed, word }, at) => (word ? [] : [`n° ${at + 1} (« ${typed.slice(0, 20)} »)`]));
      // The word being typed is not wrong yet.
      const finished = /\s$/.test(area.value) || result.read.length >= result.wanted ? wrong : wrong.filter((_, at) => at < wrong.length - 1 || result.read.at(-1)?.word);
      state.textContent = finished.length
        ? `À corriger : ${finished.join(", ")}.`
        : `${result.read.length} mot${result.read.length > 1 ? "s" : ""} sur ${result.wanted}.`;
    }, 300);
  });
}

function showSheet(form, { words, sha256 }) {
  form.querySelector("[data-print-of]").textContent = sha256.slice(0, 16).toUpperCase().match(/.{4}/g).join(" ");
  const sheet = form.querySelector("[data-sheet]");
  const list = sheet.querySelector("ol");
  list.replaceChildren(
    ...words.map((word) => {
      const item = document.createElement("li");
      item.textContent = word;
      return item;
    }),
  );
  const holder = sheet.querySelector("[data-qr]");
  const svg = new DOMParser().parseFromString(encodeQR(words.join(" "), "svg"), "image/svg+xml").documentElement;
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Les mêmes mots en code QR");
  holder.replaceChildren(document.importNode(svg, true));
  sheet.hidden = false;
  const places = new Set();
  while (places.size < WORDS_ASKED) places.add(crypto.getRandomValues(new Uint8Array(1))[0] % words.length);
  const asked = [...places].sort((left, right) => left - right);
  for (const [at, label] of [...sheet.querySelectorAll("[data-asked]")].entries()) {
    label.textContent = `Mot n° ${asked[at] + 1}`;
    label.parentElement.querySelector("input").required = true;
  }
  sheet.querySelector("h2").focus();
  return asked;
}

async function newSheet(form) {
  const made = await task(form, "sheet");
  if (!made.done) return made;
  const asked = showSheet(form, made.result);
  const button = form.querySelector("[type=submit]");
  button.textContent = "J'ai imprimé ma feuille";
  button.disabled = false;
  await new Promise((resolve) => {
    form.addEventListener("submit", function check() {
      const typed = [...form.querySelectorAll("[data-proof]")].map((input) => input.value.trim().toLowerCase());
      const wrong = asked.findIndex((at, place) => typed[place] !== made.result.words[at]);
      if (wrong >= 0) {
        say(form, "bad", `Le mot n° ${asked[wrong] + 1} n'est pas celui de la feuille.`, "Recopiez-le depuis la feuille imprimée.");
        return;
      }
      form.removeEventListener("submit", check);
      resolve();
    });
  });
  return task(form, "paper", { key: made.result.public, label: form.elements.label.value });
}

// Fingerprints of protectors made in this browser, or recognised by their owner: what the platform cannot make up.
const KNOWN = "dematmp.protectors";
const MAKES = new Set(["passphrase", "passkey", "paper"]);
const recognised = () => {
  try {
    return JSON.parse(localStorage.getItem(KNOWN) ?? "[]");
  } catch {
    return [];
  }
};
const recognise = (...hashes) => localStorage.setItem(KNOWN, JSON.stringify([...new Set([...recognised(), ...hashes])]));

// « Is this one yours? »: a box for each protector that this browser does not know.
function askOwn(form, unknown) {
  const box = form.querySelector("[data-own]");
  const list = unknown.map(({ sha256, fingerprint }, at) => {
    const input = Object.assign(document.createElement("input"), { type: "checkbox", id: `own-${form.dataset.member}-${at}` });
    input.dataset.sha256 = sha256;
    const label = Object.assign(document.createElement("label"), { htmlFor: input.id });
    const code = Object.assign(document.createElement("strong"), { className: "mono", textContent: fingerprint });
    label.append(input, "Empreinte ", code, " : c'est l'un de mes protecteurs");
    const line = document.createElement("div");
    line.append(label);
    return line;
  });
  box.querySelector("[data-list]").replaceChildren(...list);
  box.hidden = false;
}

// What only the page can ask for, then the worker's task.
async function act(form, values) {
  const { member } = form.dataset;
  if (member === "paper") return newSheet(form);
  if (member === "passkey") {
    const made = await createPasskey({ name: form.dataset.email, displayName: form.dataset.name });
    return task(form, member, { ...made, label: values.label });
  }
  const protector = chosen(form);
  const secret = protector?.dataset.kind === "passkey" ? await usePasskey(protector.dataset.wrapped) : undefined;
  recognise(...[...form.querySelectorAll("[data-own] input:checked")].map((input) => input.dataset.sha256));
  return task(form, member, { ...values, protector: protector?.value, secret, recognised: recognised() });
}

// The code that the dealer reads aloud, from the key of this machine.
for (const box of document.querySelectorAll("[data-dealer-code]")) {
  task(box.closest("[data-member]"), "renewCode").then(({ done, result, message }) => {
    box.textContent = done ? result.code : message;
  });
}

for (const form of document.querySelectorAll("[data-member]")) {
  const { busy, success, after } = form.dataset;
  const button = form.querySelector("[type=submit]");
  const idle = button.textContent;
  let running = false;
  form.hidden = false;
  follow(form);
  watchWords(form);
  for (const input of form.querySelectorAll("[name=protector]")) input.addEventListener("change", () => follow(form));
  form.querySelector("[data-print]")?.addEventListener("click", () => print());
  form.querySelector("[data-suggest]")?.addEventListener("click", () => {
    const text = suggestion();
    for (const input of form.querySelectorAll("input[name^=passphrase]")) {
      input.type = "text";
      input.value = text;
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    const values = Object.fromEntries(new FormData(form));
    if (values.passphrase_again !== undefined && values.passphrase !== values.passphrase_again) {
      say(form, "bad", "Les deux phrases diffèrent.", "Retapez-les.");
      return;
    }
    running = true;
    button.disabled = true;
    button.textContent = busy;
    const said = await act(form, values).catch((error) => ({
      done: false,
      code: error.code ?? "client.fault",
      message: error.message,
      next: error.next ?? "",
    }));
    running = false;
    button.disabled = false;
    button.textContent = idle;
    // Only what this machine computed: elsewhere the result is the platform's answer, which may say anything.
    const { member } = form.dataset;
    if (said.done && MAKES.has(member)) recognise(said.result.sha256);
    if (said.unknown) askOwn(form, said.unknown);
    if (!said.done) {
      say(form, "bad", said.message, `${said.next} (code : ${said.code})`.trim());
      return;
    }
    for (const input of form.querySelectorAll("input[name^=passphrase], textarea[name=words]")) input.value = "";
    if (member === "renewList") {
      say(form, "good", "Dictez ce code, de vive voix, à la personne qui répartit :", said.result.code);
      return;
    }
    if (member === "passphrase") {
      say(form, "good", success, "Téléchargez une copie de secours et gardez la phrase à l'abri, ailleurs.");
      const link = form.querySelector("[data-file]");
      link.href = URL.createObjectURL(new Blob([said.result.file], { type: "application/json" }));
      link.hidden = false;
      form.querySelector("[data-done]").hidden = false;
      button.hidden = true;
      return;
    }
    try {
      sessionStorage.setItem("result", "seance"); // where the page begins to be read (site.js)
    } catch {}
    if (after) location.assign(after);
    else location.reload();
  });
}
