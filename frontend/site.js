// What the pages need beyond HTML: menus, partial refresh, countdown on the server's clock, colour mode.
import "bootstrap/js/dist/collapse";
import "bootstrap/js/dist/dropdown";
import htmx from "htmx.org";
import { countdown } from "./countdown.js";
import { typed } from "./typed.js";

htmx.config.allowEval = false;
htmx.config.includeIndicatorStyles = false;
htmx.config.selfRequestsOnly = true;

// The server's clock, which binds, seconds included.
function clock() {
  for (const element of document.querySelectorAll("[data-clock]")) {
    const started = performance.now();
    const at = Date.parse(element.dataset.clock);
    const format = new Intl.DateTimeFormat("fr-FR", { dateStyle: "short", timeStyle: "medium", timeZone: document.documentElement.dataset.zone });
    const tick = () => {
      element.textContent = format.format(at + performance.now() - started);
      setTimeout(tick, 1000);
    };
    tick();
  }
}

function themeSwitch() {
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    const show = () => {
      const dark = document.documentElement.dataset.bsTheme === "dark";
      button.setAttribute("aria-pressed", String(dark));
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      const next = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
      document.documentElement.dataset.bsTheme = next;
      try {
        localStorage.setItem("theme", next);
      } catch {
        // A browser that refuses to remember still changes this page.
      }
      show();
    });
    show();
  }
}

// A form that sends files says how far it is; without JavaScript the browser does.
function uploads() {
  for (const form of document.querySelectorAll("form[data-progress]")) {
    form.addEventListener("submit", (event) => {
      if (!form.querySelector("input[type=file]")?.files.length) return;
      event.preventDefault();
      const box = form.querySelector("[data-progress-box]");
      const bar = box.querySelector("progress");
      const words = box.querySelector("[role=status]");
      const button = form.querySelector("[type=submit]");
      box.hidden = false;
      button.disabled = true;
      const request = new XMLHttpRequest();
      request.upload.addEventListener("progress", (progress) => {
        if (!progress.lengthComputable) return;
        bar.max = progress.total;
        bar.value = progress.loaded;
        const percent = Math.floor((100 * progress.loaded) / progress.total);
        words.textContent = percent < 100 ? `Envoi : ${percent} %` : "Envoi terminé, enregistrement…";
      });
      request.addEventListener("load", () => {
        // The page that came back is shown as it is: it bears the message that says what was done.
        const answer = new DOMParser().parseFromString(request.responseText, "text/html");
        document.title = answer.title;
        document.body.replaceWith(answer.body);
        if (request.responseURL !== location.href) history.pushState({}, "", request.responseURL);
        ready();
        if (document.activeElement === document.body) focusOn(document.querySelector("h1"));
      });
      request.addEventListener("error", () => {
        words.textContent = "La connexion a été coupée : rien n'a été enregistré. Vous pouvez recommencer.";
        button.disabled = false;
      });
      request.open("POST", form.action || location.href);
      request.send(new FormData(form));
    });
  }
}

function ready() {
  countdown();
  clock();
  themeSwitch();
  uploads();
  proposals();
  typed();
  once();
  focusOn(result() ?? document.querySelector("main :is([data-errors], [data-said], .errorlist.nonfield, [aria-invalid=true])"));
}

// A form leaves once, however often its button is pressed.
function once() {
  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (event.defaultPrevented) return;
      if (form.dataset.left) return event.preventDefault();
      form.dataset.left = "true";
      for (const button of form.querySelectorAll("[type=submit]")) button.setAttribute("aria-disabled", "true");
      setTimeout(() => again(form), 15_000); // an answer that is a file leaves the page where it is
    });
  }
}

function again(form) {
  delete form.dataset.left;
  for (const button of form.querySelectorAll("[type=submit]")) button.removeAttribute("aria-disabled");
}

// What the page before did is said at that place of this one: it is read first.
function result() {
  try {
    const id = sessionStorage.getItem("result");
    sessionStorage.removeItem("result");
    return id && document.getElementById(id)?.querySelector("[role=status]");
  } catch {
    return null; // a browser that refuses to remember
  }
}

// The typology that a file's name tells is chosen for it, until a person chooses another.
function proposals() {
  const address = document.querySelector("[data-proposals]")?.dataset.proposals;
  const inputs = address ? [...document.querySelectorAll("[data-proposes]")] : [];
  // A place for one more file than were given, and no more: the first is the act itself.
  const show = () => {
    const given = inputs.findLastIndex((input) => input.files.length > 0);
    inputs.forEach((input, rank) => {
      for (const each of [input, document.getElementById(input.dataset.proposes)]) each.closest(".field").hidden = rank > Math.max(given, 0) + 1;
    });
  };
  if (inputs.length) show();
  for (const input of inputs) {
    input.addEventListener("change", async () => {
      show();
      const select = document.getElementById(input.dataset.proposes);
      const name = input.files[0]?.name;
      if (!name || !select) return;
      try {
        const answer = await fetch(`${address}?nom=${encodeURIComponent(name)}`);
        if (answer.ok) select.value = (await answer.json()).typology;
      } catch {} // the person chooses
    });
  }
}

function focusOn(element) {
  if (element && element.tabIndex < 0) element.setAttribute("tabindex", "-1");
  element?.focus();
}

// A partial refresh takes the focus from nobody: what did not change stays, what is drawn again finds its focus again.
function refreshes() {
  const last = new WeakMap();
  const same = (before) => (after) => after.textContent === before.textContent && after.getAttribute("href") === before.getAttribute("href");
  let held = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, serverResponse, xhr } = event.detail;
    if (xhr.status !== 286 && last.get(target) === serverResponse) event.detail.shouldSwap = false;
    last.set(target, serverResponse);
    held = target !== document.activeElement && target.contains(document.activeElement) ? document.activeElement : null;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const { target } = event.detail;
    if (held && !held.isConnected) focusOn([...target.querySelectorAll(held.localName)].find(same(held)) ?? target);
    held = null;
    // A live region drawn with its words already in it is not read: its words are copied to one that stays.
    const said = target.querySelector("[role=status], [role=alert]")?.textContent.replace(/\s+/g, " ").trim() ?? "";
    const aloud = document.querySelector("[data-aloud]");
    if (said !== aloud.textContent) aloud.textContent = said;
  });
}

ready();
refreshes();
addEventListener("pageshow", () => document.querySelectorAll("form[data-left]").forEach(again)); // Back
document.addEventListener("htmx:afterSettle", () => countdown());
