"""The files that a PDF encloses, taken out in a subprocess with limits: hostile until its seal is judged.

`python -m signing.enclosed FILE` prints them as JSON: name → base64.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyhanko.pdf_utils.generic import DictionaryObject, StreamObject
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader

from signing.errors import ReceiptRefused
from signing.isolation import TIME_LIMIT, limit_this_process
from signing.signers import BROKEN

FILE_LIMIT = 20 * 1024**2  # bytes, of the PDF and of what it encloses
_FILES, _DEPTH = 32, 4


def enclosed(path: Path) -> dict[str, bytes]:
    """Name → bytes. Raises ReceiptRefused for what is no PDF, or cannot be read within limits."""
    home = str(Path(__file__).resolve().parents[1])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "signing.enclosed", str(path.absolute())],
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
            cwd=home,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": home},
        )
    except subprocess.TimeoutExpired as slow:
        raise ReceiptRefused("La lecture de ce PDF a dépassé le temps permis.") from slow
    if done.returncode != 0:
        raise ReceiptRefused("Ce PDF ne se lit pas, ou joint deux fichiers du même nom.")
    return {name: base64.b64decode(data) for name, data in json.loads(done.stdout).items()}


def _rows(node: DictionaryObject, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The pairs of a name tree (ISO 32000-2 §7.9.6)."""
    if depth > _DEPTH:
        raise ValueError
    if "/Names" in node:
        names = node["/Names"]
        for at in range(0, len(names) - 1, 2):
            yield str(names[at]), names[at + 1]
    if "/Kids" in node:
        for child in node["/Kids"]:
            yield from _rows(child.get_object(), depth + 1)


def _read(path: Path) -> dict[str, bytes]:
    """Raises ValueError for two files of one name: which is meant is then anybody's guess."""
    found: dict[str, bytes] = {}
    left = FILE_LIMIT
    with path.open("rb") as file:
        for _, spec in _rows(PdfFileReader(file).root["/Names"]["/EmbeddedFiles"]):
            row = spec.get_object()
            name, held = str(row["/UF"] if "/UF" in row else row["/F"]), row["/EF"]["/F"].get_object()
            if not isinstance(held, StreamObject) or name in found or len(found) >= _FILES:
                raise ValueError
            found[name] = held.data
            left -= len(found[name])
            if left < 0:
                raise ValueError
    return found


def main(arguments: list[str]) -> int:
    """The subprocess: limits first, then parse."""
    limit_this_process()
    path = Path(arguments[0])
    if path.stat().st_size > FILE_LIMIT:
        return 1
    try:
        files = _read(path)
    except (*BROKEN, PdfError, OSError):
        return 1
    sys.stdout.write(json.dumps({name: base64.b64encode(data).decode() for name, data in files.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
