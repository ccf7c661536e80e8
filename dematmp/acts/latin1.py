"""Text as ACTES carries it: ISO-8859-1, with what it lacks replaced by what a reader would write instead."""

import re
import unicodedata

# Outside ISO-8859-1 → how it is written by hand; the rest loses its accent, and last becomes « ? ».
REPLACED = {
    "œ": "oe", "Œ": "OE", "Ÿ": "Y", "€": "EUR", "™": "TM", "…": "...", "‰": "o/oo",
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "″": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "•": "-", "‹": "<", "›": ">",
    "Š": "S", "š": "s", "Ž": "Z", "ž": "z", "ƒ": "f", "ˆ": "^", "˜": "~", "†": "+", "‡": "+", "№": "n°",
    "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "≤": "<=", "≥": ">=", "≠": "<>", "×": "×",
    "\u202f": "\u00a0", "\u2009": " ", "\u2002": " ", "\u2003": " ",
    "\u200b": "", "\ufeff": "", "\u2028": " ",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def to_latin1(text: str) -> str:
    """The same text within ISO-8859-1 and XML 1.0: never longer than four times, unchanged when it fits."""
    return "".join(_character(each) for each in _from_word(unicodedata.normalize("NFC", text)))


def encode(text: str) -> bytes:
    """`to_latin1`, as bytes."""
    return to_latin1(text).encode("latin-1")


def decode(data: bytes) -> str:
    """Text that a client sent: strict UTF-8 first, else ISO-8859-1 (which never fails)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _from_word(data.decode("latin-1"))


def _from_word(text: str) -> str:
    """Windows-1252 bytes that were called ISO-8859-1: « œ » is then U+009C, which is no character."""

    def character(found: re.Match[str]) -> str:
        try:
            return found[0].encode("latin-1").decode("cp1252")
        except UnicodeDecodeError:
            return " "

    return re.sub(r"[\x80-\x9f]", character, text)


def _character(char: str) -> str:
    if char in REPLACED:
        return REPLACED[char]
    if _CONTROL.match(char):
        return " "
    if ord(char) < 256:
        return char
    bare = "".join(each for each in unicodedata.normalize("NFKD", char) if not unicodedata.combining(each))
    bare = "".join(REPLACED.get(each, each) for each in bare)
    return bare if bare and all(ord(each) < 256 and not _CONTROL.match(each) for each in bare) else "?"
