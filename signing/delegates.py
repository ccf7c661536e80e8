"""Answers of responders to whom an authority gave its voice (RFC 6960 §4.2.2.2), often for a few weeks only.

The path validator wants their certificates valid at the time that is judged, and not revoked; but who answers
today for a signature of last month was named since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import crl, ocsp, x509

from signing.authentic import responder_of
from signing.told import Told, last_told


@dataclass(frozen=True)
class Heard:
    """Whether an answer says at a time that a certificate is good; else, of whom one must ask first."""

    good: bool
    ask: x509.Certificate | None = None


def heard(
    said: Told | None,
    below: x509.Certificate,
    above: x509.Certificate,
    lists: Sequence[crl.CertificateList],
    responses: Sequence[ocsp.OCSPResponse],
    *,
    at: datetime,
) -> Heard:
    """What was `said` last of `below`, whose authority is `above`. A list is good as it is."""
    if said is None or not said.is_good_at(at) or said.at > below.not_valid_after:
        return Heard(good=False)
    if isinstance(said.by, crl.CertificateList):
        return Heard(good=_signs_lists(above))
    responder = responder_of(said.by, above)
    if responder is None:
        return Heard(good=False)
    if (
        responder.dump() == above.dump()
        or responder.ocsp_no_check_value is not None
        or not declares(responder)
    ):
        return Heard(good=True)  # declaring nothing leaves it to who relies on it: within its validity
    produced = said.by.response_data["produced_at"].native
    own = [each for each in responses if _is_own(each, above)]
    known = last_told(responder, above, lists, own)
    trusted = known is not None and (known.is_good_at(produced) or _revoked_after(known, produced))
    return Heard(trusted, None if trusted else responder)


def declares(certificate: x509.Certificate) -> bool:
    """Whether it says where its revocation is told."""
    return bool(certificate.ocsp_urls) or certificate.crl_distribution_points_value is not None


def _is_own(response: ocsp.OCSPResponse, above: x509.Certificate) -> bool:
    """Whether the authority itself signed it: no responder speaks of itself."""
    signer = responder_of(response, above)
    return signer is not None and signer.dump() == above.dump()


def _revoked_after(known: Told, produced: datetime) -> bool:
    return known.revoked is not None and known.revoked > produced


def _signs_lists(above: x509.Certificate) -> bool:
    usage = above.key_usage_value
    return usage is not None and "crl_sign" in usage.native
