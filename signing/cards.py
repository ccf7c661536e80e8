"""A protector whose seed is enciphered to the certificate of a card (card/1), opened through PKCS#11.

The seed is in a CMS EnvelopedData (RFC 5652 §6) for the card's RSA key, which never leaves the card.
"""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from signing.errors import KeyRefused, ProtectorRefused
from signing.keys import SEED_BYTES, key_hash, new_seed, public_key
from signing.strict import dump_object, load_object, text

VERSION = "card/1"
KEYS = frozenset({"v", "public", "certificate", "sealed"})
_LIMIT = 32 * 1024  # bytes
_AES_256 = "aes256_cbc"


@contextmanager
def open_card(module: Path, pin: str, label: str) -> Iterator[Any]:
    """The only token that holds something, or the one of this label. Raises ProtectorRefused."""
    try:
        import pkcs11
    except ImportError as absent:
        raise ProtectorRefused("Installez d'abord le paquet « python-pkcs11 ».") from absent
    try:
        library = pkcs11.lib(str(module))
        tokens = library.get_tokens(token_label=label) if label else library.get_tokens()
        held = [each for each in tokens if each.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED]
        if not held:
            raise ProtectorRefused("Aucune carte n'est présente dans le lecteur.")
        if len(held) > 1:
            names = ", ".join(sorted(str(each.label).strip() for each in held))
            raise ProtectorRefused(
                f"Plusieurs cartes sont présentes ({names[:200]}) : dites laquelle (--label)."
            )
        with held[0].open(user_pin=pin) as session:
            yield session
    except pkcs11.exceptions.PinIncorrect as wrong:
        raise ProtectorRefused("Le code de la carte est faux (trois erreurs la bloquent).") from wrong
    except (pkcs11.exceptions.PKCS11Error, RuntimeError) as failed:
        raise ProtectorRefused(f"La carte ne répond pas comme prévu ({type(failed).__name__}).") from failed


def _certificate(session: Any) -> x509.Certificate:
    from pkcs11 import Attribute, ObjectClass

    found = []
    for each in session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE}):
        certificate = x509.load_der_x509_certificate(bytes(each[Attribute.VALUE]))
        if isinstance(certificate.public_key(), rsa.RSAPublicKey) and _may_encipher(certificate):
            found.append(certificate)
    if not found:
        raise ProtectorRefused("Cette carte n'a pas de certificat RSA qui permette de chiffrer une clé.")
    return found[0]


def _may_encipher(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    except x509.ExtensionNotFound:
        return True


def create_card(module: Path, pin: str, *, label: str = "") -> tuple[bytes, bytes]:
    """The protector's file (JSON bytes) and its public key (1216 bytes). Raises ProtectorRefused."""
    with open_card(module, pin, label) as session:
        certificate = _certificate(session)
    seed = new_seed()
    public = public_key(seed)
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(seed).add_recipient(certificate)
    builder = builder.set_content_encryption_algorithm(algorithms.AES256)
    sealed = builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    fields = {"public": public, "certificate": certificate.public_bytes(Encoding.DER), "sealed": sealed}
    encoded: dict[str, object] = {name: base64.b64encode(value).decode() for name, value in fields.items()}
    data = dump_object({"v": VERSION, **encoded})
    if unlock_card(data, module, pin, label=label) != seed:
        raise ProtectorRefused("Cette carte ne rend pas ce qui lui est confié : choisissez-en une autre.")
    return data, public


def unlock_card(data: bytes, module: Path, pin: str, *, label: str = "") -> bytes:
    """The seed, deciphered by the card. Raises ProtectorRefused."""
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    value = load_object(data, limit=_LIMIT, keys=KEYS, refuse=ProtectorRefused)
    if value["v"] != VERSION:
        raise ProtectorRefused("Version de protecteur inconnue.")
    try:
        raw = {
            name: base64.b64decode(text(value[name], ProtectorRefused, name), validate=True)
            for name in ("public", "certificate", "sealed")
        }
        key_hash(raw["public"])
        enveloped = cms.ContentInfo.load(raw["sealed"], strict=True)["content"]
        (recipient,) = enveloped["recipient_infos"]
        content = enveloped["encrypted_content_info"]
        algorithm = content["content_encryption_algorithm"]
        if algorithm["algorithm"].native != _AES_256:
            raise ProtectorRefused("Le chiffrement de ce protecteur n'est pas celui attendu.")
        wrapped, vector = recipient.chosen["encrypted_key"].native, algorithm["parameters"].native
        key = x509.load_der_x509_certificate(raw["certificate"]).public_key()
    except (binascii.Error, ValueError, TypeError, KeyError, KeyRefused) as bad:
        raise ProtectorRefused("Ce fichier n'est pas un protecteur par carte.") from bad
    if not isinstance(key, rsa.RSAPublicKey):
        raise ProtectorRefused("Ce fichier n'est pas un protecteur par carte.")
    modulus = key.public_numbers().n
    with open_card(module, pin, label) as session:
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.RSA}
        mine = [
            each
            for each in session.get_objects(wanted)
            if int.from_bytes(bytes(each[Attribute.MODULUS]), "big") == modulus
        ]
        if not mine:
            raise ProtectorRefused("Ce n'est pas la carte de ce protecteur.")
        secret = mine[0].decrypt(wrapped, mechanism=Mechanism.RSA_PKCS)
    try:
        cipher = Cipher(algorithms.AES256(secret), modes.CBC(vector)).decryptor()
        padded = cipher.update(content["encrypted_content"].native) + cipher.finalize()
        unpadder = PKCS7(128).unpadder()
        seed = unpadder.update(padded) + unpadder.finalize()
    except ValueError as bad:
        raise ProtectorRefused("Ce protecteur est altéré.") from bad
    # CBC proves nothing: the public key does.
    if len(seed) != SEED_BYTES or public_key(seed) != raw["public"]:
        raise ProtectorRefused("Ce protecteur est altéré.")
    return seed
