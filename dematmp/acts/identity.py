"""Who speaks to the transmission service: a certificate, then a login where several share it, or a nounce."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password

from dematmp.acts.errors import AccessRefused
from dematmp.acts.subscribers import Agent, Nounce

NOUNCE_LIFE = timedelta(minutes=5)
UNKNOWN = "Échec de l'authentification."
_LATELY = 300  # seconds during which a password that was right is not derived again


@dataclass(frozen=True)
class Credentials:
    """What a request brings, as strings that prove nothing yet; the certificate was verified by the front."""

    certificate: x509.Certificate | None = None
    login: str = ""
    password: str = ""
    nounce: str = ""
    digest: str = ""


def fingerprint(certificate: x509.Certificate) -> str:
    """Base64 of the SHA-1 of the DER: the account key of this API, not a protection."""
    return fingerprint_of(certificate.public_bytes(Encoding.DER))


def fingerprint_of(der: bytes) -> str:
    return base64.b64encode(hashlib.sha1(der, usedforsecurity=False).digest()).decode()


def is_in_force(agent: Agent, *, now: datetime) -> bool:
    """Whether an account has a certificate that may be used now."""
    if not agent.certificate:
        return False
    held = x509.load_der_x509_certificate(bytes(agent.certificate))
    return held.not_valid_before_utc <= now <= held.not_valid_after_utc


def holders(certificate: x509.Certificate) -> list[Agent]:
    """The active accounts of this certificate; the fingerprint is then checked against the whole bytes."""
    der = certificate.public_bytes(Encoding.DER)
    found = Agent.objects.active().holding(fingerprint_of(der)).select_related("authority__group")
    return [each for each in found if hmac.compare_digest(bytes(each.certificate), der)]


def identify(given: Credentials, *, now: datetime) -> Agent:
    """The one account that speaks. Raises AccessRefused, naming the certificate that was seen."""
    if given.certificate is None:
        raise AccessRefused(f"{UNKNOWN} Aucun certificat n'a été présenté.")
    accounts = holders(given.certificate)
    if not accounts:
        subject = given.certificate.subject.rfc4514_string()
        raise AccessRefused(f"{UNKNOWN} Certificat {subject} : aucun compte trouvé.")
    if given.nounce:
        return _by_nounce(given, accounts, now)
    if len(accounts) == 1 and not accounts[0].login:
        return accounts[0]  # the certificate says who: some clients send a login all the same
    if given.login:
        for each in accounts:
            if each.login and hmac.compare_digest(each.login.encode(), given.login.encode()):
                if _password_is_right(each, given.password, now):
                    return each
                break
        raise AccessRefused(f"{UNKNOWN} Identifiant ou mot de passe incorrect.")
    raise AccessRefused(
        f"{UNKNOWN} Plusieurs comptes utilisent ce certificat : un identifiant est nécessaire."
    )


def _by_nounce(given: Credentials, accounts: Sequence[Agent], now: datetime) -> Agent:
    """The nounce proves an authority; who acts is its account that holds the certificate: the one that asked
    for it, else the first. Never another's rights for who shares a certificate."""
    found = (
        Nounce.objects.select_related("agent")
        .filter(value=given.nounce, agent__login=given.login, expires_at__gt=now)
        .first()
    )
    if found is None or not hmac.compare_digest(found.expected, given.digest.lower()):
        raise AccessRefused(f"{UNKNOWN} Le jeton n'est pas valable ou a expiré.")
    mine = [each for each in accounts if each.authority_id == found.agent.authority_id]
    if not mine:
        raise AccessRefused(f"{UNKNOWN} Ce certificat n'est pas d'un agent de cette collectivité.")
    return next((each for each in mine if each.pk == found.agent_id), mine[0])


@lru_cache(maxsize=1024)
def _right_lately(proof: bytes, stored: str, period: int) -> list[bool]:
    """A cell that remembers, for some minutes, that this password was right for this stored digest."""
    return [False]


def _password_is_right(agent: Agent, password: str, now: datetime) -> bool:
    # Clients poll with Basic at each call: deriving the password each time would cost more than the answer.
    proof = hashlib.sha256(f"{settings.SECRET_KEY}:{agent.pk}:{password}".encode()).digest()
    cell = _right_lately(proof, agent.password, int(now.timestamp()) // _LATELY)
    if not cell[0]:
        cell[0] = check_password(password, agent.password)
    return cell[0]


def issue_nounce(agent: Agent, password: bytes, *, now: datetime) -> str:
    """A new nounce for a login whose password, as its client wrote it, was just proved; it is not kept."""
    Nounce.objects.filter(expires_at__lte=now).delete()
    value = secrets.token_hex(20)
    expected = hashlib.sha256(password + f":{value}".encode()).hexdigest()
    Nounce.objects.create(value=value, agent=agent, expected=expected, expires_at=now + NOUNCE_LIFE)
    return value


def give_certificate(agent: Agent, certificate: x509.Certificate) -> None:
    """Set the certificate of an account, not saved."""
    agent.certificate = certificate.public_bytes(Encoding.DER)
    agent.fingerprint = fingerprint(certificate)


def give_password(agent: Agent, password: str) -> None:
    """Set the password of an account, not saved."""
    agent.password = make_password(password)
