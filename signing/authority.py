"""The embedded RFC 3161 authority: for demonstrations, tests and last resort. Never called qualified."""

import hashlib
import json
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from filelock import FileLock

from signing.errors import TimestampRefused

REQUEST_LIMIT = 64 * 1024  # bytes
_AHEAD = timedelta(seconds=1)  # the accuracy that tokens say
# Our policy: "time of this platform's clock, accuracy one second, not qualified", under the UUID arc (ITU-T
# X.667).
POLICY = "2.25.311484236197342896154721935827364518"
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


class Response(core.Sequence):  # type: ignore[misc]
    """TimeStampResp of RFC 3161 §2.4.2, whose token is optional (asn1crypto's own class requires it)."""

    _fields = [("status", tsp.PKIStatusInfo), ("time_stamp_token", cms.ContentInfo, {"optional": True})]


class Authority:
    """The embedded authority: P-256, ESSCertIDv2, accuracy one second, monotone across processes."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes, state: Path) -> None:
        """Its certificate, followed by the intermediates if there are any; `state` keeps its clock."""
        self._chain = [
            asn1_x509.Certificate.load(each.public_bytes(Encoding.DER))
            for each in x509.load_pem_x509_certificates(certificate_pem)
        ]
        self._certificate = self._chain[0]
        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TimestampRefused("La clé de l'autorité n'est pas une clé P-256.")
        self._key, self._state = key, state

    def last_given(self) -> datetime | None:
        """The time of its latest token; None before the first, or unreadable (after a power cut)."""
        try:
            last = datetime.fromisoformat(json.loads(self._state.read_text())["last"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return last if last.tzinfo is not None else None

    def is_unreadable(self) -> bool:
        """Whether nobody knows what time it gave last: it gives none until an operator answers for it."""
        return self._state.exists() and self.last_given() is None

    def forget(self) -> None:
        """Begin again from the present, once an operator answered for a clock that had been wrong."""
        with FileLock(f"{self._state}.lock"):
            self._state.unlink(missing_ok=True)

    def _next(self, now: datetime) -> datetime:
        """A time never before nor equal to the last one given by any process sharing the state file."""
        with FileLock(f"{self._state}.lock"):
            last = self.last_given()
            if self.is_unreadable():
                raise TimestampRefused("The clock's state is unreadable")
            last = last or datetime.min.replace(tzinfo=UTC)
            if last - now.astimezone(UTC) > _AHEAD:
                raise TimestampRefused("The clock is behind the last time that was given")
            moment = max(now.astimezone(UTC), last + timedelta(microseconds=1))
            draft = self._state.with_name(f".{self._state.name}.{os.getpid()}")
            with draft.open("w") as file:
                file.write(json.dumps({"last": moment.isoformat()}))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._state)
        return moment

    def respond(self, request_der: bytes, *, now: datetime) -> bytes:
        """DER TimeStampResp: granted, or a rejection that says why. Never raises on a bad request."""
        try:
            request = _parse_request(request_der)
        except TimestampRefused as refused:
            return _rejection(str(refused), "bad_data_format")
        imprint = request["message_imprint"]
        algorithm = imprint["hash_algorithm"]["algorithm"].native
        if algorithm not in HASHES:
            return _rejection("Unsupported hash algorithm", "bad_alg")
        if len(imprint["hashed_message"].native) != HASHES[algorithm].digest_size:
            return _rejection("The imprint has a wrong length", "bad_data_format")
        if request["req_policy"].native not in (None, POLICY):
            return _rejection("Unknown policy", "unaccepted_policy")
        if not isinstance(request["extensions"], core.Void) and len(request["extensions"]):
            return _rejection("No extension is known here", "unaccepted_extensions")  # RFC 3161 §2.4.1
        try:
            moment = self._next(now)
        except TimestampRefused as refused:  # a time that is not the present is never signed
            return _rejection(str(refused), "time_not_available")
        return bytes(
            tsp.TimeStampResp(
                {"status": {"status": "granted"}, "time_stamp_token": self._token(request, moment)}
            ).dump()
        )

    def _token(self, request: tsp.TimeStampReq, moment: datetime) -> cms.ContentInfo:
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": POLICY,
                "message_imprint": request["message_imprint"],
                "serial_number": secrets.randbits(127) | 1,
                "gen_time": moment,
                "accuracy": {"seconds": 1},
                "ordering": False,
            }
        )
        if request["nonce"].native is not None:
            info["nonce"] = request["nonce"]
        content = info.dump()
        certificate_digest = hashlib.sha256(self._certificate.dump()).digest()
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute(
                    {
                        "type": "signing_time",
                        "values": [cms.Time({"utc_time": moment.replace(microsecond=0)})],
                    }
                ),
                cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(content).digest()]}),
                cms.CMSAttribute(
                    {
                        "type": "signing_certificate_v2",
                        "values": [
                            tsp.SigningCertificateV2(
                                {
                                    "certs": [
                                        {
                                            "hash_algorithm": {"algorithm": "sha256"},
                                            "cert_hash": certificate_digest,
                                            "issuer_serial": {
                                                "issuer": [
                                                    asn1_x509.GeneralName(
                                                        "directory_name", self._certificate.issuer
                                                    )
                                                ],
                                                "serial_number": self._certificate.serial_number,
                                            },
                                        }
                                    ]
                                }
                            )
                        ],
                    }
                ),
            ]
        )
        signature = self._key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256()))
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    "issuer_and_serial_number",
                    {"issuer": self._certificate.issuer, "serial_number": self._certificate.serial_number},
                ),
                "digest_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signature": signature,
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha256"})],
                "encap_content_info": {
                    "content_type": "tst_info",
                    "content": core.ParsableOctetString(content),
                },
                "signer_infos": [signer],
            }
        )
        if request["cert_req"].native:
            signed["certificates"] = self._chain
        return cms.ContentInfo({"content_type": "signed_data", "content": signed})


def _parse_request(data: bytes) -> tsp.TimeStampReq:
    if len(data) > REQUEST_LIMIT:
        raise TimestampRefused("Request too long")
    try:
        request = tsp.TimeStampReq.load(data, strict=True)
        if request["version"].native != "v1":
            raise TimestampRefused("Unknown version")
        _ = request.native
    except (ValueError, TypeError, KeyError) as bad:
        raise TimestampRefused("Not a TimeStampReq") from bad
    return request


def _rejection(why: str, failure: str) -> bytes:
    status = {"status": "rejection", "status_string": [why], "fail_info": {failure}}
    return bytes(Response({"status": status}).dump())
