"""What changes once it was written: a draft is corrected, a piece is replaced, who follows is told."""

import html
import io
import json
from datetime import timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.models import Entry
from dematmp.consultations import errors, exchanges, services
from dematmp.consultations.documents import add_version, read_all, scan_version, whole_file
from dematmp.consultations.models import Consultation, Document, DocumentVersion, Follower
from dematmp.consultations.tasks import rescan, scan_document, sweep
from dematmp.mails.models import Mail
from deploy.services.clamd import EICAR, Clamd
from storage.stores import object_store
from tests.world import World


def _values(**more: object) -> dict[str, object]:
    return {
        "reference": "2026-01",
        "title": "Travaux corrigés",
        "object": "Travaux",
        "procedure": "MAPA-O",
        "cpv": "45233140",
        "lots": "1 : Gros œuvre\n2 : Peinture\n3 : Sols",
        "criteria": "Prix : 60\nDélai : 40",
        "kinds": ["candidature", "offre"],
        **more,
    }


def test_a_draft_is_corrected_through_its_page(world: World, client: Client) -> None:
    draft = world.draft()
    client.force_login(world.agent)
    address = reverse("buyer-correct", kwargs={"consultation": draft.uuid})
    assert "1 : Gros œuvre\n2 : Peinture" in client.get(address).content.decode()
    assert client.post(address, _values(buyer=str(world.buyer.uuid))).status_code == 302
    draft.refresh_from_db()
    assert (draft.title, draft.lots.count(), draft.criteria.count()) == ("Travaux corrigés", 3, 2)


def test_what_is_submitted_is_not_corrected(world: World, client: Client) -> None:
    draft = world.draft()
    now = timezone.now()
    services.set_deadline(draft, at=now + timedelta(days=9), by=world.agent, now=now)
    services.submit(draft, by=world.agent, now=now)
    client.force_login(world.agent)
    address = reverse("buyer-correct", kwargs={"consultation": draft.uuid})
    answer = client.post(address, _values(buyer=str(world.buyer.uuid)))
    assert answer.status_code == 400
    assert "consultation.wrong-step" in answer.content.decode()


def test_the_envelopes_do_not_change_once_their_keys_are_made(world: World) -> None:
    draft = world.draft()
    world.keys(draft)
    with pytest.raises(errors.WrongStep, match="clés"):
        services.correct_consultation(
            draft, reference="R", title="T", object="O", procedure="MAPA-O", cpv="45233140", kinds=["offre"]
        )


def _replace(world: World, consultation: Consultation, data: bytes) -> None:
    piece = Document.objects.get(consultation=consultation)
    now = timezone.now()
    version = add_version(
        consultation,
        title=piece.title,
        kind=piece.kind,
        name="RC-v2.txt",
        chunks=[data],
        by=world.agent,
        now=now,
        document=piece,
    )
    scan_version(version.pk, now=now)


def test_a_replaced_piece_is_served_journalled_and_told(world: World, client: Client) -> None:
    consultation = world.publish()
    exchanges.follow(consultation, email="suivi@example.fr", now=timezone.now())
    _replace(world, consultation, b"%PDF-1.7 deux")
    page = client.get(reverse("consultation", kwargs={"consultation": consultation.uuid})).content.decode()
    assert "RC-v2.txt" in page
    assert Entry.objects.filter(kind="document-version").count() == 1
    assert "nouvelle version" in Mail.objects.get(to="suivi@example.fr").body


def test_an_infected_new_version_replaces_nothing_and_its_sender_is_told(
    world: World, clamd: Clamd, settings: Settings, client: Client
) -> None:
    consultation = world.publish()
    settings.ANTIVIRUS_URL = clamd.url
    _replace(world, consultation, EICAR)
    whole = b"".join(read_all(whole_file(consultation), now=timezone.now()))
    assert b"%PDF-1.7 essai" in whole
    assert EICAR not in whole
    page = client.get(reverse("consultation", kwargs={"consultation": consultation.uuid})).content.decode()
    assert "RC-v2.txt" not in page
    bad = DocumentVersion.objects.get(name="RC-v2.txt")
    client.force_login(world.agent)
    desk = html.unescape(client.get(reverse("buyer-consultation", args=[consultation.uuid])).content.decode())
    assert f"Communiquée à personne : {bad.verdict_detail} ({bad.engine}" in desk
    client.logout()
    refused = client.get(reverse("piece", args=[consultation.uuid, bad.uuid]))
    assert refused.status_code == 409
    told = html.unescape(refused.content.decode())
    assert "a été refusé : l'antivirus l'a jugé infecté" in told
    assert "Réessayez" not in told
    assert "RC-v2.txt" in Mail.objects.filter(to=world.agent.email).latest("pk").body
    assert not Entry.objects.filter(kind="document-version").exists()


def test_an_extension_is_told_in_french_with_seconds_and_zone(world: World) -> None:
    consultation = world.publish()
    exchanges.follow(consultation, email="suivi@example.fr", now=timezone.now())
    assert consultation.deadline is not None
    at = consultation.deadline + timedelta(days=1)
    services.set_deadline(consultation, at=at, by=world.agent, reason="Visite", now=timezone.now())
    body = Mail.objects.get(to="suivi@example.fr").body
    assert "(Europe/Paris)" in body
    assert "T" + at.strftime("%H:") not in body


def test_the_link_of_a_mail_stops_the_messages_and_a_forged_one_does_not(
    world: World, client: Client
) -> None:
    consultation = world.publish()
    exchanges.follow(consultation, email="suivi@example.fr", now=timezone.now())
    token = exchanges.unfollow_token(consultation, "suivi@example.fr")
    link = reverse("unfollow", kwargs={"consultation": consultation.uuid, "token": token})
    assert client.get(link).status_code == 200
    assert Follower.objects.count() == 1
    assert client.post(link[:-2] + "/").status_code == 404
    assert Follower.objects.count() == 1
    assert client.post(link).status_code == 200
    assert Follower.objects.count() == 0


