"""A small world for the tests: buyers, companies, a committee with its keys, a consultation at any stage.

Companies and members speak to the platform with the library's own client, through the real HTTP door (WSGI).
"""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

import httpx
import typst
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import setting_changed
from django.db.models import Q
from django.test import Client as Browser
from django.test.client import ClientHandler
from django.utils import timezone
from stdnum import luhn

from dematmp.accounts.models import Organisation, User
from dematmp.accounts.services import create_organisation, give_role, issue_token
from dematmp.audit.keys import create_keys
from dematmp.consultations import services
from dematmp.consultations.documents import add_version, scan_version
from dematmp.consultations.keys import record_rehearsal
from dematmp.consultations.models import Consultation
from dematmp.opening.keys import confirm, start_ceremony
from dematmp.opening.models import Ceremony
from dematmp.opening.protectors import add_protector
from signing.ceremony import record_hash
from signing.client import EnvelopePlan
from signing.committee import Committee
from signing.envelope import Source
from signing.keys import key_hash, new_seed, public_key

SECONDS = timedelta(seconds=1)


def siret(number: int) -> str:
    """A valid SIRET, different for each number."""
    siren = f"{number:08d}"
    siren += luhn.calc_check_digit(siren)
    return siren + "0001" + luhn.calc_check_digit(siren + "0001")


def organisation(kind: str, number: int, **more: str) -> Organisation:
    return create_organisation(kind=kind, name=f"{kind} {number}", siret=siret(number), **more)


def person(name: str, organisation: Organisation, *roles: str) -> User:
    user = User.objects.create_user(
        f"{name}@example.fr", "phrase de passe 42", first_name=name, last_name="Essai"
    )
    user.emailaddress_set.create(email=user.email, verified=True, primary=True)
    for role in roles:
        give_role(user, organisation, role, now=timezone.now())
    return user


@cache
def application() -> WSGIHandler:
    """The site's door, made once for each set of settings: its middleware list every static file."""
    return WSGIHandler()


@cache
def _pages() -> ClientHandler:
    return ClientHandler(enforce_csrf_checks=False)


def _forget(**_: object) -> None:
    application.cache_clear()
    _pages.cache_clear()


setting_changed.connect(_forget)


def client(user: User, organisation: Organisation) -> Committee:
    """The library's client, speaking to the platform in this process."""
    token = issue_token(user, organisation, label="essai", now=timezone.now())
    return Committee("http://127.0.0.1", token, transport=httpx.WSGITransport(app=application()))


