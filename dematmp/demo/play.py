"""The procedure, played for real.

From a published call for tender to an act acknowledged by the prefecture.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from dematmp.accounts.models import Organisation, User
from dematmp.accounts.services import create_organisation, give_role, issue_token
from dematmp.awards.models import Award
from dematmp.awards.services import award
from dematmp.consultations import exchanges
from dematmp.consultations import services as consultations
from dematmp.consultations.documents import add_version
from dematmp.consultations.models import Consultation, DocumentVersion
from dematmp.demo.cast import BODIES, COMMITTEE, PEOPLE
from dematmp.demo.files import BidFiles, Piece
from dematmp.demo.steps import Refused, Steps, command_line
from dematmp.opening import rehearsals
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpeningSession

DEPOSIT_SECONDS = 20  # between publication and the deadline; extended, for real, on a slow machine
_MARGIN = 5
_LARGE = "voirie"  # who deposits 200 MB


@dataclass
class Stage:
    """Where the play is: folder of the run, address of the site, who is who."""

    folder: Path
    address: str
    steps: Steps
    people: dict[str, User] = field(default_factory=dict)
    bodies: dict[str, Organisation] = field(default_factory=dict)
    slowest: float = 0.0  # seconds of a small deposit

    def token(self, slug: str) -> Path:
        return self.folder / "tokens" / slug

    def draft(self, slug: str) -> Path:
        return self.folder / "drafts" / slug

    def run(self, slug: str, *arguments: str) -> dict[str, object]:
        return command_line(self.address, self.token(slug), *arguments)


def enrol(stage: Stage) -> None:
    """Organisations, people, roles, tokens of the command line, protectors of the committee."""
    for body in BODIES:
        stage.bodies[body.slug] = create_organisation(
            kind=body.kind, name=body.name, siret=body.siret, **body.actes
        )
    (stage.folder / "tokens").mkdir(mode=0o700)
    with ThreadPoolExecutor(2) as pool:
        hashes = list(pool.map(make_password, [person.password for person in PEOPLE]))
    for person, password in zip(PEOPLE, hashes, strict=True):
        user = User.objects.create_user(
            person.email, first_name=person.first_name, last_name=person.last_name
        )
        User.objects.filter(pk=user.pk).update(password=password)
        _confirm_email(user)
        organisation = stage.bodies[person.organisation]
        for role in person.roles:
            give_role(user, organisation, role, now=timezone.now())
        stage.people[person.slug] = user
        path = stage.token(person.slug)
        path.touch(mode=0o600)
        path.write_text(issue_token(user, organisation, label="démonstration", now=timezone.now()))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda slug: _enrol_protector(stage, slug), COMMITTEE))


def _enrol_protector(stage: Stage, slug: str) -> None:
    phrase = stage.folder / "tokens" / f"{slug}.phrase"
    phrase.touch(mode=0o600)
    phrase.write_text(next(person.phrase for person in PEOPLE if person.slug == slug))
    key = str(stage.folder / "tokens" / f"{slug}.key")
    stage.run(slug, "protector", key, "--passphrase-file", str(phrase), "--keep-on-platform")
    sheet = stage.run(slug, "protector", str(stage.folder / "tokens" / f"{slug}.words"), "--kind", "paper")
    (stage.folder / "tokens" / f"{slug}.sheet").write_text(str(sheet["fingerprint"]))


def _confirm_email(user: User) -> None:
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)


def prepare(stage: Stage, pieces: list[Piece]) -> Consultation:
    """The agent drafts the consultation with its file; the worker scans each document."""
    agent, now = stage.people["agent"], timezone.now()
    consultation = consultations.create_consultation(
        buyer=stage.bodies["agglo"],
        by=agent,
        reference="2026-TX-017",
        title="Réhabilitation de la médiathèque de Sorne",
        object="Travaux de réhabilitation de la médiathèque communautaire, en deux lots séparés.",
        procedure="MAPA-O",
        cpv="45212330",
        lots=[
            {"number": "1", "title": "Gros œuvre et désamiantage"},
            {"number": "2", "title": "Menuiseries extérieures et isolation"},
        ],
        criteria=[("Prix", 50), ("Valeur technique", 40), ("Environnement", 10)],
        estimated_value=Decimal("1480000.00"),
        deposit_rules="Une enveloppe de candidature et une enveloppe d'offre par lot. Aucune signature n'est exigée au dépôt.",
        now=now,
    )
    _upload(consultation, pieces, by=agent)
    return consultation


def _upload(consultation: Consultation, pieces: list[Piece], *, by: User) -> None:
    """Send the pieces and wait for the worker to have scanned them."""
    for piece in pieces:
        with piece.path.open("rb") as file:
            add_version(
                consultation,
                title=piece.title,
                kind=piece.kind,
                name=piece.path.name,
                chunks=iter(lambda: file.read(1024**2), b""),
                by=by,
                now=timezone.now(),
            )
    pending = DocumentVersion.objects.filter(document__consultation=consultation, verdict="pending")
    wait_for(lambda: not pending.exists(), "le service n'a pas analysé les pièces")


def elsewhere(stage: Stage, pieces: list[Piece]) -> None:
    """The two other buyers at other stages: one consultation open for three weeks, one being prepared."""
    agent, validator, now = stage.people["agent-hopital"], stage.people["valideur"], timezone.now()
    hospital = stage.bodies["hopital"]
    for buyer in (hospital, stage.bodies["ville"]):
        give_role(validator, buyer, "validator", now=timezone.now())
    for slug in COMMITTEE:
        for buyer in (hospital, stage.bodies["ville"]):
            give_role(stage.people[slug], buyer, "member", now=timezone.now())
        # A token speaks for one buyer: from here, the members' speak for the hospital.
        text = issue_token(stage.people[slug], hospital, label="démonstration", now=timezone.now())
        stage.token(slug).write_text(text)
    opened = consultations.create_consultation(
        buyer=hospital,
        by=agent,
        reference="2026-FS-042",
        title="Fourniture de linge hospitalier",
        object="Fourniture et livraison de linge plat et de tenues professionnelles pour quatre sites.",
        procedure="AOO",
        cpv="39518000",
        criteria=[("Prix", 60), ("Qualité", 30), ("Délais", 10)],
        now=now,
    )
    _upload(opened, pieces[:2], by=agent)
    ceremony(stage, opened, by=agent)
    at = (now + timedelta(days=21)).replace(hour=11, minute=0, second=0, microsecond=0)
    consultations.set_deadline(opened, at=at, by=agent, now=timezone.now())
    consultations.submit(opened, by=agent, now=timezone.now())
    consultations.validate(opened, by=validator, now=timezone.now())
    consultations.publish(opened, by=validator, now=timezone.now())
    consultations.create_consultation(
        buyer=stage.bodies["ville"],
        by=stage.people["agent-ville"],
        reference="2026-SE-008",
        title="Entretien des espaces verts",
        object="Tonte, taille et arrosage des espaces verts communaux.",
        procedure="MAPA-O",
        cpv="77310000",
        now=timezone.now(),
    )


def ceremony(stage: Stage, consultation: Consultation, *, by: User) -> None:
    """The committee makes its keys, two of three; each checks its share; two of them rehearse the opening."""
    members = [stage.people[slug] for slug in COMMITTEE]
    start_ceremony(consultation, members=members, threshold=2, by=by, now=timezone.now())
    uuid = str(consultation.uuid)
    stage.run("presidente", "deal", uuid)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda slug: _confirm(stage, slug, uuid), COMMITTEE))
        wait_for(lambda: twin_is_closed(consultation), "le pli d'essai n'est pas prêt")
        # One brings her phrase, the other his sheet of words.
        sheet = ("--protector", str(stage.folder / "tokens" / "membre3.words"))
        keys = {"presidente": _protector(stage, "presidente"), "membre3": sheet}
        list(pool.map(lambda slug: stage.run(slug, "share", uuid, "--rehearsal", *keys[slug]), keys))
    stage.run("presidente", "open", uuid, "--rehearsal")
    wait_for(lambda: rehearsed(consultation), "la répétition n'a pas réussi")


def _confirm(stage: Stage, slug: str, uuid: str) -> None:
    """Each confirms with their phrase, and recognises the fingerprint of their sheet."""
    sheet = (stage.folder / "tokens" / f"{slug}.sheet").read_text()
    stage.run(slug, "confirm", uuid, *_protector(stage, slug), "--also", sheet)


def twin_is_closed(consultation: Consultation) -> bool:
    """The dummy bid is there, and may be opened."""
    twin = rehearsals.of(Consultation.objects.get(pk=consultation.pk))
    return twin is not None and twin.published_at is not None and not twin.is_open(now=timezone.now())


def rehearsed(consultation: Consultation) -> bool:
    """The dummy bid was opened by a quorum."""
    return Consultation.objects.filter(pk=consultation.pk, rehearsed_at__isnull=False).exists()


def wait_for(until: Callable[[], bool], otherwise: str) -> None:
    """Look ten times a second, for two minutes. Raises TimeoutError with `otherwise`."""
    limit = time.monotonic() + 120
    while not until():
        if time.monotonic() > limit:
            raise TimeoutError(otherwise)
        time.sleep(0.1)


def _protector(stage: Stage, slug: str) -> tuple[str, ...]:
    tokens = stage.folder / "tokens"
    return ("--protector", str(tokens / f"{slug}.key"), "--passphrase-file", str(tokens / f"{slug}.phrase"))


def publish(stage: Stage, consultation: Consultation) -> datetime:
    """Deadline, submission, validation by a second person, publication."""
    agent, validator = stage.people["agent"], stage.people["valideur"]
    at = (timezone.now() + timedelta(seconds=DEPOSIT_SECONDS + 1)).replace(microsecond=0)
    consultations.set_deadline(consultation, at=at, by=agent, now=timezone.now())
    consultations.submit(consultation, by=agent, now=timezone.now())
    consultations.validate(consultation, by=validator, now=timezone.now())
    consultations.publish(consultation, by=validator, now=timezone.now())
    consultation.refresh_from_db()
    question = exchanges.ask(
        consultation, text="La visite du site est-elle obligatoire ?", now=timezone.now()
    )
    exchanges.answer(question, text="Non, elle est conseillée.", by=agent, now=timezone.now())
    return at


def seal(
    stage: Stage, consultation: Consultation, slug: str, files: BidFiles, *, replaced: bool = False
) -> str:
    """A company seals its files on its own machine; the name of the draft."""
    offer = files.replaced if replaced else files.offre
    name = f"{slug}-remplace" if replaced else slug
    stage.run(
        slug,
        "seal",
        str(consultation.uuid),
        "--lot",
        "1",
        "--candidature",
        *map(str, files.candidature),
        "--offre",
        *map(str, offer),
        "--draft",
        str(stage.draft(name)),
    )
    return name


def deposit(stage: Stage, consultation: Consultation, bids: dict[str, BidFiles]) -> None:
    """Three companies deposit in time, one of them twice.

    The fourth only sends its parts before the deadline.
    """
    names = {
        "batisseurs": "une offre de 12 fichiers",
        "pierre": "une offre qui porte un fichier de test EICAR",
    }
    with stage.steps.step("Travaux du Dernier Moment envoie ses fichiers sans finaliser"):
        seal(stage, consultation, "retard", bids["retard"])
        stage.run("retard", "submit", str(stage.draft("retard")), "--upload-only")
    for slug, words in names.items():
        with stage.steps.step(f"{stage.bodies[slug].name} dépose {words}"):
            _submit(stage, consultation, slug, seal(stage, consultation, slug, bids[slug]))
    with stage.steps.step("Voirie et Réseaux Martin dépose une offre de 200 Mo"):
        _submit(
            stage, consultation, "voirie", seal(stage, consultation, "voirie", bids["voirie"], replaced=True)
        )
    with stage.steps.step("Voirie et Réseaux Martin remplace son offre (200 Mo corrigés)"):
        _submit(stage, consultation, "voirie", seal(stage, consultation, "voirie", bids["voirie"]))


def _submit(stage: Stage, consultation: Consultation, slug: str, draft: str) -> None:
    _extend_if_slow(stage, consultation)
    started = time.monotonic()
    stage.run(slug, "submit", str(stage.draft(draft)))
    if slug != _LARGE:
        stage.slowest = max(stage.slowest, time.monotonic() - started)


def _extend_if_slow(stage: Stage, consultation: Consultation) -> None:
    """A large bid takes about ten times what a small one took on this machine."""
    deadline = consultation.deadline
    need = timedelta(seconds=max(2.0 * _MARGIN, 12 * min(stage.slowest, 5.0)))
    if deadline is not None and deadline - timezone.now() < need:
        at = (timezone.now() + need + timedelta(seconds=_MARGIN)).replace(microsecond=0)
        reason = "Machine de démonstration lente : report pour tous."
        consultations.set_deadline(
            consultation, at=at, by=stage.people["agent"], reason=reason, now=timezone.now()
        )
        stage.steps.say(f"           date limite reportée au {at:%H:%M:%S} UTC (machine lente)")


def refusals_before(stage: Stage, consultation: Consultation) -> str:
    """The president tries to open before the deadline: refused, and journalled."""
    try:
        stage.run("presidente", "share", str(consultation.uuid), *_protector(stage, "presidente"))
    except Refused as refused:
        return str(refused).splitlines()[0]
    raise AssertionError("l'ouverture avant la date limite aurait dû être refusée")


def late(stage: Stage, consultation: Consultation) -> dict[str, object]:
    """The fourth company finalises one second after the deadline, in real time."""
    deadline = consultation.deadline
    if deadline is None:
        raise AssertionError("une consultation publiée a une date limite")
    time.sleep(max(0.0, (deadline + timedelta(seconds=1) - datetime.now(UTC)).total_seconds()))
    return stage.run("retard", "submit", str(stage.draft("retard")))


def quorum(stage: Stage, consultation: Consultation) -> str:
    """One member alone is refused; the second makes the quorum and the platform's key is released."""
    uuid = str(consultation.uuid)
    stage.run("presidente", "share", uuid, *_protector(stage, "presidente"))
    try:
        stage.run("presidente", "open", uuid)
    except Refused as refused:
        message = str(refused).splitlines()[0]
    else:
        raise AssertionError("l'ouverture par un seul membre aurait dû être refusée")
    stage.run("membre3", "share", uuid, *_protector(stage, "membre3"))
    # The buyer of this play decides nothing of the bid that came late: it stays sealed.
    stage.run("membre3", "open", uuid, "--leave-undecided")
    return message


def unsealed(consultation: Consultation) -> OpeningSession:
    """Wait for the worker to unseal, scan, validate and write the minutes."""
    until = time.monotonic() + 180
    while True:
        session = OpeningSession.objects.get(consultation=consultation)
        if session.minutes_pdf:
            return session
        if session.problem or time.monotonic() > until:
            raise TimeoutError(session.problem or "l'ouverture n'est pas achevée")
        time.sleep(0.1)


def decide(stage: Stage, consultation: Consultation) -> Award:
    """Lot 1 is awarded to the normal bid."""
    return award(
        consultation.lots.get(number="1"),
        company=stage.bodies["batisseurs"],
        amount=Decimal("1312500.00"),
        reasons="l'offre des Bâtisseurs du Val est économiquement la plus avantageuse au regard des critères annoncés.",
        by=stage.people["valideur"],
        now=timezone.now(),
    )
