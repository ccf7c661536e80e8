"""A report on signatures kept for years: tokens over it, each over the former one before that one weakens.

The statement that a token is over is canonical JSON: the file's SHA-256, the SHA-256 of the report with its
evidence, and the SHA-256 of the token before (RFC 4998 §5.2 in substance: a renewal covers what it renews).
"""

import base64
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from signing.errors import SignatureRefused, TimestampRefused
from signing.report import Report, read_report
from signing.timestamps import Token, verify_token

VERSION = "preserved-report/1"
_LIMIT = 64 * 1024**2  # bytes


def statement(*, sha256: str, report: Mapping[str, object], previous: bytes | None) -> bytes:
    """What is timestamped; `previous` is the former token's response (DER)."""
    said = {
        "v": VERSION,
        "file": sha256,
        "report": hashlib.sha256(_canonical(report)).hexdigest(),
        "previous": hashlib.sha256(previous).hexdigest() if previous is not None else None,
    }
    return _canonical(said)


@dataclass(frozen=True)
class Kept:
    """A preserved report as it was downloaded."""

    sha256: str
    said: Mapping[str, object]
    responses: tuple[bytes, ...]

    @property
    def report(self) -> Report:
        return read_report(self.said)

    def verify(self, ca_pem: bytes, *, now: datetime | None = None) -> list[Token]:
        """Each token, the first first; `now` is the present where none is given.

        They say since when the report is unchanged, never who made it. Raises TimestampRefused for none, one
        that does not verify, one renewed too late, or times that do not grow; and for a last one whose
        authority expired since: whoever has its key by now dates what they like (RFC 4998 §5.3).
        """
        if not self.responses:
            raise TimestampRefused("Ce rapport ne porte aucun jeton.")
        before = [None, *self.responses[:-1]]
        said = [statement(sha256=self.sha256, report=self.said, previous=each) for each in before]
        digests = [hashlib.sha256(each).digest() for each in said]
        pairs = list(zip(self.responses, digests, strict=True))
        found = [verify_token(each, digest=digest, ca_pem=ca_pem) for each, digest in pairs]
        times = [each.gen_time for each in found]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise TimestampRefused("Les jetons de ce rapport ne se suivent pas dans le temps.")
        for (each, digest), renewed in zip(pairs, times[1:], strict=False):
            verify_token(each, digest=digest, ca_pem=ca_pem, until=renewed)
        try:
            verify_token(
                self.responses[-1], digest=digests[-1], ca_pem=ca_pem, until=now or datetime.now(UTC)
            )
        except TimestampRefused as late:
            raise TimestampRefused(
                "Le dernier jeton de ce rapport n'a pas été renouvelé à temps : le certificat de son "
                "autorité n'est plus valide, et ce jeton ne prouve plus l'heure."
            ) from late
        return found


def read_kept(path: Path) -> Kept:
    """Raises SignatureRefused for what is not a preserved report, OSError."""
    if path.stat().st_size > _LIMIT:
        raise SignatureRefused("Ce rapport est trop long.")
    try:
        data = json.loads(path.read_bytes())
        if data["v"] != VERSION or not isinstance(data["report"], dict):
            raise ValueError("version")
        responses = tuple(base64.b64decode(each["response"], validate=True) for each in data["tokens"])
        if datetime.fromisoformat(str(data["report"].get("at", ""))).tzinfo is None:
            raise ValueError("at")
        return Kept(str(data["file"]["sha256"]), data["report"], responses)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as bad:
        raise SignatureRefused("Ce fichier n'est pas un rapport de signatures conservé.") from bad


def _canonical(value: Mapping[str, object]) -> bytes:
    """Sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode(errors="surrogatepass")