@dataclass
class World:
    """Who there is, and the consultation once `publish` made it."""

    buyer: Organisation
    agent: User
    validator: User
    members: list[User]
    company: Organisation
    rival: Organisation
    bidder: User
    rival_bidder: User
    prefecture: Organisation
    controller: User
    seeds: dict[int, bytes] = field(default_factory=dict)
    sheets: dict[int, bytes] = field(default_factory=dict)

    def draft(self, reference: str = "2026-01", **more: object) -> Consultation:
        """A consultation being prepared, with one scanned piece."""
        values: dict[str, object] = {
            "title": "Travaux d'essai",
            "object": "Travaux",
            "procedure": "MAPA-O",
            "cpv": "45212330",
            "lots": [{"number": "1", "title": "Gros œuvre"}, {"number": "2", "title": "Peinture"}],
            **more,
        }
        now = timezone.now()
        made = services.create_consultation(
            buyer=self.buyer,
            by=self.agent,
            reference=reference,
            now=now,
            **values,  # type: ignore[arg-type]
        )
        self.piece(made)
        return made

    def piece(
        self, consultation: Consultation, name: str = "RC.pdf", data: bytes = b"%PDF-1.7 essai"
    ) -> None:
        version = add_version(
            consultation,
            title="Règlement",
            kind="rc",
            name=name,
            chunks=[data],
            by=self.agent,
            now=timezone.now(),
        )
        scan_version(version.pk, now=timezone.now())

    def protectors(self, user: User) -> None:
        """Two protectors: one whose seed is `seeds[pk]`, and a sheet whose seed is `sheets[pk]`."""
        self.seeds[user.pk], self.sheets[user.pk] = new_seed(), new_seed()
        both = (("passphrase", "Phrase secrète", self.seeds), ("paper", "Feuille de secours", self.sheets))
        for kind, label, seeds in both:
            public = public_key(seeds[user.pk])
            add_protector(user, label=label, kind=kind, public=public, now=timezone.now())

    @staticmethod
    def fingerprints(user: User) -> list[str]:
        """What this person wrote down of their protectors."""
        return [key_hash(bytes(each.public_key)) for each in user.protectors.kept()]

    def keys(self, consultation: Consultation, *, threshold: int = 2, rehearsed: bool = True) -> None:
        """The ceremony: dealt by the president's own client, confirmed as the members' clients ask.

        That a member's client checks what it confirms is for the tests of the ceremony and the journeys: here
        it would be a quarter of each test. The rehearsal is said to have succeeded.
        """
        for user in self.members:
            if not user.protectors.exists():
                self.protectors(user)
        now = timezone.now()
        start_ceremony(consultation, members=self.members, threshold=threshold, by=self.agent, now=now)
        client(self.members[0], self.buyer).deal(str(consultation.uuid))
        of_both = Ceremony.objects.filter(
            Q(consultation=consultation) | Q(consultation__twin_of=consultation)
        )
        for made in of_both.order_by("pk"):
            for user in self.members:
                protector = str(user.protectors.kept().get(kind="passphrase").uuid)
                confirm(made, sha256=record_hash(bytes(made.record)), by=user, protector=protector, now=now)
        consultation.refresh_from_db()
        if rehearsed:
            sha256 = consultation.ceremony_sha256
            assert record_rehearsal(consultation, ceremony_sha256=sha256, now=timezone.now())
            consultation.refresh_from_db()

    def publish(
        self, consultation: Consultation | None = None, *, closes_in: timedelta = timedelta(days=20)
    ) -> Consultation:
        """A published consultation, its keys made."""
        made = consultation or self.draft()
        self.keys(made)
        at = (timezone.now() + closes_in).replace(microsecond=0)
        services.set_deadline(made, at=at, by=self.agent, now=timezone.now())
        services.submit(made, by=self.agent, now=timezone.now())
        services.validate(made, by=self.validator, now=timezone.now())
        services.publish(made, by=self.validator, now=timezone.now())
        made.refresh_from_db()
        return made

    def seal(
        self,
        consultation: Consultation,
        folder: Path,
        *,
        files: dict[str, bytes] | None = None,
        lot: str = "1",
        rival: bool = False,
    ) -> tuple[Committee, Path]:
        """A draft of the company (or of its rival), sealed and not sent."""
        speaker = client(*((self.rival_bidder, self.rival) if rival else (self.bidder, self.company)))
        plain = folder / "plain"
        plain.mkdir(parents=True, exist_ok=True)
        sources = []
        for name, data in (files or {"offre.txt": b"mon offre"}).items():
            path = plain / f"{len(sources)}"
            path.write_bytes(data)
            sources.append(Source(path, name))
        plans = [EnvelopePlan(lot, "candidature", sources[:1]), EnvelopePlan(lot, "offre", sources)]
        speaker.seal_draft(str(consultation.uuid), plans, folder / "draft")
        return speaker, folder / "draft"

    def deposit(self, consultation: Consultation, folder: Path, **more: object) -> dict[str, object]:
        """Seal, send and finalise; the receipt."""
        speaker, draft = self.seal(consultation, folder, **more)  # type: ignore[arg-type]
        attempt = speaker.upload(draft)
        return speaker.finalise(draft, str(attempt["attempt"]))

    def share(self, consultation: Consultation, index: int) -> dict[str, object]:
        """One member brings its share."""
        user = self.members[index]
        speaker = client(user, self.buyer)
        session = speaker.start_opening(str(consultation.uuid))
        speaker.give_share(str(consultation.uuid), session, self.seeds[user.pk])
        return session


def make_world() -> World:
    create_keys(now=timezone.now())
    actes = {"department": "034", "district": "1", "authority_nature": "31"}
    buyer = organisation("buyer", 21340172, **actes)
    company, rival = organisation("company", 41234567), organisation("company", 43876543)
    prefecture = organisation("prefecture", 17340001, department="034", district="1")
    return World(
        buyer=buyer,
        agent=person("agent", buyer, "agent"),
        validator=person("valideur", buyer, "validator"),
        members=[person(f"membre{n}", buyer, "member") for n in (1, 2, 3)],
        company=company,
        rival=rival,
        bidder=person("soumissionnaire", company, "administrator", "bidder"),
        rival_bidder=person("rivale", rival, "administrator", "bidder"),
        prefecture=prefecture,
        controller=person("controleur", prefecture, "controller"),
    )


def pdf() -> bytes:
    """A real PDF of one page."""
    made = typst.compile(b"= Acte d'engagement\n\nNous nous engageons.")
    assert isinstance(made, bytes)
    return made


def page(user: User) -> Browser:
    """The site's pages, seen by a person who is signed in."""
    made = Browser()
    made.handler = _pages()
    made.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return made
