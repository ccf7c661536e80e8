"""A report on people's signatures, in the words of ETSI EN 319 102-1: "don't know" is an answer."""

from dataclasses import asdict, dataclass

PASSED, FAILED, INDETERMINATE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
LABELS = {PASSED: "valide", FAILED: "non valide", INDETERMINATE: "indéterminée"}


@dataclass(frozen=True)
class SignatureReport:
    """One signature. `coverage` is whole, partial or unclear; times are ISO 8601 UTC or the empty string."""

    indication: str
    sub_indication: str
    signer: str
    issuer: str
    serial: str
    format: str
    signing_time: str
    coverage: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All signatures of a file; `indication` is the worst of them, or the empty string when there is none."""

    indication: str
    signatures: tuple[SignatureReport, ...]
    reason: str

    @property
    def has_signature(self) -> bool:
        return bool(self.signatures)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def worst(signatures: tuple[SignatureReport, ...]) -> str:
    """TOTAL_FAILED, else INDETERMINATE, else TOTAL_PASSED; the empty string for none."""
    found = {signature.indication for signature in signatures}
    return next((each for each in (FAILED, INDETERMINATE, PASSED) if each in found), "")
