"""A smart card keeps a member's seed: SoftHSM plays the card, through the real PKCS#11 library."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from signing.cards import create_card, unlock_card
from signing.errors import ProtectorRefused
from signing.keys import public_key
from signing.protectors import protector_public
from tests.conftest import absent

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "4826"


def certificate(key: rsa.RSAPrivateKey, *, enciphers: bool = True) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nadia Belkacem")])
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_encipherment=enciphers,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SoftHSM with three cards: one that enciphers, another of the same kind, one that only signs."""
    found = next((Path(each) for each in MODULES if Path(each).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        absent("Carte à puce : il manque softhsm2 (paquet Debian : softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    certificates: dict[str, bytes] = {}
    for label, enciphers in (("carte", True), ("autre", True), ("signature", False)):
        subprocess.run(
            [
                "softhsm2-util",
                "--init-token",
                "--free",
                "--label",
                label,
                "--pin",
                PIN,
                "--so-pin",
                "99999999",
            ],
            check=True,
            capture_output=True,
        )
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        path = folder / f"{label}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        subprocess.run(
            [
                "softhsm2-util",
                "--import",
                str(path),
                "--token",
                label,
                "--label",
                "cle",
                "--id",
                "01",
                "--pin",
                PIN,
            ],
            check=True,
            capture_output=True,
        )
        certificates[label] = certificate(key, enciphers=enciphers)
    # The library counts the cards when it is loaded: all of them are there first.
    assert found is not None
    for label, data in certificates.items():
        _put_certificate(found, label, data)
    yield found
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def _put_certificate(module: Path, label: str, data: bytes) -> None:
    import pkcs11
    from pkcs11.util.x509 import decode_x509_certificate

    token = pkcs11.lib(str(module)).get_token(token_label=label)
    with token.open(rw=True, user_pin=PIN) as session:
        session.create_object({**decode_x509_certificate(data), pkcs11.Attribute.TOKEN: True})


def test_a_card_gives_back_the_seed_of_its_protector(module: Path) -> None:
    data, public = create_card(module, PIN, label="carte")
    assert protector_public(data) == public
    assert public_key(unlock_card(data, module, PIN, label="carte")) == public


def test_another_card_a_wrong_pin_and_no_card_are_refused(module: Path) -> None:
    data, _ = create_card(module, PIN, label="carte")
    for pin, label, words in (
        (PIN, "autre", "pas la carte de ce protecteur"),
        ("0000", "carte", "code de la carte est faux"),
        (PIN, "absente", "Aucune carte"),
    ):
        with pytest.raises(ProtectorRefused, match=words):
            unlock_card(data, module, pin, label=label)


def test_a_certificate_that_only_signs_keeps_nothing(module: Path) -> None:
    with pytest.raises(ProtectorRefused, match="permette de chiffrer"):
        create_card(module, PIN, label="signature")


def test_an_altered_protector_is_refused(module: Path) -> None:
    data, _ = create_card(module, PIN, label="carte")
    said = json.loads(data)
    sealed = bytearray(base64.b64decode(said["sealed"]))
    for at in (len(sealed) - 1, len(sealed) - 20, len(sealed) - 60, 4):
        flipped = bytearray(sealed)
        flipped[at] ^= 1
        changed = json.dumps({**said, "sealed": base64.b64encode(bytes(flipped)).decode()}).encode()
        with pytest.raises(ProtectorRefused):
            unlock_card(changed, module, PIN, label="carte")
    with pytest.raises(ProtectorRefused):
        unlock_card(json.dumps({**said, "v": "card/2"}).encode(), module, PIN, label="carte")
