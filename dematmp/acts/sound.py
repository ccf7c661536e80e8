"""A file that people send is judged at once, as the checks of the transmission would before it leaves."""

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from dematmp.acts import fields
from dematmp.acts.errors import ActRefused, JudgementUnfinished
from dematmp.acts.fields import Upload
from dematmp.acts.pdfs import judge_isolated
from storage.antivirus import State, scan
from storage.errors import AntivirusUnavailable, ScanFailed

_BLOCK = 1024 * 1024


def check_sound(upload: Upload, *, now: datetime) -> None:
    """A PDF that opens, whose signatures hold, without virus. Raises ActRefused, AntivirusUnavailable."""
    check_pdf(upload, now=now)
    _check_scanned(upload)


def check_early(upload: Upload, *, now: datetime) -> None:
    """The same, of what is scanned again before it leaves: an antivirus that is away is not waited for."""
    check_pdf(upload, now=now)
    with contextlib.suppress(AntivirusUnavailable, ScanFailed):
        _check_scanned(upload)
    upload.stream.seek(0)


def check_pdf(upload: Upload, *, now: datetime) -> None:
    """Raises ActRefused."""
    if fields.sniff(upload.stream) == fields.PDF:
        with tempfile.TemporaryDirectory(prefix="dematmp-act-") as folder:
            path = Path(folder) / "document"
            with path.open("wb") as file:
                for block in _blocks(upload.stream):
                    file.write(block)
            try:
                (verdict,) = judge_isolated([path], at=now, trust=[], chain=False)
            except JudgementUnfinished as unfinished:
                raise ActRefused(
                    f"Le fichier {upload.name} est trop lourd à lire : allégez-le."
                ) from unfinished
        if verdict.problem:
            raise ActRefused(f"Le fichier {upload.name} est refusé : {verdict.problem}.")


def _check_scanned(upload: Upload) -> None:
    found = scan(_blocks(upload.stream))
    upload.stream.seek(0)
    if found.state is State.INFECTED:
        raise ActRefused(f"Un virus a été trouvé dans {upload.name} ({found.name}).")
    if found.state is State.UNSCANNABLE:
        raise ActRefused(f"L'antivirus ne peut pas lire {upload.name} ({found.name}) : ôtez sa protection.")


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(0)
    while block := stream.read(_BLOCK):
        yield block
