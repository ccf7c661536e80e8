// A form that meets an expired session gives back what was typed once the person is signed in again. Of text fields
// only, in this tab only, for as long as it takes: never a password, a passphrase or a file.
const KEY = "typed";
const TEXTS = "textarea, input[type=text], input[type=number], input[type=date], input[type=time], input:not([type])";
const SECRET = "input[type=password], [name^=passphrase], [name=words]";

const kept = () => {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
};
const keep = (what) => {
  try {
    if (what) sessionStorage.setItem(KEY, JSON.stringify(what));
    else sessionStorage.removeItem(KEY);
  } catch {} // a browser that refuses to remember
};
const fields = (form) => [...form.querySelectorAll(TEXTS)].filter(({ name }) => name);
const forms = () => [...document.querySelectorAll("form.narrow[method=post]")].filter((form) => !form.dataset.member && !form.querySelector(SECRET));

// Kept from the press of the button to the page that answers; the session was the trouble, or it is forgotten.
export function typed() {
  const before = kept();
  if (before) {
    if (document.querySelector("[data-signed-out], input[name=login]")) keep({ ...before, signedOut: true });
    else {
      keep(null);
      if (before.signedOut && before.path === location.pathname && !document.querySelector("[data-errors]")) giveBack(before);
    }
  }
  for (const [place, form] of forms().entries()) {
    form.addEventListener("submit", () => {
      keep({ path: location.pathname, place, values: fields(form).map(({ name, value }) => [name, value]) });
    });
  }
}

function giveBack({ place, values }) {
  const form = forms()[place];
  if (!form) return;
  const mine = fields(form);
  let changed = 0;
  for (const [at, [name, value]] of values.entries()) {
    const field = mine[at]?.name === name ? mine[at] : null;
    if (!field || field.value === value) continue;
    field.value = value;
    changed += 1;
  }
  if (!changed) return;
  const said = Object.assign(document.createElement("p"), {
    textContent: "Ce que vous aviez écrit est retrouvé : rien n'est encore enregistré. Relisez, puis envoyez.",
  });
  const box = Object.assign(document.createElement("div"), { className: "notice notice-warn", tabIndex: -1 });
  box.setAttribute("role", "status");
  box.dataset.said = "";
  box.append(said);
  form.prepend(box);
}
