"""What was verified once is not verified again; what differs by anything is."""

from dataclasses import dataclass, field

import pytest
from asn1crypto import algos, keys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator

from signing.once import ONCE
from tests.signing.authority import new_key

ALGORITHM = algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"})


@dataclass
class Signed:
    data: bytes
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: new_key())  # type: ignore[arg-type,return-value]

    def __post_init__(self) -> None:
        self.signature = self.key.sign(self.data, ec.ECDSA(hashes.SHA256()))

    @property
    def public(self) -> keys.PublicKeyInfo:
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return keys.PublicKeyInfo.load(der)


def test_a_signature_is_verified_once_and_another_one_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    usual = DefaultSignatureValidator.validate_signature

    def counted(self: DefaultSignatureValidator, signature: bytes, data: bytes, *rest: object) -> None:
        asked.append(data)
        usual(self, signature, data, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(DefaultSignatureValidator, "validate_signature", counted)
    made, other = Signed(b"12 000 euros"), Signed(b"12 000 euros")
    for _ in range(3):
        ONCE.validate_signature(made.signature, made.data, made.public, ALGORITHM)
    assert asked == [made.data]
    for signature, data, key in (
        (made.signature, b"1 euro", made.public),
        (other.signature, made.data, made.public),
        (made.signature, made.data, other.public),
    ):
        for _ in range(2):
            with pytest.raises(InvalidSignature):
                ONCE.validate_signature(signature, data, key, ALGORITHM)
    assert len(asked) == 7
