"""Revocation data that its issuer really signed: nothing else may say how fresh an answer is.

The path validator verifies what it uses; what is set aside before it is verified here, against the
authorities of the path that it found.
"""

from collections.abc import Iterator, Sequence

from asn1crypto import crl, ocsp, x509
from cryptography import x509 as pyca
from cryptography.exceptions import InvalidSignature

from signing.algorithms import hash_weakness, key_weakness, signed_hash
from signing.once import ONCE, same_name
from signing.signers import BROKEN

_NO = (*BROKEN, InvalidSignature)  # of which those of an algorithm that is not computed are
_MAX_DELEGATES = 5
_MAX_LISTERS, _MAX_TRIES = 5, 500  # other keys of a path, and signatures verified to find them
_SIGNING = {"digital_signature", "non_repudiation"}


def of_lists(
    lists: Sequence[crl.CertificateList], issuers: Sequence[x509.Certificate]
) -> list[crl.CertificateList]:
    """Those signed by one of these authorities, under its own name."""
    return [each for each in lists if any(_signed_list(each, issuer) for issuer in issuers)]


def other_listers(
    lists: Sequence[crl.CertificateList],
    path: Sequence[x509.Certificate],
    others: Sequence[x509.Certificate],
) -> list[x509.Certificate]:
    """Those of `others` that signed one of these lists, and may for this path (RFC 5280 §6.3.3).

    Another key of one of its authorities, or who a certificate of it names as telling of its revocation in
    an indirect list. Who vouches for them is not asked here.
    """
    telling = [each for each in lists if _tells_of(each, path)]
    if not telling:
        return []
    known, found, left = {each.dump() for each in path}, dict[bytes, x509.Certificate](), _MAX_TRIES
    for each in others:
        usage = each.key_usage_value
        if usage is None or "crl_sign" not in usage.native or each.dump() in known:
            continue
        named = [one for one in telling if same_name(one.issuer, each.subject)][:left]
        left -= len(named)
        if len(found) < _MAX_LISTERS and any(_signed_list(one, each) for one in named):
            found[each.dump()] = each
    return list(found.values())


def _tells_of(each: crl.CertificateList, path: Sequence[x509.Certificate]) -> bool:
    try:
        return any(tells_of(each, below) for below in path[1:])
    except _NO:
        return False


def tells_of(each: crl.CertificateList, below: x509.Certificate) -> bool:
    """Whether a list is in the name of a certificate's authority, or of who it says will tell."""
    if same_name(each.issuer, below.issuer):
        return True
    limits, points = each.issuing_distribution_point_value, below.crl_distribution_points_value
    if limits is None or not limits["indirect_crl"].native or points is None:
        return False
    named = [name for point in points if point["crl_issuer"].native for name in point["crl_issuer"]]
    return any(name.name == "directory_name" and same_name(name.chosen, each.issuer) for name in named)


def of_responses(
    responses: Sequence[ocsp.OCSPResponse], issuers: Sequence[x509.Certificate]
) -> list[ocsp.OCSPResponse]:
    """Those signed by one of these authorities, or by a responder of one, valid then (RFC 6960 §4.2.2.2)."""
    return [each for each in responses if any(responder_of(each, issuer) for issuer in issuers)]


def _signed_list(each: crl.CertificateList, issuer: x509.Certificate) -> bool:
    try:
        body = each["tbs_cert_list"]
        return same_name(body["issuer"], issuer.subject) and _verifies(each, body, issuer)
    except _NO:
        return False


def responder_of(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> x509.Certificate | None:
    """Who signed: the authority itself, or a responder that it named, valid then; None for anybody else."""
    try:
        basic = response.basic_ocsp_response
        signers = list(_responders(basic, issuer))
        return next((each for each in signers if _verifies(basic, basic["tbs_response_data"], each)), None)
    except _NO:
        return None


def _verifies(
    whole: crl.CertificateList | ocsp.BasicOCSPResponse,
    body: crl.TbsCertList | ocsp.ResponseData,
    signer: x509.Certificate,
) -> bool:
    """Whether this certificate signed it, by algorithms that still prove something.

    Its key may be of another kind than the signature's.
    """
    digest = signed_hash(whole["signature_algorithm"], "")
    if (digest and hash_weakness(digest)) or key_weakness(signer.public_key):
        return False
    try:
        ONCE.validate_signature(
            whole["signature"].native, body.dump(), signer.public_key, whole["signature_algorithm"]
        )
    except _NO:
        return False
    return True


def _responders(basic: ocsp.BasicOCSPResponse, issuer: x509.Certificate) -> Iterator[x509.Certificate]:
    yield issuer
    above = pyca.load_der_x509_certificate(issuer.dump())
    produced = basic["tbs_response_data"]["produced_at"].native
    for each in list(basic["certs"] or [])[:_MAX_DELEGATES]:
        usage, key = each.extended_key_usage_value, each.key_usage_value
        if usage is None or "ocsp_signing" not in usage.native:
            continue
        if key is not None and not _SIGNING & set(key.native):
            continue
        if not each.not_valid_before <= produced <= each.not_valid_after or hash_weakness(each.hash_algo):
            continue
        try:
            pyca.load_der_x509_certificate(each.dump()).verify_directly_issued_by(above)
        except _NO:
            continue
        yield each
