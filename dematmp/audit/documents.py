"""Tagged PDFs (PDF/UA-1) from Typst templates; the data travel as JSON, never as template source."""

import functools
import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path

import typst

# What the embedded fonts surely draw: Latin and its signs; everything else is told by its code point.
_UNDRAWN = re.compile(r"[^\n\t\x20-\x7e\xa0-\xac\xae-\u017f\u2010-\u2015\u2018-\u201e\u2026\u202f\u20ac]")
# What turns a text around, or hides in it: another name would be read. Told by its code point, always.
_TURNING = re.compile(r"[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_ONE_AT_A_TIME = threading.Lock()
TEMPLATES = Path(__file__).resolve().parent / "typst"


@functools.lru_cache(maxsize=16)
def _compiler(path: str) -> typst.Compiler:
    return typst.Compiler(path, font_paths=[], ignore_system_fonts=True)


def render(template: str, data: Mapping[str, object], *, title: str) -> bytes:
    """The PDF of `typst/<template>.typ` fed with `data`; what bidders wrote in it is text, never code."""
    return render_file(TEMPLATES / f"{template}.typ", data, title=title)


def render_file(path: Path, data: Mapping[str, object], *, title: str) -> bytes:
    """The same for a template elsewhere."""
    plain, said = _told(data, _TURNING), str(_told(title, _TURNING))
    try:
        return _compile(path, plain, said)
    except typst.TypstError:
        # PDF/UA-1 refuses a character that no font draws: it is then written as its code point.
        return _compile(path, _told(plain, _UNDRAWN), str(_told(said, _UNDRAWN)))


def _told(value: object, characters: re.Pattern[str]) -> object:
    """The same, these characters written as their code points."""
    if isinstance(value, str):
        return characters.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)
    if isinstance(value, Mapping):
        return {key: _told(each, characters) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(each, characters) for each in value]
    return value


def _compile(path: Path, data: object, title: str) -> bytes:
    inputs = {"data": json.dumps(data, ensure_ascii=False, default=str), "title": title}
    # A compiler serves one thread at a time: a second one is told that it is already borrowed.
    with _ONE_AT_A_TIME:
        pdf = _compiler(str(path)).compile(sys_inputs=inputs, format="pdf", pdf_standards=["ua-1"])
    if not isinstance(pdf, bytes):
        raise TypeError("typst did not give one PDF")
    return pdf
