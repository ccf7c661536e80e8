"""Ask whether certificates were revoked: only hosts that the trusted lists name, within limits, cached.

Nothing here reads what a bidder sent but the two certificates of a question, whose path was verified first.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from asn1crypto import crl as asn1_crl
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

CERTIFICATE_LIMIT, OCSP_LIMIT, CRL_LIMIT = 64 * 1024, 256 * 1024, 32 * 1024**2  # bytes
MAX_QUESTIONS = 8
_BROKEN = (ValueError, TypeError, UnsupportedAlgorithm)
_TIMEOUT, _BUDGET = 5.0, 15.0  # seconds of a request, of all
_FRESH = timedelta(minutes=10)  # of an answer that does not say until when it is good


@dataclass(frozen=True)
class Wanted:
    """A certificate whose revocation is not known, and its issuer's: DER."""

    certificate: bytes
    issuer: bytes


@dataclass(frozen=True)
class _Question:
    url: str
    body: bytes  # empty for a list, which is only read
    limit: int

    @property
    def key(self) -> str:
        return hashlib.sha256(self.url.encode() + b"\x00" + self.body).hexdigest()


def collect(
    wanted: Sequence[Wanted], *, hosts: frozenset[str], cache: Path | None, now: datetime
) -> list[bytes]:
    """DER responses and lists; none for what nobody allowed answers. Never raises for a silent authority."""
    found = []
    end = monotonic() + _BUDGET
    for each in wanted[:MAX_QUESTIONS]:
        for question in _questions(each, hosts):
            answer = _cached(cache, question, now)
            if answer is None and monotonic() < end:
                answer = _ask(question)
                if answer is not None:
                    _keep(cache, question, answer, now)
            if answer is not None:
                found.append(answer)
                break
    return found


def _questions(wanted: Wanted, hosts: frozenset[str]) -> Iterator[_Question]:
    """OCSP first, then lists, at allowed hosts alone."""
    if max(len(wanted.certificate), len(wanted.issuer)) > CERTIFICATE_LIMIT:
        return
    try:
        certificate = x509.load_der_x509_certificate(wanted.certificate)
        issuer = x509.load_der_x509_certificate(wanted.issuer)
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
        body = builder.build().public_bytes(Encoding.DER)
        addresses = [(url, body, OCSP_LIMIT) for url in _ocsp_urls(certificate)]
        addresses += [(url, b"", CRL_LIMIT) for url in _crl_urls(certificate)]
    except (*_BROKEN, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return
    for url, sent, limit in addresses:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.netloc in hosts:
            yield _Question(url, sent, limit)


def _ocsp_urls(certificate: x509.Certificate) -> list[str]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return [
        each.access_location.value
        for each in access
        if each.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(each.access_location, x509.UniformResourceIdentifier)
    ]


def _crl_urls(certificate: x509.Certificate) -> list[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    names = [name for point in points for name in point.full_name or []]
    return [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]


def _ask(question: _Question) -> bytes | None:
    """No redirection is followed: it would leave the allowed hosts."""
    import httpx  # the process that reads a bidder's file has no use of it

    method = "POST" if question.body else "GET"
    headers = {"Content-Type": "application/ocsp-request"} if question.body else {}
    try:
        with httpx.stream(
            method, question.url, content=question.body, headers=headers, timeout=_TIMEOUT
        ) as answer:
            if answer.status_code != 200:
                return None
            data = b""
            end = monotonic() + _TIMEOUT
            for block in answer.iter_bytes():
                data += block
                if len(data) > question.limit or monotonic() > end:
                    return None
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return data if _until(question, data) is not None else None


def _until(question: _Question, data: bytes) -> datetime | None:
    """Until when an answer is good; None for what is not an answer."""
    try:
        if question.body:
            response = ocsp.load_der_ocsp_response(data)
            if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                return None
            return response.next_update_utc or datetime.now(UTC) + _FRESH
        moment = asn1_crl.CertificateList.load(data, strict=True)["tbs_cert_list"]["next_update"].native
        return moment if isinstance(moment, datetime) else datetime.now(UTC) + _FRESH
    except (ValueError, TypeError, KeyError):
        return None


def _cached(cache: Path | None, question: _Question, now: datetime) -> bytes | None:
    if cache is None:
        return None
    try:
        until = datetime.fromisoformat(json.loads((cache / f"{question.key}.json").read_text())["until"])
        return (cache / f"{question.key}.der").read_bytes() if now < until else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(cache: Path | None, question: _Question, data: bytes, now: datetime) -> None:
    """The answer, then what makes it count: a crash between the two loses nothing."""
    until = _until(question, data)
    if cache is None or until is None:
        return
    cache.mkdir(parents=True, exist_ok=True)
    said = json.dumps({"until": until.isoformat(), "url": question.url, "at": now.isoformat()})
    for name, content in ((f"{question.key}.der", data), (f"{question.key}.json", said.encode())):
        draft = cache / f".{name}.{os.getpid()}"
        draft.write_bytes(content)
        draft.replace(cache / name)
