"""The daemons asked, the least busy first, and the one verdict that their opinions make."""

import enum
import itertools
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.clamd import Stream, base_of, load, version
from storage.errors import AntivirusUnavailable, ScanFailed

TWO_GIB = 2 * 1024**3  # clamd scans nothing above, whatever its settings
TOO_LARGE = "fichier au-delà de la taille analysable"


class State(enum.StrEnum):
    CLEAN = "clean"
    INFECTED = "infected"
    UNSCANNABLE = "unscannable"
    NOT_SCANNED = "not_scanned"


# From the mildest: of several opinions the worst is kept.
GRAVITY = {State.NOT_SCANNED: 0, State.CLEAN: 1, State.UNSCANNABLE: 2, State.INFECTED: 3}


@dataclass(frozen=True)
class Verdict:
    """`name` is the threat or the reason, `engine` the versions of engine and signatures."""

    state: State
    name: str = ""
    engine: str = ""


@dataclass(frozen=True)
class Panel:
    """The daemons that may be asked, and how many of them, of different signature bases, must agree."""

    urls: Sequence[str]
    agree: int = 1

    def chosen(self) -> list[tuple[str, str]]:
        """Address and version of those to ask now: the least busy of each base.

        Raises AntivirusUnavailable, also when fewer different bases answer than must agree.
        """
        if len(self.urls) == 1 and self.agree == 1:
            return [(self.urls[0], version(self.urls[0]))]
        answering: list[tuple[int, str, str]] = []
        for url in self.urls:
            try:
                answering.append((load(url), url, version(url)))
            except AntivirusUnavailable:
                continue
        chosen: dict[str, tuple[str, str]] = {}
        random.shuffle(answering)  # equals share the work
        for _, url, engine in sorted(answering, key=lambda each: each[0]):
            chosen.setdefault(base_of(engine), (url, engine))
        if not chosen:
            raise AntivirusUnavailable("L'antivirus ne répond pas.")
        if len(chosen) < self.agree:
            raise AntivirusUnavailable(
                f"{self.agree} bases de signatures différentes sont exigées ; {len(chosen)} répond."
            )
        return list(chosen.values())[: self.agree]

    def engines(self) -> list[str]:
        """What verdicts given now may bear as `engine`; empty when none answers."""
        present: dict[str, str] = {}
        for url in self.urls:
            try:
                engine = version(url)
            except AntivirusUnavailable:
                continue
            present.setdefault(engine, base_of(engine))
        return [
            _named(each)
            for each in itertools.combinations(sorted(present), self.agree)
            if self.agree == 1 or len({present[engine] for engine in each}) == self.agree
        ]


# What ClamAV names without having found anything: it could not look, or it saw macros, which may be harmless.
_NOT_A_THREAT = (
    "Heuristics.Limits.",
    "Heuristics.Encrypted.",
    "Heuristics.OLE2.ContainsMacros",
    "Heuristics.Broken",
)


def _named(engines: Iterable[str]) -> str:
    return " + ".join(sorted(engines))


class Opinions:
    """One stream given to each daemon chosen (`Panel.chosen`), and what they say together: the worst."""

    def __init__(self, chosen: Sequence[tuple[str, str]]) -> None:
        self.size = 0
        self.engine = _named(engine for _, engine in chosen)
        self._streams: list[Stream] = []
        try:
            for url, engine in chosen:
                self._streams.append(Stream(url, engine))
        except AntivirusUnavailable:
            self.close()
            raise

    def feed(self, block: bytes) -> None:
        """Raises ScanFailed."""
        self.size += len(block)
        if self.size <= TWO_GIB:
            for stream in self._streams:
                stream.send(block)

    def finish(self) -> Verdict:
        """Raises ScanFailed."""
        said = [self._read(stream.answer()) for stream in self._streams]
        worst = max(said, key=lambda verdict: GRAVITY[verdict.state])
        names = dict.fromkeys(verdict.name for verdict in said if verdict.state is worst.state)
        name = ", ".join(names)
        if worst.state is State.INFECTED and any(verdict.state is State.CLEAN for verdict in said):
            name += " (une autre base ne trouve rien)"
        return Verdict(worst.state, name, self.engine)

    def _read(self, answer: str) -> Verdict:
        found = re.fullmatch(r"stream: (.*) FOUND", answer)
        if found and not found[1].startswith(_NOT_A_THREAT):
            return Verdict(State.INFECTED, found[1])
        if found:
            return Verdict(State.UNSCANNABLE, found[1])
        if "size limit exceeded" in answer or self.size > TWO_GIB:
            return Verdict(State.UNSCANNABLE, TOO_LARGE)
        if answer != "stream: OK":
            raise ScanFailed(f"l'antivirus a répondu « {answer[:80]} »")
        return Verdict(State.CLEAN)

    def close(self) -> None:
        """Give up."""
        for stream in self._streams:
            stream.close()