def test_a_page_answers_a_head_request(world: World, client: Client) -> None:
    consultation = world.publish()
    assert client.head(reverse("consultation", kwargs={"consultation": consultation.uuid})).status_code == 200


def test_later_signatures_withdraw_a_piece_and_tell_who_follows(
    world: World, clamd: Clamd, settings: Settings, client: Client
) -> None:
    settings.ANTIVIRUS_URL = f"{clamd.url}#hier"
    consultation = world.publish()
    exchanges.follow(consultation, email="suit@example.fr", now=timezone.now())
    piece = Document.objects.filter(consultation=consultation).order_by("pk").first()
    assert piece is not None
    version = piece.served
    assert version is not None
    address = reverse("piece", args=[consultation.uuid, version.uuid])
    assert client.get(address).status_code == 200
    Mail.objects.all().delete()
    whole = b"".join(object_store().open(version.key))
    with Clamd(also=whole[:40]) as learned:
        settings.ANTIVIRUS_URL = f"{learned.url}#demain"
        rescan()
    assert client.get(address).status_code == 409
    assert set(Mail.objects.values_list("to", flat=True)) == {"suit@example.fr", world.agent.email}
    settings.ANTIVIRUS_URL = f"{clamd.url}#apres-demain"
    rescan()
    assert client.get(address).status_code == 200, "it was a false alarm"
    kinds = Entry.objects.order_by("index").values_list("kind", flat=True)
    assert [each for each in kinds if each.startswith("document-")][-2:] == [
        "document-withdrawn",
        "document-version",
    ]


def test_a_piece_waits_for_an_antivirus_that_is_down_and_says_so(
    world: World, client: Client, clamd: Clamd, settings: Settings
) -> None:
    made = world.publish()
    settings.ANTIVIRUS_URL = "tcp://127.0.0.1:9"
    version = add_version(
        made,
        title="Cahier des clauses techniques",
        kind="cctp",
        name="CCTP.pdf",
        chunks=[b"%PDF-1.7 essai"],
        by=world.agent,
        now=timezone.now(),
    )
    piece = reverse("piece", args=[made.uuid, version.uuid])
    for work in (lambda: scan_document(version.pk), sweep):
        work()
        version.refresh_from_db()
        assert version.verdict == "pending"
        refused = client.get(piece)
        assert refused.status_code == 409
        assert "attente" in refused.content.decode().lower()
        with ZipFile(io.BytesIO(b"".join(read_all(whole_file(made), now=timezone.now())))) as whole:
            assert "CCTP.pdf" not in whole.namelist()
            note = next(name for name in whole.namelist() if name.startswith("LISEZ-MOI"))
            assert "Cahier des clauses techniques : CCTP.pdf, version 1" in whole.read(note).decode()
        shown = html.unescape(client.get(reverse("consultation", args=[made.uuid])).content.decode())
        assert "1 pièce en cours d'analyse par l'antivirus, elle paraîtra ici" in shown
        assert "Cahier des clauses techniques (CCTP.pdf)" in shown
    client.force_login(world.agent)
    shown = client.get(reverse("buyer-consultation", args=[made.uuid])).content.decode()
    assert str(version.get_verdict_display()) in shown
    assert "attente" in str(version.get_verdict_display())
    settings.ANTIVIRUS_URL = clamd.url
    sweep()
    assert client.get(piece).status_code == 200
    shown = html.unescape(client.get(reverse("consultation", args=[made.uuid])).content.decode())
    assert "en cours d'analyse" not in shown
    assert b"LISEZ-MOI" not in b"".join(read_all(whole_file(made), now=timezone.now()))


def test_who_deposited_is_told_of_a_change_and_counted_by_nobody(
    world: World, client: Client, tmp_path: Path
) -> None:
    consultation = world.publish()
    exchanges.follow(consultation, email="A@example.fr", now=timezone.now())
    world.deposit(consultation, tmp_path)
    _replace(world, consultation, b"%PDF-1.7 v2")
    at = timezone.now().replace(microsecond=0) + timedelta(days=40)
    services.set_deadline(consultation, at=at, reason="Pièce", by=world.agent, now=timezone.now())
    told = Mail.objects.filter(to=world.bidder.email, subject__contains=consultation.title).order_by("pk")
    assert ["nouvelle version" in told[0].body, "est reportée au" in told[1].body] == [True, True]
    assert not Mail.objects.filter(to=world.rival_bidder.email, subject__contains=consultation.title).exists()
    client.force_login(world.agent)
    address = reverse("buyer-consultation", kwargs={"consultation": consultation.uuid})
    assert "1 adresse à prévenir" in client.get(address).content.decode()
    notified = [
        json.loads(bytes(each.record)) for each in Entry.objects.filter(kind="notified").order_by("pk")
    ]
    assert [each["addresses"] for each in notified] == [1, 1]


def test_who_asks_about_a_piece_without_taking_it_is_not_in_the_register(world: World) -> None:
    made = world.publish()
    browser = Client()
    version = made.documents.order_by("pk")[0].current
    assert version is not None
    urls = [reverse("piece", args=[made.uuid, version.uuid]), reverse("whole-file", args=[made.uuid])]
    assert [browser.head(url).status_code for url in urls] == [200, 200]
    assert made.withdrawals.count() == 0
    for url in urls:
        browser.get(url)
    assert made.withdrawals.count() == 2
