"""Answers of responders to whom an authority gave its voice (RFC 6960 §4.2.2.2), often for a few weeks only.

The path validator wants their certificates valid at the time that is judged, and not revoked; but who answers
today for a signature of last month was named since. One that its authority revoked is believed of what is
judged before, unless its key may have been stolen: one never knows since when.
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
    if responder.dump() == above.dump():
        return Heard(good=True)
    known, when = _known(responder, above, lists, responses), _when(said.by, at)
    if known is not None and known.revoked is not None:
        trusted = _retired_after(known, when)
    elif responder.ocsp_no_check_value is not None or not declares(responder):
        trusted = True  # declaring nothing leaves it to who relies on it: within its validity
    else:
        trusted = known is not None and known.is_good_at(when)
    return Heard(trusted, None if trusted or not declares(responder) else responder)


def is_disowned(
    response: ocsp.OCSPResponse,
    authorities: Sequence[x509.Certificate],
    lists: Sequence[crl.CertificateList],
    responses: Sequence[ocsp.OCSPResponse],
    *,
    at: datetime,
) -> bool:
    """Whether who answers was revoked by the one of these authorities that had given it its voice."""
    for above in authorities:
        responder = responder_of(response, above)
        if responder is not None and responder.dump() != above.dump():
            known = _known(responder, above, lists, responses)
            when = _when(response, at)
            return known is not None and known.revoked is not None and not _retired_after(known, when)
    return False


def declares(certificate: x509.Certificate) -> bool:
    """Whether it says where its revocation is told."""
    return bool(certificate.ocsp_urls) or certificate.crl_distribution_points_value is not None


def _known(
    responder: x509.Certificate,
    above: x509.Certificate,
    lists: Sequence[crl.CertificateList],
    responses: Sequence[ocsp.OCSPResponse],
) -> Told | None:
    return last_told(responder, above, lists, [each for each in responses if _is_own(each, above)])


def _when(response: ocsp.OCSPResponse, at: datetime) -> datetime:
    """When its responder must be good: its own word, which who stole its key writes too, is not enough."""
    produced: datetime = response.response_data["produced_at"].native
    return max(at, produced)


def _is_own(response: ocsp.OCSPResponse, above: x509.Certificate) -> bool:
    """Whether the authority itself signed it: no responder speaks of itself."""
    signer = responder_of(response, above)
    return signer is not None and signer.dump() == above.dump()


def _retired_after(known: Told, at: datetime) -> bool:
    """Whether it still answered then: never one whose key may have been stolen before it was revoked."""
    return known.retired and known.revoked is not None and known.revoked > at


def _signs_lists(above: x509.Certificate) -> bool:
    usage = above.key_usage_value
    return usage is not None and "crl_sign" in usage.native
