"""A report on people's signatures, in the words of ETSI EN 319 102-1: "don't know" is an answer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

PASSED, FAILED, INDETERMINATE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
LABELS = {PASSED: "valide", FAILED: "non valide", INDETERMINATE: "indéterminée"}
# What each verdict means for the committee, which alone decides.
MEANINGS = {
    PASSED: "Le document est celui que cette personne a signé, avec un certificat reconnu et valide à la "
    "date prouvée.",
    FAILED: "La preuve est faite que cette signature ne vaut pas pour ce document. La commission décide de "
    "la suite, après avoir demandé au besoin une explication à l'entreprise.",
    INDETERMINATE: "Rien ne prouve que cette signature soit fausse, mais il manque de quoi l'affirmer "
    "valide. La commission apprécie, ou demande une pièce complémentaire.",
}
_COVERAGES = {"whole": "document entier", "partial": "une partie du document", "unclear": "incertaine"}


# The parts of a certificate's name, as asn1crypto writes them.
_PARTS = {
    "Common Name": "nom",
    "Organization": "organisation",
    "Organizational Unit": "service",
    "Organization Identifier": "identifiant",
    "Country": "pays",
    "Locality": "ville",
    "State/Province": "région",
    "Serial Number": "numéro",
    "Given Name": "prénom",
    "Surname": "nom de famille",
    "Email Address": "courriel",
    "Title": "titre",
}
_PART = re.compile("(^|, )(" + "|".join(map(re.escape, _PARTS)) + "): ")


def in_french(name: str) -> str:
    """A certificate's name with the labels of its parts in French."""
    return _PART.sub(lambda found: f"{found[1]}{_PARTS[found[2]]} : ", name)


def _moment(text: str) -> str:
    """« 26/11/2026 à 02:43:05 UTC »; what is no instant is left as it is: a signatory may have written it."""
    try:
        said = datetime.fromisoformat(text)
        return f"{said.astimezone(UTC):%d/%m/%Y à %H:%M:%S} UTC" if said.tzinfo else text
    except (ValueError, OverflowError):
        return text


@dataclass(frozen=True)
class SignatureReport:
    """One signature. `coverage` is whole, partial or unclear; times are ISO 8601 UTC or the empty string.

    Fields after `reason` came later: a stored report may lack them.
    """

    indication: str
    sub_indication: str
    signer: str
    issuer: str
    serial: str
    format: str
    signing_time: str
    coverage: str
    reason: str
    level: str = ""  # B-B, B-T, B-LT, B-LTA, or empty outside the baseline profiles
    role: str = "signature"  # or counter-signature
    certificate: str = ""  # category, in French
    qualified: bool | None = None  # None where no trusted list was there to say so
    qscd: bool | None = None
    existence: str = ""  # best proof of existence
    existence_by: str = ""  # who gives it, in French
    covers: tuple[str, ...] = ()  # names of what is signed
    revocation: str = ""
    trusted_list: str = ""
    algorithms: str = ""
    weak: bool = False
    meaning: str = ""
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) in French, for a person to read; nothing empty."""
        verdict = LABELS[self.indication] + (f" ({self.sub_indication})" if self.sub_indication else "")
        pairs = [
            ("Verdict", verdict),
            ("Raison", self.reason),
            ("Pour la commission", self.meaning),
            ("Signataire", in_french(self.signer)),
            ("Autorité", in_french(self.issuer)),
            ("Certificat", self.certificate),
            ("Numéro de série", self.serial),
            ("Format", " ".join(filter(None, (self.format, self.level)))),
            ("Date annoncée par le signataire", _moment(self.signing_time)),
            (
                "Existence prouvée",
                f"{_moment(self.existence)} ({self.existence_by})" if self.existence else "",
            ),
            ("Étendue", _COVERAGES[self.coverage] if self.coverage else ""),
            ("Porte sur", ", ".join(self.covers)),
            ("Révocation", self.revocation),
            ("Liste de confiance", self.trusted_list),
            ("Algorithmes", self.algorithms + (" (trop faibles)" if self.weak else "")),
            *(("Attention", each) for each in self.warnings),
        ]
        return [(label, value) for label, value in pairs if value]


@dataclass(frozen=True)
class Evidence:
    """What a verdict rested on, kept so that it is computed again offline: `data` is base64 of DER or XML."""

    kind: str  # anchor, certificate, crl, ocsp, list
    sha256: str
    data: str = ""  # empty when too long to be kept here: `sha256` names it


@dataclass(frozen=True)
class Report:
    """All signatures of a file; `indication` is the worst of them, or the empty string when there is none."""

    indication: str
    signatures: tuple[SignatureReport, ...]
    reason: str
    at: str = ""  # the time given as proof of existence
    evidence: tuple[Evidence, ...] = ()

    @property
    def has_signature(self) -> bool:
        return bool(self.signatures)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def none_found(reason: str) -> Report:
    return Report("", (), reason)


def unreadable(reason: str) -> Report:
    """A file that cannot be judged: INDETERMINATE, which never rejects a bid."""
    return Report(INDETERMINATE, (), reason)


def worst(signatures: Sequence[SignatureReport]) -> str:
    """TOTAL_FAILED, else INDETERMINATE, else TOTAL_PASSED; the empty string for none."""
    found = {signature.indication for signature in signatures}
    return next((each for each in (FAILED, INDETERMINATE, PASSED) if each in found), "")


def read_report(data: Mapping[str, object]) -> Report:
    """A report stored by any version: fields that it lacks keep their default, unknown ones are ignored."""
    signatures = tuple(
        SignatureReport(**_known(SignatureReport, each))  # type: ignore[arg-type]
        for each in _rows(data, "signatures")
    )
    evidence = tuple(
        Evidence(**_known(Evidence, each))  # type: ignore[arg-type]
        for each in _rows(data, "evidence")
    )
    texts = {name: str(data.get(name) or "") for name in ("indication", "reason", "at")}
    return Report(texts["indication"], signatures, texts["reason"], texts["at"], evidence)


def _rows(data: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    found = data.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list | tuple) else []


def _known(kind: type[SignatureReport | Evidence], row: Mapping[str, object]) -> dict[str, object]:
    names = {each.name for each in fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name in names
    }
