"""Judge bytes as a file, with a test's own authorities."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from signing.report import Report
from signing.trust import Trust
from signing.validation import validate
from tests.signing.authority import NOW


def judge(
    data: bytes,
    folder: Path,
    trust: Sequence[bytes] | Trust,
    *,
    at: datetime = NOW,
    name: str = "document.bin",
    detached: Mapping[str, bytes] | None = None,
) -> Report:
    path = folder / "signed" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    others = []
    for other, content in (detached or {}).items():
        others.append(folder / other)
        others[-1].write_bytes(content)
    return validate(path, at=at, trust=trust, detached=others)


def verdict(report: Report) -> tuple[str, str]:
    """(indication, sub-indication) of the worst signature, or of the file."""
    for each in report.signatures:
        if each.indication == report.indication:
            return each.indication, each.sub_indication
    return report.indication, ""
