"""What a line of a register is about, in words: the company, the file, the person, the reason."""

import json
import re
from collections.abc import Iterable, Mapping

from django.template.defaultfilters import floatformat

from dematmp.accounts.models import Organisation, User
from dematmp.audit.models import Entry
from dematmp.audit.registers import OF_THE_COMMITTEE
from dematmp.bids.models import LATE_DECISIONS, Bid
from dematmp.consultations.models import VERDICTS
from dematmp.opening.models import FILE_DECISIONS, OpenedEnvelope

_RECORD_BYTES = 64 * 1024  # above, a record is a document of its own: the line is its title
_CHARS = 300
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Field of a record → what it is called; in the order in which they are told.
_FIELDS = {
    "name": "fichier",
    "reference": "référence",
    "title": "titre",
    "lot": "lot",
    "version": "version",
    "verdict": "verdict",
    "decision": "décision",
    "state": "état",
    "code": "code",
    "amount": "montant",
    "addresses": "destinataires",
    "text": "texte",
    "message": "message",
    "reason": "motif",
    "why": "motif",
}
# Field → what its codes are called; a code that has no word is told as it is.
_CODES: Mapping[str, Mapping[str, str]] = {
    "verdict": VERDICTS,
    "decision": LATE_DECISIONS | FILE_DECISIONS,
    "state": dict(OpenedEnvelope._meta.get_field("state").flatchoices),
}
_COMPANIES, _PEOPLE, _DEPOSITS = ("bidder", "company"), ("by", "account"), ("deposit", "of")


class Words:
    """Names of the companies, people and deposits that some entries name, asked for once."""

    def __init__(self, entries: Iterable[Entry], *, is_held: bool) -> None:
        self._is_held = is_held
        self._records = {entry.index: _record(entry) for entry in entries}
        found: dict[str, set[str]] = {"company": set(), "person": set(), "deposit": set()}
        for record in self._records.values():
            for kind, names in (("company", _COMPANIES), ("person", _PEOPLE), ("deposit", _DEPOSITS)):
                found[kind] |= {str(record[name]) for name in names if record.get(name)}
        self._names: dict[str, str] = {}
        for rows in (
            Organisation.objects.filter(uuid__in=_uuids(found["company"])).order_by("pk"),
            User.objects.filter(uuid__in=_uuids(found["person"])).order_by("pk"),
            Bid.objects.filter(uuid__in=_uuids(found["deposit"])).order_by("pk"),
        ):
            self._names |= {str(row.uuid): str(row) for row in rows}

    def of(self, entry: Entry) -> str:
        """Empty for what is the committee's, when it is read by others."""
        if entry.kind in OF_THE_COMMITTEE and not self._is_held:
            return ""
        record = self._records[entry.index]
        said = [self._names.get(str(record.get(name)), "") for name in (*_COMPANIES, *_DEPOSITS)]
        said += [
            f"{label} : {_told(name, record[name])}"
            for name, label in _FIELDS.items()
            if _is_told(record.get(name))
        ]
        by = next(
            (self._names[str(record[name])] for name in _PEOPLE if str(record.get(name)) in self._names), ""
        )
        told = " ; ".join(dict.fromkeys(each for each in said if each))
        return " ".join(f"{told}{f' (par {by})' if by else ''}".split())[:_CHARS]


def _record(entry: Entry) -> Mapping[str, object]:
    data = bytes(entry.record)
    if len(data) > _RECORD_BYTES:
        return {}
    try:
        record = json.loads(data)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _told(name: str, value: object) -> object:
    if name == "amount":
        return f"{floatformat(value, '2g') or value} €"
    return _CODES.get(name, {}).get(str(value), value)


def _is_told(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _uuids(found: Iterable[str]) -> list[str]:
    return [each for each in sorted(found) if _UUID.fullmatch(each)]
