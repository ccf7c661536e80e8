"""What an authority said last of a certificate below it, by a list or by a response, fresh or not.

A revocation that it signed is heard before one asks whether the answer is still fresh (EN 319 102-1 §5.2.6).
A suspension ends when it says later that the certificate is good; nothing ends any other (RFC 5280 §5.3.1).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from asn1crypto import crl, ocsp, x509

from signing.authentic import of_lists, of_responses
from signing.once import same_name

# Anything else in a list may restrict what it speaks of: it then proves no certificate good.
_KNOWN = {"crl_number", "authority_key_identifier"}
_HASHES = {"sha1", "sha224", "sha256", "sha384", "sha512"}
# Of any other, or of none that is told, the key may have been in other hands before (RFC 5280 §5.3.1).
_RETIRED = {"affiliation_changed", "superseded", "cessation_of_operation"}
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True)
class Told:
    """When it was said, by what, and since when the certificate is revoked; None for one that is good.

    `until`: when it will be said again. `held`: suspended, which may end. `unknown`: neither revoked nor
    good, the authority does not know it. `retired`: revoked for a reason that leaves its key in good hands.
    """

    at: datetime
    by: crl.CertificateList | ocsp.OCSPResponse
    revoked: datetime | None = None
    held: bool = False
    unknown: bool = False
    until: datetime | None = None
    retired: bool = False

    def is_good_at(self, at: datetime) -> bool:
        """Whether it was said after that time, or was still to be believed then (RFC 5280 §5.1.2.5)."""
        fresh = self.at >= at or (self.until is not None and self.until >= at)
        return fresh and self.revoked is None and not self.unknown


def last_told(
    below: x509.Certificate,
    above: x509.Certificate,
    lists: Sequence[crl.CertificateList],
    responses: Sequence[ocsp.OCSPResponse],
    *,
    keys: Sequence[x509.Certificate] = (),
) -> Told | None:
    """The latest that `above`, or a responder of its own, signed about `below`; None when it said nothing.

    A revocation is the last word whatever is said since, and by whichever of its other `keys`.
    """
    found: list[Told] = []
    for each in of_lists(lists, [key for key in keys if same_name(key.subject, above.subject)]):
        try:
            found += [told for told in _of_list(each, below) if told.revoked is not None]
        except _UNREADABLE:
            continue
    for each in of_lists(lists, [above]):
        try:
            found += _of_list(each, below)
        except _UNREADABLE:
            continue
    for response in of_responses(responses, [above]):
        try:
            found += _of_response(response, below, above)
        except _UNREADABLE:
            continue
    ended = [each for each in found if each.revoked is not None and not each.held]
    if ended:
        first = min(ended, key=lambda each: each.revoked or each.at)
        return replace(first, retired=all(each.retired for each in ended))
    heard = [each for each in found if not each.unknown] or found
    return max(heard, key=lambda each: (each.at, each.revoked is not None), default=None)


def _of_list(each: crl.CertificateList, below: x509.Certificate) -> Iterator[Told]:
    body = each["tbs_cert_list"]
    at: datetime = body["this_update"].native
    rows, limits, own = body["revoked_certificates"], each.issuing_distribution_point_value, True
    follows = limits is not None and limits["indirect_crl"].native
    for row in rows if rows.native is not None else ():
        if follows:
            own = _is_of(row.certificate_issuer_value, below, otherwise=own)
        if row["user_certificate"].native == below.serial_number and own and (follows or _is_plain(row)):
            when: datetime = row["revocation_date"].native
            reason = "" if row.crl_reason_value is None else row.crl_reason_value.native
            removed = reason == "remove_from_crl"
            held, retired = reason == "certificate_hold", reason in _RETIRED
            yield Told(at, each, None if removed else when, held=held, retired=retired)
            return
    extensions = {row["extn_id"].native for row in body["crl_extensions"]}
    if not extensions - _KNOWN and at <= below.not_valid_after:
        yield Told(at, each, until=body["next_update"].native)


def _is_plain(row: crl.RevokedCertificate) -> bool:
    """Not an entry about another authority's certificate."""
    return row.certificate_issuer_value is None


def _is_of(names: x509.GeneralNames | None, below: x509.Certificate, *, otherwise: bool) -> bool:
    """Whether an entry of an indirect list is of its authority, the last named (RFC 5280 §5.3.3)."""
    if names is None:
        return otherwise
    return any(each.name == "directory_name" and same_name(each.chosen, below.issuer) for each in names)


def _of_response(
    response: ocsp.OCSPResponse, below: x509.Certificate, above: x509.Certificate
) -> Iterator[Told]:
    for single in response.response_data["responses"]:
        identifier, status = single["cert_id"], single["cert_status"]
        name = identifier["hash_algorithm"]["algorithm"].native
        if identifier["serial_number"].native != below.serial_number or name not in _HASHES:
            continue
        key = hashlib.new(name, bytes(above.public_key["public_key"]), usedforsecurity=False).digest()
        if identifier["issuer_key_hash"].native != key:
            continue
        at: datetime = single["this_update"].native
        if status.name == "revoked":
            said = status.chosen
            reason = said["revocation_reason"].native
            held, retired = reason == "certificate_hold", reason in _RETIRED
            yield Told(at, response, said["revocation_time"].native, held=held, retired=retired)
        elif status.name == "good":
            yield Told(at, response, until=single["next_update"].native)
        else:
            yield Told(at, response, unknown=True)
