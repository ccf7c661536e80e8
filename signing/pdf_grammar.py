"""What follows a signed revision, read to the letter (ISO 32000-2 §7.3, §7.5).

pyHanko reads more than other readers do (« 0_012 » as a number, « >! » as the end of a dictionary); one that
does not understand a table looks by itself for objects and trailers. Updates hold nothing but objects that
are listed, one table and its end, in a form that every reader understands alike.
"""

import mmap
import re
from collections.abc import Callable, Collection

_BLANK = re.compile(rb"[\x00\t\n\x0c\r ]*")
# Between objects and tables, some writers sign their name in a comment.
_GAP = re.compile(
    rb"(?:[\x00\t\n\x0c\r ]|%(?![^\r\n]*(?:obj|xref|trailer|stream|%EOF))[^\x00-\x1f\x7f]*[\r\n])*"
)
_HEADER = re.compile(
    rb"(0|[1-9]\d{0,9})[\x00\t\n\x0c\r ]+(?:0|[1-9]\d{0,4})[\x00\t\n\x0c\r ]+obj(?![A-Za-z0-9])"
)
_TABLE = re.compile(
    rb"xref[\x00\t\n\x0c\r ]+(?:\d{1,10} \d{1,10}[ \r\n]{1,3}(?:\d{10} \d{5} [nf][ \r\n]{1,2})*)*"
    rb"trailer[\x00\t\n\x0c\r ]*(?=<<)"
)
_END = re.compile(rb"startxref[\x00\t\n\x0c\r ]+(\d{1,15})[\x00\t\n\x0c\r ]+%%EOF")
_ENDOBJ = re.compile(rb"[\x00\t\n\x0c\r ]*endobj(?![A-Za-z0-9])")
_ENDSTREAM = re.compile(rb"[\r\n]{0,2}endstream[\x00\t\n\x0c\r ]+endobj(?![A-Za-z0-9])")
_DATA = re.compile(rb"stream(?:\r\n|\n)")
_TOKEN = re.compile(
    rb"(?P<open><<|\[)|(?P<close>>>|\])|(?P<hex><[0-9A-Fa-f\x00\t\n\x0c\r ]*>)|(?P<string>\()"
    rb"|/[^\x00\t\n\x0c\r ()<>\[\]{}/%]*"
    rb"|(?:[+-]?(?:\d+\.?\d*|\.\d+)|true|false|null|R)(?=[\x00\t\n\x0c\r ()<>\[\]/]|\Z|endobj|stream)"
)
_QUOTED = re.compile(rb"[^()\\]*(?:\\.[^()\\]*)*", re.DOTALL)
_PAIRS = {b"<<": b">>", b"[": b"]"}
Bytes = bytes | mmap.mmap


class NotPlain(ValueError):
    """A byte that some reader would understand otherwise, or that nobody accounts for."""


def check_updates(
    data: Bytes, start: int, *, listed: Collection[int], length_at: Callable[[int], int | None]
) -> None:
    """Whether `data`, from `start` on, is whole updates and nothing else. Raises NotPlain.

    `listed`: the offsets of objects that the tables give; `length_at`: how many bytes the stream of the
    object at an offset has, None for one without stream.
    """
    position, last = _after(_GAP, data, start), start
    while position < len(data):
        if _HEADER.match(data, position):
            if position not in listed:
                raise NotPlain("object")
            last, position = position, _object(data, position, length_at(position))
        else:
            position = _table(data, position, last)
        position = _after(_GAP, data, position)


def _after(pattern: re.Pattern[bytes], data: Bytes, position: int) -> int:
    found = pattern.match(data, position)
    return found.end() if found else position


def _table(data: Bytes, position: int, last: int) -> int:
    """A table and its trailer, or none after an object that is one; then the end, which designates it."""
    found = _TABLE.match(data, position)
    if found:
        last, position = position, _value(data, found.end())
        position = _after(_GAP, data, position)
    end = _END.match(data, position)
    if end is None or int(end[1]) != last:
        raise NotPlain("table")
    return end.end()


def _object(data: Bytes, position: int, length: int | None) -> int:
    header = _HEADER.match(data, position)
    after = _value(data, header.end() if header else position)
    if length is None:
        end = _ENDOBJ.match(data, after)
    else:
        start = _DATA.match(data, _after(_BLANK, data, after))
        end = _ENDSTREAM.match(data, start.end() + length) if start else None
    if end is None:
        raise NotPlain("end of an object")
    return end.end()


def _value(data: Bytes, position: int) -> int:
    """The end of one value: balanced, of tokens that are all known."""
    stack: list[bytes] = []
    while True:
        position = _after(_BLANK, data, position)
        found = _TOKEN.match(data, position)
        if found is None:
            if stack:
                raise NotPlain("token")
            return position
        token, position = found[0], found.end()
        if token in _PAIRS:
            stack.append(_PAIRS[token])
        elif found["close"]:
            if not stack or stack.pop() != token:
                raise NotPlain("unbalanced")
        elif found["string"]:
            position = _string(data, position)
        if not stack and found["close"]:
            return position


def _string(data: Bytes, position: int) -> int:
    depth = 1
    while depth:
        position = _after(_QUOTED, data, position)
        closing = data[position : position + 1]
        if closing not in (b"(", b")"):
            raise NotPlain("string")
        depth += 1 if closing == b"(" else -1
        position += 1
    return position
