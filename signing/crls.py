"""A revocation list signed by a trusted authority that is not a root, as those of the trusted lists are.

The path validator wants a path to the list's issuer and finds none when that issuer is itself the anchor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import crl, x509
from cryptography import x509 as pyca

from signing.algorithms import hash_weakness
from signing.signers import BROKEN

# Anything else in a list may restrict what it speaks of: it is then left to the path validator alone.
_KNOWN = {"crl_number", "authority_key_identifier"}


@dataclass(frozen=True)
class Standing:
    """What a list says of a certificate; `revoked` is None for one that it does not hold."""

    used: crl.CertificateList
    revoked: datetime | None = None


def standing(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[crl.CertificateList],
    at: datetime,
) -> Standing | None:
    """By the latest complete list of this very issuer that is good at `at`; None without one."""
    found = [each for each in lists if _is_good(each, issuer, at)]
    if not found:
        return None
    latest = max(found, key=lambda each: each["tbs_cert_list"]["this_update"].native)
    rows = latest["tbs_cert_list"]["revoked_certificates"]
    for row in rows if rows.native is not None else ():
        if row["user_certificate"].native == certificate.serial_number:
            when: datetime = row["revocation_date"].native
            return Standing(latest, when if when <= at else None)
    return Standing(latest)


def _is_good(each: crl.CertificateList, issuer: x509.Certificate, at: datetime) -> bool:
    try:
        body = each["tbs_cert_list"]
        if body["issuer"] != issuer.subject or issuer.key_usage_value is None:
            return False
        if "crl_sign" not in issuer.key_usage_value.native:
            return False
        extensions = {row["extn_id"].native for row in body["crl_extensions"]}
        until = body["next_update"].native
        if extensions - _KNOWN or until is None or until < at:
            return False
        loaded = pyca.load_der_x509_crl(each.dump())
        digest = loaded.signature_hash_algorithm
        if digest is not None and hash_weakness(digest.name.replace("-", "_")):
            return False
        key = pyca.load_der_x509_certificate(issuer.dump()).public_key()
        return bool(loaded.is_signature_valid(key))  # type: ignore[arg-type]  # refused by type below
    except BROKEN:
        return False
