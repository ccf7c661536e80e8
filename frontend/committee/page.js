// The forms of a member of the committee: each asks one thing, does it in the worker, says what happened.
const CONSONANTS = "bcdfgjklmnprstvz";
const VOWELS = "aeiou";

const cookie = (name) => document.cookie.split("; ").find((each) => each.startsWith(`${name}=`))?.split("=")[1] ?? "";

// Ten syllables of 80: 63 bits, easier to keep than to guess.
function suggestion() {
  const draws = crypto.getRandomValues(new Uint32Array(10));
  const syllables = [...draws].map((draw) => CONSONANTS[draw % 16] + VOWELS[Math.floor(draw / 16) % 5]);
  return [0, 2, 4, 6, 8].map((at) => syllables[at] + syllables[at + 1]).join("-");
}

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

function offer(form, bytes) {
  const link = form.querySelector("[data-file]");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/json" }));
  link.hidden = false;
}

for (const form of document.querySelectorAll("[data-member]")) {
  const { member, worker: url, organisation, consultation, closes, code, csrfCookie, busy, success } = form.dataset;
  const button = form.querySelector("[type=submit]");
  const idle = button.textContent;
  form.hidden = false;
  form.querySelector("[data-suggest]")?.addEventListener("click", () => {
    const chosen = suggestion();
    for (const input of form.querySelectorAll("input[name^=passphrase]")) {
      input.type = "text";
      input.value = chosen;
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    if (values.passphrase_again !== undefined && values.passphrase !== values.passphrase_again) {
      say(form, "bad", "Les deux phrases diffèrent.", "Retapez-les.");
      return;
    }
    button.disabled = true;
    button.textContent = busy;
    const worker = new Worker(url);
    const end = () => {
      worker.terminate();
      button.disabled = false;
      button.textContent = idle;
    };
    worker.addEventListener("message", ({ data }) => {
      end();
      if (!data.done) {
        say(form, "bad", data.message, `${data.next} (code : ${data.code})`);
        return;
      }
      for (const input of form.querySelectorAll("input[type=password], input[name^=passphrase]")) input.value = "";
      if (data.result?.file) {
        say(form, "good", success, "Téléchargez une copie de secours et gardez la phrase à l'abri, ailleurs.");
        offer(form, data.result.file);
        return;
      }
      location.reload();
    });
    worker.addEventListener("error", () => {
      end();
      say(form, "bad", "Le programme de cette page n'a pas pu se lancer.", "Rechargez la page, puis recommencez.");
    });
    worker.postMessage({
      type: member,
      session: { organisation, csrf: cookie(csrfCookie) },
      consultation,
      deadline: closes,
      code,
      passphrase: values.passphrase,
      label: values.label,
    });
  });
}
