"""A person who has only a keyboard: Tab, Shift+Tab, arrows, Space, Enter and letters, in a real Chromium.

Each stop of the focus is looked at: seen (an outline that was not there before), inside the window, covered
by nothing; and an action that stays on its page never loses the focus. The page is nowhere driven otherwise.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

from playwright.sync_api import Browser, ElementHandle, Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from tests.web.chromium import signed_in

STOPS = 80  # presses of Tab, at most, to reach a control
WAIT = 60_000  # milliseconds

# Anything that a hand on a mouse, a finger or a pen does; a key's own click has no pointer and no detail.
_POINTED = """
const BY_HAND = ["pointerdown", "pointermove", "mousedown", "mousemove", "touchstart", "wheel"];
for (const type of [...BY_HAND, "click", "dblclick"]) {
  addEventListener(type, (event) => {
    const byKey = !BY_HAND.includes(type) && !event.pointerType && event.detail === 0;
    if (event.isTrusted && !byKey) pointed(type);
  }, { capture: true, passive: true });
}"""

# What is wrong with how the focus shows; whether it is on what is sought, in its group, or before it.
_LOOK = """async (sought) => {
  const at = document.activeElement;
  const acted = window.acted;
  window.acted = false;
  if (!at || at === document.body) return { fault: acted ? "focus perdu après l'action" : "" };
  const native = at.matches("[type=date], [type=time]"); // its fields draw their own ring
  const box = at.getBoundingClientRect().width > 4 ? at : at.closest("label") ?? at;
  const ring = (each) => {
    const { outlineStyle: style, outlineWidth: width, outlineColor: color } = getComputedStyle(each);
    return style === "none" || width === "0px" || color === "rgba(0, 0, 0, 0)" ? "" : width + color;
  };
  const wrong = () => {
    if (!native && !ring(box) && !at.matches("main, h1")) return "focus invisible";
    const { left, top, right, bottom } = box.getClientRects()[0] ?? box.getBoundingClientRect();
    const [x0, y0] = [Math.max(left, 0), Math.max(top, 0)];
    const [x1, y1] = [Math.min(right, innerWidth), Math.min(bottom, innerHeight)];
    if (x1 - x0 < 2 || y1 - y0 < 2) return "hors de la fenêtre";
    const over = document.elementFromPoint((x0 + x1) / 2, (y0 + y1) / 2);
    if (over && (box.contains(over) || over.contains(box))) return "";
    return `caché par ${over?.outerHTML.slice(0, 60)}`;
  };
  let fault = wrong();
  const until = performance.now() + 5000; // a busy machine takes its time
  while (fault && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    fault = wrong();
  }
  const before = window.looked;
  const left = before?.ring && before.box !== box && before.box.isConnected;
  const alike = left && ring(before.box) === before.ring;
  if (!fault && alike) fault = "le même contour avec et sans le focus";
  window.looked = { box, ring: ring(box) };
  return {
    fault: fault && `${fault} : ${at.outerHTML.slice(0, 120)}`,
    found: at === sought,
    group: at.type === "radio" && at.name === sought.name && at.form === sought.form,
    after: Boolean(at.compareDocumentPosition(sought) & Node.DOCUMENT_POSITION_PRECEDING),
  };
}"""


def _begins(name: str) -> re.Pattern[str]:
    return re.compile(r"^\s*" + re.escape(name))


def _named(label: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(label)}\s*(\(facultatif\)|\(obligatoire .*\))?\s*$")


class Keyboard:
    """One person in front of one page. Each verb presses keys; `within` is the heading of a form."""

    def __init__(
        self,
        browser: Browser,
        server: LiveServer,
        *,
        user: User | None = None,
        start: str = "/",
        width: int = 1280,
    ) -> None:
        viewport = {"width": width, "height": 800}
        self.context = signed_in(browser, server, None, viewport=viewport, accept_downloads=True)
        self.pointed: list[str] = []
        self.context.expose_binding("pointed", lambda _, type_: self.pointed.append(type_))
        self.context.add_init_script(_POINTED)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.page.on(
            "filechooser", lambda _: None
        )  # Chromium is told before a key opens one, not at that moment
        self.receive(start)
        if user is not None:
            self.sign_in(user)

    # What the person does.

    def receive(self, address: str) -> None:
        """The first page, or a link received by mail."""
        self.page.goto(address)

    def sign_in(self, user: User, password: str = "phrase de passe 42") -> None:
        if self.page.get_by_role("button", name="Menu").is_visible():
            self.press("Menu")
        self.follow("Se connecter")
        self.write("Courriel", user.email)
        self.write("Mot de passe", password)
        self._leaving(lambda: self.page.keyboard.press("Enter"))
        self.heading("Bonjour")

    def follow(self, name: str, *, within: str = "") -> None:
        """A link, by Enter, until the page that it leads to is there."""
        self._reach(self._scope(within).get_by_role("link", name=_begins(name)).first)
        self._leaving(lambda: self.page.keyboard.press("Enter"))

    def jump(self, name: str) -> None:
        """A link within this page."""
        self._reach(self.page.get_by_role("link", name=_begins(name)))
        self._act("Enter")

    def submit(self, name: str, *, within: str = "") -> None:
        """A button, by Space, until the page that answers is there."""
        self._reach(self._scope(within).get_by_role("button", name=_begins(name)))
        self._leaving(lambda: self.page.keyboard.press("Space"))

    def press(self, name: str, *, within: str = "") -> None:
        """A button whose effect is on this page."""
        self._reach(self._scope(within).get_by_role("button", name=_begins(name)))
        self._act("Enter")

    def unfold(self, name: str) -> None:
        self._reach(self.page.locator("summary").filter(has_text=_begins(name)))
        self._act("Enter")

    def write(self, label: str, text: str, *, within: str = "") -> None:
        """Type in a field, over what it held."""
        self._reach(self._field(label, within))
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def set_instant(self, at: datetime) -> None:
        """A date then a time to the second, digit by digit, in the order of the browser's own fields."""
        self.set_date("Date", at)
        time = self._field("Heure", "")
        self._reach(time)
        self.page.keyboard.type(f"{at:%H%M%S}" + ("a" if at.hour < 12 else "p"))  # a clock of 12 hours asks
        expect(time).to_have_value(re.compile(f"^{at:%H:%M}(:{at:%S})?$"))

    def set_date(self, label: str, at: datetime | date) -> None:
        field = self._field(label, "")
        self._reach(field)
        for order in ("%d%m%Y", "%m%d%Y"):  # French fields, else American ones
            for _ in range(3):
                self.page.keyboard.press("ArrowLeft")
            self.page.keyboard.type(f"{at:{order}}")
            if field.input_value() == f"{at:%Y-%m-%d}":
                break
        expect(field).to_have_value(f"{at:%Y-%m-%d}")

    def tick(self, label: str, *, on: bool = True, within: str = "", group: str = "") -> None:
        box = self._scope(within, group).get_by_role("checkbox", name=_begins(label))
        self._reach(box)
        if box.is_checked() != on:
            self.page.keyboard.press("Space")
        expect(box).to_be_checked(checked=on)

    def choose(self, label: str, *, within: str = "", group: str = "") -> None:
        """A radio button: Tab to its group, arrows in it."""
        radio = self._scope(within, group).get_by_role("radio", name=_begins(label))
        self._reach(radio, group=True)
        for _ in range(20):
            if radio.is_checked():
                break
            self.page.keyboard.press("ArrowDown")
            if not radio.is_checked() and radio.evaluate("(radio) => radio === document.activeElement"):
                self.page.keyboard.press("Space")
        expect(radio).to_be_checked()
        self._look(radio.element_handle())

    def select(self, label: str, option: str) -> None:
        field = self._field(label, "")
        self._reach(field)
        self.page.keyboard.press("Home")
        chosen = "(select) => select.selectedOptions[0].label"
        for _ in range(20):
            if _begins(option).match(str(field.evaluate(chosen))):
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"« {option} » n'est pas atteint par les flèches dans « {label} »")

    def pick_files(self, label: str, *paths: Path) -> None:
        """The files given to the chooser that Space opens."""
        self._reach(self._field(label, ""))
        with self.page.expect_file_chooser() as opened:
            self.page.keyboard.press("Space")
        opened.value.set_files(list(paths))

    def download(self, name: str) -> bytes:
        self._reach(self.page.get_by_role("link", name=_begins(name)).first)
        with self.page.expect_download() as begun:
            self.page.keyboard.press("Enter")
        return begun.value.path().read_bytes()

    # What the person sees.

    def heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", name=_begins(text)).first).to_be_visible(timeout=WAIT)

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible(timeout=WAIT)

    def told(self, text: str) -> None:
        """Said aloud too: in a live region, or where the focus was put."""
        spoken = self.page.locator("[role=status], [role=alert], [aria-live], :focus")
        expect(spoken.filter(has_text=text).first).to_be_visible(timeout=WAIT)

    def focused(self, label: str, *, within: str = "") -> None:
        """The focus was put on this field."""
        field = self._field(label, within)
        expect(field).to_be_focused(timeout=WAIT)
        self._look(field.element_handle())

    def focused_on(self, name: str) -> None:
        """The focus is still on this link or button."""
        either = self.page.get_by_role("link", name=_begins(name)).or_(
            self.page.get_by_role("button", name=_begins(name))
        )
        expect(either).to_be_focused(timeout=WAIT)

    def leave(self) -> None:
        """Close the page; nobody touched a mouse."""
        self.page.evaluate("1")  # what was said before is heard
        assert self.pointed == [], f"souris : {self.pointed}"
        self.context.close()

    # How keys are pressed.

    def _scope(self, within: str, group: str = "") -> Page | Locator:
        if group:
            return self.page.get_by_role("group", name=_begins(group))
        if not within:
            return self.page
        title = self.page.get_by_role("heading", name=within, exact=True)
        return self.page.locator("form, section", has=title)

    def _field(self, label: str, within: str) -> Locator:
        fields = self.page.locator("input, select, textarea")
        return self._scope(within).get_by_label(_named(label)).and_(fields)

    def _reach(self, sought: Locator, *, group: bool = False) -> None:
        """Tab towards `sought`, backwards if it is before: at most `STOPS` presses."""
        expect(sought).to_have_count(1, timeout=WAIT)
        handle = sought.element_handle()
        seen = self._look(handle)
        back = bool(seen.get("after"))
        for _ in range(STOPS):
            if seen.get("found") or (group and seen.get("group")):
                return
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            seen = self._look(handle)
        raise AssertionError(
            f"hors d'atteinte au clavier : {handle.evaluate('(e) => e.outerHTML.slice(0, 120)')}"
        )

    def _look(self, sought: ElementHandle) -> dict[str, object]:
        seen: dict[str, object] = self.page.evaluate(_LOOK, sought)
        assert not seen.get("fault"), seen["fault"]
        assert self.pointed == [], f"souris : {self.pointed}"
        return seen

    def _act(self, key: str) -> None:
        self.page.evaluate("window.acted = true")
        self.page.keyboard.press(key)

    def _leaving(self, press: Callable[[], object]) -> None:
        self.page.evaluate("document.body.dataset.left = ''")
        press()
        expect(self.page.locator("body[data-left]")).to_have_count(0, timeout=WAIT)
        self.page.wait_for_load_state()
        said = self.page.locator("main :is([data-said], [data-errors])").first
        if said.count():  # what the answer says is where the focus is
            expect(said).to_be_focused()
