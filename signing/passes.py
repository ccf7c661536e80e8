"""A pass: what the platform signs so that its backup channel believes it without asking.

>>> signer = Signer("plateforme.example/secours", bytes(32))
>>> now = datetime(2026, 1, 1, tzinfo=UTC)
>>> text = issue(signer, "bidder", {"user": "42"}, now=now, lasts=timedelta(days=1))
>>> read(text, signer.verifier_key, "bidder", now=now)["user"]
'42'
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from signing.errors import PassRefused, ProofRefused
from signing.notes import Signer, verify_note

PREFIX = "pass1."
_VERSION = "pass/1"
_SKEW = timedelta(minutes=5)  # between the clocks of the two machines


def issue(signer: Signer, kind: str, facts: Mapping[str, object], *, now: datetime, lasts: timedelta) -> str:
    """A pass of this kind over these facts: a C2SP signed note, in base64url, valid until `now` + `lasts`."""
    said = {
        "v": _VERSION,
        "kind": kind,
        "issued": now.astimezone(UTC).isoformat(timespec="seconds"),
        "expires": (now + lasts).astimezone(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    text = json.dumps(said, ensure_ascii=True, sort_keys=True, separators=(",", ":")) + "\n"
    return PREFIX + base64.urlsafe_b64encode(signer.sign(text).encode()).decode()


def read(text: str, verifier_key: str, kind: str, *, now: datetime) -> dict[str, object]:
    """The facts of a pass of this kind, signed by this key and valid at `now`. Raises PassRefused."""
    if not text.startswith(PREFIX):
        raise PassRefused("Ce n'est pas un laissez-passer.")
    try:
        note = base64.b64decode(text.removeprefix(PREFIX), altchars=b"-_", validate=True).decode()
        said = json.loads(verify_note(note, verifier_key))
        issued, expires = (datetime.fromisoformat(said[name]) for name in ("issued", "expires"))
        known = (said["v"], said["kind"]) == (_VERSION, kind)
    except (ProofRefused, binascii.Error, ValueError, KeyError, TypeError, RecursionError) as bad:
        raise PassRefused("Ce laissez-passer n'est pas signé par la plateforme.") from bad
    if not known:
        raise PassRefused("Ce laissez-passer sert à autre chose.")
    if not issued - _SKEW <= now <= expires:
        raise PassRefused("Ce laissez-passer a expiré.")
    return dict(said)
