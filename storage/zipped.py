"""A ZIP of objects as they are, whose every byte is known beforehand: its length, and any range of it.

    ZipOf([Entry("plan.pdf", size, crc32, modified, read)]).open(start=10**9)

Entries are stored, never compressed (APPNOTE 6.3.10 §4.3 to §4.5), with ZIP64 fields where sizes ask for it.
Nothing but the entry that a range crosses is read, block by block.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

Read = Callable[[int, int], Iterator[bytes]]
_UTF8 = 0x0800  # general purpose bit 11: names are in UTF-8
_PLAIN, _ZIP64 = 20, 45  # versions needed to extract
_ON_UNIX = 3 << 8
_REGULAR_FILE = 0o100644 << 16
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_EARLIEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Entry:
    """One file: its name, bytes, CRC-32, time as read on a clock, and how a range of it is read."""

    name: str
    size: int
    crc32: int
    modified: datetime
    read: Read


@dataclass(frozen=True)
class _Piece:
    """Bytes at an offset of the archive: of an entry, or written here."""

    start: int
    size: int
    read: Read


class ZipOf:
    """The archive of these entries, in this order; the same bytes for the same entries. `size` in bytes."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._pieces: list[_Piece] = []
        self.size = 0
        offsets = []
        for entry in entries:
            offsets.append(self.size)
            self._add(_local(entry))
            self._pieces.append(_Piece(self.size, entry.size, entry.read))
            self.size += entry.size
        directory = b"".join(_central(entry, at) for entry, at in zip(entries, offsets, strict=True))
        start = self.size
        self._add(directory)
        self._add(_end(len(entries), start, len(directory)))

    def _add(self, data: bytes) -> None:
        def read(start: int, length: int) -> Iterator[bytes]:
            yield data[start : start + length]

        self._pieces.append(_Piece(self.size, len(data), read))
        self.size += len(data)

    def open(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` on, `length` of them at most."""
        end = self.size if length is None else min(self.size, start + length)
        for piece in self._pieces:
            first, last = max(start, piece.start), min(end, piece.start + piece.size)
            if first < last:
                yield from piece.read(first - piece.start, last - first)


def _clock(at: datetime) -> tuple[int, int]:
    """Time and date as MS-DOS writes them, two seconds apart."""
    year, month, day, hour, minute, second = max(_EARLIEST, at.timetuple()[:6])
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


def _local(entry: Entry) -> bytes:
    """Local file header: all is known, hence no data descriptor."""
    name, (time, date), size = entry.name.encode(), _clock(entry.modified), entry.size
    extra = struct.pack("<HHQQ", 1, 16, size, size) if size >= _MAX32 else b""
    shown = min(size, _MAX32)
    needed = _ZIP64 if extra else _PLAIN
    fields = (0x04034B50, needed, _UTF8, 0, time, date, entry.crc32, shown, shown, len(name), len(extra))
    return struct.pack("<LHHHHHLLLHH", *fields) + name + extra


def _central(entry: Entry, offset: int) -> bytes:
    name, (time, date), size = entry.name.encode(), _clock(entry.modified), entry.size
    long = ([size, size] if size >= _MAX32 else []) + ([offset] if offset >= _MAX32 else [])
    extra = struct.pack(f"<HH{len(long)}Q", 1, 8 * len(long), *long) if long else b""
    needed, shown = _ZIP64 if extra else _PLAIN, min(size, _MAX32)
    head = (0x02014B50, _ON_UNIX | needed, needed, _UTF8, 0, time, date, entry.crc32, shown, shown)
    tail = (len(name), len(extra), 0, 0, 0, _REGULAR_FILE, min(offset, _MAX32))
    return struct.pack("<LHHHHHHLLLHHHHHLL", *head, *tail) + name + extra


def _end(count: int, start: int, size: int) -> bytes:
    """End of central directory, after its ZIP64 form and locator where one of its numbers is too long."""
    longer = b""
    if count >= _MAX16 or start >= _MAX32 or size >= _MAX32:
        fields = (0x06064B50, 44, _ON_UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, start)
        longer = struct.pack("<LQHHLLQQQQ", *fields)
        longer += struct.pack("<LLQL", 0x07064B50, 0, start + size, 1)
    count16 = min(count, _MAX16)
    last = (0x06054B50, 0, 0, count16, count16, min(size, _MAX32), min(start, _MAX32), 0)
    return longer + struct.pack("<LHHHHLLH", *last)
