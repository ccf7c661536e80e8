"""After the minutes: kept files are decided, members observe, the minutes are closed and signed."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.consultations.models import Consultation
from dematmp.opening import closing
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.models import MinutesSignature, OpenedFile, OpeningSession
from deploy.services.clamd import EICAR, Clamd
from signing.pdf import sign_pdf
from signing.pki import issue, new_authority
from tests.opening.test_opening import opened
from tests.world import World


@pytest.fixture
def session(world: World, tmp_path: Path, clamd: Clamd, settings: Settings) -> Iterator[OpeningSession]:
    """An opening in which the antivirus kept a file."""
    settings.ANTIVIRUS_URL = clamd.url
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a", files={"offre.txt": b"mon offre", "virus.com": EICAR})
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        yield opened(world, consultation)


def kept() -> OpenedFile:
    return OpenedFile.objects.get(verdict="infected")


def closed(world: World, session: OpeningSession) -> OpeningSession:
    closing.decide_file(
        kept(), decision="set-aside", reason="Virus.", by=world.members[0], now=timezone.now()
    )
    closing.observe(session, text="Séance tenue à distance.", by=world.members[1], now=timezone.now())
    closing.close(session, by=world.members[0], now=timezone.now())
    session.refresh_from_db()
    return session


def test_the_minutes_close_once_every_kept_file_is_decided(world: World, session: OpeningSession) -> None:
    before = bytes(session.minutes or b"")
    with pytest.raises(DecisionRefused, match="1 fichier"):
        closing.close(session, by=world.members[0], now=timezone.now())
    done = closed(world, session)
    said = json.loads(bytes(done.annex or b""))
    assert said["minutes"] == hashlib.sha256(before).hexdigest()
    assert bytes(done.minutes or b"") == before
    assert [row["decision"] for row in said["files"]] == ["set-aside"]
    assert [row["text"] for row in said["observations"]] == ["Séance tenue à distance."]
    assert bytes(done.closed_pdf or b"").startswith(b"%PDF-")
    for late in (
        lambda: closing.observe(session, text="Trop tard", by=world.members[1], now=timezone.now()),
        lambda: closing.decide_file(
            kept(), decision="examined", reason="x", by=world.members[0], now=timezone.now()
        ),
    ):
        with pytest.raises(DecisionRefused, match="clos"):
            late()
    closing.close(session, by=world.members[2], now=timezone.now())
    session.refresh_from_db()
    assert session.closed_by == world.members[0]
    verify()


def test_a_kept_file_is_never_served_whatever_is_decided(world: World, session: OpeningSession) -> None:
    closed(world, session)
    browser = Client()
    browser.force_login(world.members[0])
    here = {"consultation": session.consultation.uuid, "file": kept().uuid}
    assert browser.get(reverse("opened-file", kwargs=here)).status_code == 404


def test_a_clean_file_is_not_to_decide(world: World, session: OpeningSession) -> None:
    clean = OpenedFile.objects.filter(verdict="clean").first()
    assert clean is not None
    with pytest.raises(DecisionRefused):
        closing.decide_file(clean, decision="set-aside", reason="x", by=world.members[0], now=timezone.now())


def test_members_sign_by_confirming_the_digest(world: World, session: OpeningSession) -> None:
    done = closed(world, session)
    sha256 = closing.closed_sha256(done)
    with pytest.raises(DecisionRefused, match="empreinte"):
        closing.sign(done, sha256="0" * 64, by=world.members[0], now=timezone.now())
    first = closing.sign(done, sha256=sha256, by=world.members[0], now=timezone.now())
    assert closing.sign(done, sha256=sha256, by=world.members[0], now=timezone.now()) == first
    assert Entry.objects.filter(kind="minutes-signed").count() == 1


def test_members_sign_with_their_certificate(world: World, session: OpeningSession) -> None:
    done = closed(world, session)
    now = timezone.now()
    authority = new_authority("Autorité d'essai", "Essai", now=now)
    person = issue(authority, "membre2 Essai", "Essai", now=now)
    original, sha256 = bytes(done.closed_pdf or b""), closing.closed_sha256(done)
    signed = sign_pdf(original, person, reason="Procès-verbal", field="Membre2")
    for bad, words in (
        (original, "n'est pas le procès-verbal"),
        (signed[100:], "n'est pas le procès-verbal"),
        (original + b" ", "autre signature"),
    ):
        with pytest.raises(DecisionRefused, match=words):
            closing.sign(done, sha256=sha256, by=world.members[1], now=now, pdf=bad)
    made = closing.sign(done, sha256=sha256, by=world.members[1], now=now, pdf=signed)
    assert made.report is not None
    assert "membre2 Essai" in json.dumps(made.report, ensure_ascii=False)
    with pytest.raises(DecisionRefused, match="signature d'un autre membre"):
        closing.sign(done, sha256=sha256, by=world.members[0], now=now, pdf=signed)


def test_the_whole_is_done_on_the_pages(world: World, session: OpeningSession) -> None:
    browser = Client()
    browser.force_login(world.members[2])
    here = {"consultation": session.consultation.uuid}

    def page() -> str:
        return browser.get(reverse("session", kwargs=here)).content.decode()

    assert "la commission décide de 1 fichier gardé" in page()
    file = reverse("decide-file", kwargs={**here, "file": kept().uuid})
    assert browser.post(file, {"decision": "asked-again", "reason": ""}).status_code == 400
    assert browser.post(file, {"decision": "asked-again", "reason": "Illisible."}).status_code == 302
    assert browser.post(reverse("observe", kwargs=here), {"text": "Rien à signaler."}).status_code == 302
    assert browser.get(reverse("sign-minutes", kwargs=here)).status_code == 404
    assert browser.post(reverse("close-minutes", kwargs=here)).status_code == 302
    sha256 = closing.closed_sha256(OpeningSession.objects.get())
    assert sha256 in browser.get(reverse("sign-minutes", kwargs=here)).content.decode()
    wrong = SimpleUploadedFile("a.pdf", b"%PDF-1.7")
    refused = browser.post(reverse("sign-minutes", kwargs=here), {"sha256": sha256, "pdf": wrong})
    assert refused.status_code == 400
    assert browser.post(reverse("sign-minutes", kwargs=here), {"sha256": sha256}).status_code == 302
    assert "signé le" in page()
    assert MinutesSignature.objects.get().user == world.members[2]
    for name in ("pdf", "json"):
        assert browser.get(reverse("closed-minutes", kwargs={**here, "form": name})).status_code == 200
    other = Client()
    other.force_login(world.agent)
    assert other.post(reverse("close-minutes", kwargs=here)).status_code == 404


def test_nothing_is_decided_before_the_minutes(world: World) -> None:
    consultation: Consultation = world.publish()
    browser = Client()
    browser.force_login(world.members[0])
    for name in ("observe", "close-minutes", "sign-minutes", "decide"):
        assert browser.post(reverse(name, kwargs={"consultation": consultation.uuid})).status_code == 404
