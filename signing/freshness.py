"""Among revocation data, what a newer answer contradicts is left out: an old « good » hides nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime

from asn1crypto import crl, ocsp, x509

from signing.authentic import tells_of

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def freshest(
    crls: Sequence[crl.CertificateList], ocsps: Sequence[ocsp.OCSPResponse]
) -> tuple[list[crl.CertificateList], list[ocsp.OCSPResponse]]:
    """The last response for each certificate, and none that a list issued since calls revoked.

    Nothing is verified here: give it what its issuer signed (`signing.authentic`), or a forged answer of
    tomorrow displaces a true one. Unreadable ones are left out.
    """
    lists = [each for each in crls if when_issued(each) is not None]
    # A list names its issuer, a response only its digest: the serial number is enough to be careful.
    revoked: dict[int, datetime] = {}
    for each in lists:
        issued = when_issued(each) or _LONG_AGO
        rows = each["tbs_cert_list"]["revoked_certificates"]
        for row in rows if rows.native is not None else ():
            serial = int(row["user_certificate"].native)
            revoked[serial] = max(issued, revoked.get(serial, _LONG_AGO))
    last: dict[bytes, tuple[datetime, ocsp.OCSPResponse]] = {}
    for response in ocsps:
        said = _said(response)
        if said is None:
            continue
        identifier, serial, moment = said
        if revoked.get(serial, _LONG_AGO) >= moment:
            continue
        if identifier not in last or moment > last[identifier][0]:
            last[identifier] = (moment, response)
    return lists, [response for _, response in last.values()]


def told_at(
    certificate: x509.Certificate, crls: Sequence[crl.CertificateList], ocsps: Sequence[ocsp.OCSPResponse]
) -> datetime | None:
    """When the last answer about this certificate was issued; None for none."""
    moments = [when_issued(each) for each in crls if tells_of(each, certificate)]
    for response in ocsps:
        said = _said(response)
        if said is not None and said[1] == certificate.serial_number:
            moments.append(said[2])
    return max((each for each in moments if each is not None), default=None)


def when_issued(each: crl.CertificateList) -> datetime | None:
    """None for a list that does not say it."""
    try:
        moment = each["tbs_cert_list"]["this_update"].native
        return moment if isinstance(moment, datetime) else None
    except (ValueError, TypeError, KeyError):
        return None


def _said(response: ocsp.OCSPResponse) -> tuple[bytes, int, datetime] | None:
    """(certificate identifier, serial number, time) of a response about one certificate."""
    try:
        (single,) = response.response_data["responses"]
        identifier, moment = single["cert_id"], single["this_update"].native
        return identifier.dump(), int(identifier["serial_number"].native), moment
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
