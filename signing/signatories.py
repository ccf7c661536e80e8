"""Who signs: a PKCS#12 file or a PKCS#11 card, and the timestamp authority that witnesses it."""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from asn1crypto import tsp, x509
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.signers import Signer, SimpleSigner
from pyhanko.sign.timestamps import TimeStamper

from signing.authority import Response
from signing.cards import open_card
from signing.chain import may_sign
from signing.errors import SignatureRefused, TimestampRefused
from signing.timestamps import verify_token

_TOKEN_LIMIT = 1024 * 1024  # bytes
_TIMEOUT = 10.0  # seconds
_CLOCKS = timedelta(days=1)  # a company's clock may be wrong: only what is no hour of today is refused


class HttpStamper(TimeStamper):
    """A timestamp authority at an address (RFC 3161 §3.4).

    Its token is over what was asked, and really signed: no file is called stamped for another one. Whose it
    is, only whoever judges the file with authorities of their own can tell.
    """

    def __init__(self, url: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._url = url

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        headers = {"Content-Type": "application/timestamp-query"}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
                answer = await client.post(self._url, content=req.dump(), headers=headers)
            answer.raise_for_status()
            if len(answer.content) > _TOKEN_LIMIT:
                raise TimestampRefused("La réponse de l'autorité d'horodatage est trop longue.")
            return _granted(answer.content, req)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError, KeyError) as failed:
            raise TimestampRefused(
                f"L'autorité d'horodatage n'a pas répondu comme prévu ({type(failed).__name__})."
            ) from failed


def _granted(data: bytes, request: tsp.TimeStampReq) -> tsp.TimeStampResp:
    """The response, once its token is verified. Raises TimestampRefused, ValueError."""
    response = Response.load(data, strict=True)
    status = response["status"]["status"].native
    if status not in ("granted", "granted_with_mods"):
        why = " ; ".join(response["status"]["status_string"].native or []) or status
        raise TimestampRefused(f"L'autorité d'horodatage a refusé : {why}.")
    token = response["time_stamp_token"]
    carried = token["content"]["certificates"] if token.native else ()
    if not carried:
        raise TimestampRefused("L'autorité d'horodatage a donné un jeton sans son certificat.")
    # Each certificate carried is taken at its word.
    anchors = "".join(ssl.DER_cert_to_PEM_cert(each.chosen.dump()) for each in carried)
    digest, nonce = request["message_imprint"]["hashed_message"].native, request["nonce"].native
    said = verify_token(data, digest=digest, ca_pem=anchors.encode(), nonce=nonce)
    if abs(said.gen_time - datetime.now(UTC)) > _CLOCKS:
        raise TimestampRefused(
            f"L'autorité d'horodatage dit {said.gen_time:%d/%m/%Y}, qui n'est pas la date de cet ordinateur."
        )
    return tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token})


def from_pkcs12(data: bytes, passphrase: str, *, chain: Sequence[x509.Certificate] = ()) -> Signer:
    """The signatory of a PKCS#12 file. Raises SignatureRefused for a wrong passphrase or another file."""
    try:
        signer: Signer = SimpleSigner.load_pkcs12_data(data, list(chain), passphrase.encode() or None)
        return signer
    except (ValueError, TypeError, PyhankoSigningError) as refused:
        raise SignatureRefused(
            "Ce fichier PKCS#12 ne s'ouvre pas : mot de passe faux, ou autre fichier."
        ) from refused


@contextmanager
def from_card(
    module: Path, pin: str, *, label: str = "", chain: Sequence[x509.Certificate] = ()
) -> Iterator[Signer]:
    """The signatory of a card, while it is open. Raises SignatureRefused, ProtectorRefused."""
    from pkcs11 import Attribute, ObjectClass
    from pyhanko.sign.pkcs11 import PKCS11Signer

    with open_card(module, pin, label) as session:
        found: list[tuple[x509.Certificate, bytes]] = []
        for each in session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE}):
            certificate = x509.Certificate.load(bytes(each[Attribute.VALUE]))
            if may_sign(certificate) and not certificate.ca:
                found.append((certificate, bytes(each[Attribute.ID])))
        # A card often has a certificate to authenticate and another one to sign: the latter commits.
        found.sort(key=lambda each: "non_repudiation" not in _usages(each[0]))
        if not found:
            raise SignatureRefused("Cette carte n'a pas de certificat qui permette de signer.")
        certificate, identifier = found[0]
        signer = PKCS11Signer(
            session,
            signing_cert=certificate,
            key_id=identifier,
            ca_chain=list(chain),
            other_certs_to_pull=(),
            use_raw_mechanism=certificate.public_key.algorithm == "ec",  # few cards hash for ECDSA
        )
        yield signer


def _usages(certificate: x509.Certificate) -> set[str]:
    value = certificate.key_usage_value
    return set(value.native) if value is not None else set()
