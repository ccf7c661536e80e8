"""The platform's seal on its own PDFs: PAdES B-T where an authority of time answers, B-B else.

The key is the platform's own (secrets folder), one bought from an authority (PKCS#12), or that of an HSM
(PKCS#11); never in the database.
"""

import functools
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from pyhanko.sign.signers import Signer

from dematmp.audit.errors import KeysMissing
from dematmp.audit.keys import ending, has_key_of_another_authority, renewable, seal_material
from dematmp.audit.stamping import answer
from signing.errors import SigningError
from signing.pdf import Attachment, seal_pdf
from signing.pki import RENEWAL, Credential, expires
from signing.signatories import from_card, from_pkcs12

log = logging.getLogger(__name__)
_ONE_CARD = threading.Lock()
RENEW = (
    "Lancez « manage.py platform_keys », ou donnez le nouveau certificat que vous avez acheté (DEMATMP_SEAL)."
)
_EVERY = 3600.0  # seconds between two alarms of one process
_said = float("-inf")


def seal(pdf: bytes, *, reason: str, now: datetime, attachments: Sequence[Attachment] = ()) -> bytes:
    """The PDF with its attachments, sealed. Raises KeysMissing, SignatureRefused.

    An expired certificate seals nothing: a seal that nobody could verify would be found out years later.
    """
    ask = functools.partial(answer, now=now)
    with _sealer() as credential:
        if (end := _end(credential)) <= now:
            raise KeysMissing(f"Le certificat du cachet n'est plus valide depuis le {end:%d/%m/%Y}. {RENEW}")
        return seal_pdf(pdf, credential, reason=reason, now=now, attachments=attachments, ask=ask)


def warning(*, now: datetime) -> str:
    """What is to be said of the end of the seal's certificate; empty while it is far. Raises KeysMissing."""
    with _sealer() as credential:
        end = _end(credential)
    if end - now >= RENEWAL:
        return ""
    return f"Le certificat du cachet {'expire' if end > now else 'a expiré'} le {end:%d/%m/%Y}. {RENEW}"


_NAMES = {
    "ca.pem": "de l'autorité de certification de la plateforme",
    "tsa.pem": "de l'autorité d'horodatage intégrée",
}
_OTHER_KEY = (
    "La clé pki/ca.key n'est pas celle de la première autorité de pki/ca.pem : elle ne sert à rien. Remettez "
    "la bonne de votre sauvegarde, ou faites une autre autorité par « manage.py platform_keys "
    "--new-authority »."
)
_NO_KEY = (
    "La clé pki/ca.key n'est pas dans DEMATMP_SECRETS_DIR : remettez-la de votre sauvegarde, ou faites une "
    "autre autorité par « manage.py platform_keys --new-authority »."
)


def warnings(*, now: datetime) -> list[str]:
    """The same of every certificate: the seal's, and those of the platform's own authorities."""
    ends = ending(now=now)
    own = [
        f"Le certificat {name} {'expire' if ends[file] > now else 'a expiré'} le {ends[file]:%d/%m/%Y}. "
        "Lancez « manage.py platform_keys »."
        for file, name in _NAMES.items()
        if file in ends
    ]
    found = [*own, *filter(None, [warning(now=now)])]
    if has_key_of_another_authority():
        return [*found, _OTHER_KEY]
    return [*found, _NO_KEY] if found and ends and not renewable() else found


def alarm(*, now: datetime) -> None:
    """Say it in the log, hourly."""
    global _said
    if time.monotonic() < _said + _EVERY:
        return
    _said = time.monotonic()
    try:
        told = warnings(now=now)
    except KeysMissing as missing:
        told = [str(missing)]
    for each in told:
        log.error("certificats : %s", each)


def _end(credential: Credential | Signer) -> datetime:
    if isinstance(credential, Credential):
        return expires(credential.certificate)
    certificate = credential.signing_cert
    if certificate is None:
        raise KeysMissing("Le cachet de la plateforme (DEMATMP_SEAL) n'a pas de certificat.")
    end: datetime = certificate.not_valid_after
    return end


@contextmanager
def _sealer() -> Iterator[Credential | Signer]:
    where = urlsplit(settings.SEAL["url"])
    if not where.scheme:
        material = seal_material()
        yield Credential(material.certificate, material.key, material.authority)
        return
    try:
        secret = Path(settings.SEAL["secret_file"]).read_text().strip()
        if where.scheme == "pkcs12":
            yield from_pkcs12(Path(unquote(where.path)).read_bytes(), secret)
            return
        label = parse_qs(where.query).get("label", [""])[0]
        with _ONE_CARD, from_card(Path(unquote(where.path)), secret, label=label) as signer:
            yield signer
    except (OSError, SigningError) as missing:
        raise KeysMissing(
            f"Le cachet de la plateforme (DEMATMP_SEAL) ne s'ouvre pas : {missing}"
        ) from missing
