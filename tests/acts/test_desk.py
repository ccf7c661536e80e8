"""The control authority's desk and the buyer's answers, by their pages: letters both ways, one timeline."""

import csv
import hashlib
import io
import re
import tarfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.accounts.models import User
from dematmp.acts import desk, timeline
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.fields import Upload
from dematmp.acts.figures import per_month
from dematmp.acts.models import Act, Transaction, Transmission
from dematmp.acts.package import members
from dematmp.acts.reading import read_return_envelope
from dematmp.acts.rules import months_from
from dematmp.acts.tasks import sweep, sweep_service
from dematmp.audit.models import Entry
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from dematmp.opening import closing
from deploy.ministry import Ministry
from deploy.services.clamd import EICAR, Clamd
from storage.stores import object_store
from tests.acts.service import acknowledged
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.world import World, organisation, page, pdf, person

PDF = pdf()
TEXT = "Il manque le rapport de présentation."


@pytest.fixture
def act(world: World, awarded: Consultation, ministry: Ministry) -> Act:  # noqa: F811
    made = prepared(world, awarded)
    acknowledged(made)
    return Act.objects.get(pk=made.pk)


def courrier(name: str = "lettre.pdf", data: bytes = PDF) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data, content_type="application/pdf")


def test_a_letter_is_scanned_before_its_documents_are_given(
    world: World, act: Act, clamd: Clamd, settings: Settings
) -> None:
    """It came by the ministry's mail, where nobody scanned it: its text is shown, its documents wait."""
    written(world, act)
    letter, validator = act.letters.get(), page(world.validator)
    name = letter.documents[0]
    address = reverse("buyer-letter-file", args=[act.uuid, letter.pk, name])
    settings.ANTIVIRUS_URL = "tcp://127.0.0.1:9"
    assert validator.get(address).status_code == 503
    settings.ANTIVIRUS_URL = clamd.url
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(EICAR)
        archive.addfile(info, io.BytesIO(EICAR))
    object_store().put(letter.archive_key, out.getvalue())
    refused = validator.get(address)
    assert refused.status_code == 409
    assert "Eicar" in refused.content.decode()
    assert TEXT in validator.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    letter.refresh_from_db()
    assert letter.verdict == "infected"


def of_another_territory() -> User:
    return person("gard", organisation("prefecture", 17300001, department="030", district="1"), "controller")


def written(world: World, act: Act, kind: str = "3-1", text: str = TEXT) -> None:
    address = reverse("prefecture-letter", kwargs={"act": act.uuid})
    form = {"kind": kind, "text": text, "document": courrier(), "sure": kind == "5-1"}
    answer = page(world.controller).post(address, form)
    assert answer.status_code == 302, answer.content.decode()
    sweep()  # reads the letter, as the worker does


def swept(until: str, act: Act) -> None:
    for _ in range(50):
        sweep_service()
        sweep()
        if Transmission.objects.filter(act=act).exclude(**{until: None}).exists():
            return
    raise AssertionError(until)


def test_a_request_for_pieces_is_written_read_and_answered_by_the_pages(world: World, act: Act) -> None:
    controller, validator = page(world.controller), page(world.validator)
    assert "Suivre cet acte" in controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    follow = reverse("prefecture-assign", args=[act.uuid])
    assert controller.post(follow, {"controleur": world.controller.uuid}).status_code == 302
    mail.outbox.clear()
    letter_form = {"kind": "3-1", "text": TEXT, "document": courrier(), "sure": False}
    controller.post(reverse("prefecture-letter", args=[act.uuid]), letter_form)
    desk_page = controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    assert "En cours d'envoi" in desk_page
    assert "Aucun courrier" not in desk_page
    sweep()
    assert (
        "En cours d'envoi" not in controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    )
    letter = act.letters.get()
    assert (letter.kind, letter.text, len(letter.documents)) == ("3-1", TEXT, 1)
    shown = validator.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    for words in (TEXT, "Répondre à ce courrier", "Une réponse est attendue", "Demande de pièces"):
        assert words in shown, words
    for name, who in (("buyer-letter-file", validator), ("prefecture-letter-file", controller)):
        found = who.get(reverse(name, args=[act.uuid, letter.pk, letter.documents[0]]))
        assert b"".join(found) == PDF
        assert found["Content-Disposition"].startswith("attachment")
        rest = who.get(
            reverse(name, args=[act.uuid, letter.pk, letter.documents[0]]), headers={"Range": "bytes=10-19"}
        )
        assert (rest.status_code, b"".join(rest)) == (206, PDF[10:20])
    address = reverse("buyer-act-answer", args=[act.uuid, letter.pk])
    assert "Envoyer les pièces demandées" in validator.get(address).content.decode()
    empty = validator.post(address, {"choice": "4"})
    assert "Documents</a> : Joignez au moins un document." in empty.content.decode()
    form = {"choice": "4", "documents": [courrier("rapport.pdf"), courrier("CCAP.pdf")]}
    assert validator.post(address, form).status_code == 302
    letter.refresh_from_db()
    assert letter.replied_at is not None
    assert Transaction.objects.get(pk=letter.reply_id).files.filter(rank__gte=1).count() == 2
    again = validator.post(address, {"choice": "4", "documents": [courrier()]})
    assert again.status_code == 400
    assert "déjà partie" in again.content.decode()
    read = controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    assert "Répondu" in read
    assert "CCAP.pdf" in read
    sent = controller.get(reverse("prefecture-answer-file", args=[act.uuid, letter.pk, 1]))
    assert b"".join(sent) == PDF
    assert controller.get(reverse("prefecture-answer-file", args=[act.uuid, letter.pk, 0])).status_code == 404
    assert timeline.situation(act, now=timezone.now()).holder == timeline.PREFECTURE
    assert {"act-assigned", "act-letter-written", "act-letter", "act-reply"} <= set(
        Entry.objects.values_list("kind", flat=True)
    )


def test_people_are_told_of_letters_and_answers(
    world: World, act: Act, django_capture_on_commit_callbacks: object
) -> None:
    desk.assign(act, to=world.controller, by=world.controller, now=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        written(world, act)
    told = [(each.to[0], each.subject) for each in mail.outbox]
    assert (world.validator.email, f"Demande de pièces complémentaires : acte {act.number}") in told
    mail.outbox.clear()
    letter = act.letters.get()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        form = {"choice": "3", "documents": [courrier()]}
        page(world.validator).post(reverse("buyer-act-answer", args=[act.uuid, letter.pk]), form)
    assert [each.subject for each in mail.outbox if each.to == [world.controller.email]] == [
        f"Réponse de {world.buyer} : acte {act.number}"
    ]


@pytest.mark.parametrize("kind", ["2-1", "4-1", "5-1"])
def test_every_kind_of_letter_arrives(world: World, act: Act, kind: str) -> None:
    written(world, act, kind, "" if kind == "2-1" else "Motif : l’avis est « tardif ».")
    letter = act.letters.get()
    assert letter.kind == kind
    assert "tardif" in letter.text or kind == "2-1"
    assert timeline.situation(act, now=timezone.now()).holder == (
        timeline.BUYER if kind == "4-1" else timeline.PREFECTURE
    )


def test_the_same_letter_sent_twice_is_one(world: World, act: Act) -> None:
    for _ in range(2):
        written(world, act)
    assert act.letters.count() == 1
    assert Entry.objects.filter(kind="act-letter-written").count() == 1


def test_a_letter_written_here_makes_the_archive_that_the_ministry_s_mail_would(
    world: World, act: Act
) -> None:
    for text in (TEXT, f"{TEXT} Et le plan."):
        written(world, act, text=text)
    wholes = [each.files.order_by("rank").last() for each in Transaction.objects.filter(type="3")]
    assert len({each.name for each in wholes}) == 2
    for each in wholes:
        assert re.fullmatch(rf"SLO-TACT--SPREF0341-{act.sender.siren}-[0-9]{{8}}-[0-9]+\.tar\.gz", each.name)
        data = io.BytesIO(b"".join(object_store().open(each.key)))
        found = {name: content.read() for name, _, content in members(data, strict=False)}
        listed = list(found)
        assert f"SLO-{listed[0].removesuffix('.xml')}.tar.gz" == each.name
        envelope = read_return_envelope(found[listed[0]])
        assert (envelope.siren, [file.name for file in envelope.messages]) == (act.sender.siren, [listed[1]])


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"kind": "3-1", "text": "", "document": courrier()}, "obligatoire"),
        ({"kind": "9-9", "text": "x", "document": courrier()}, "choix"),
        ({"kind": "3-1", "text": "x", "document": courrier("a.pdf", b"%PDF-1.7 cass\xe9")}, "refusé"),
        ({"kind": "3-1", "text": "x", "document": courrier("a.pdf", b"MZ\x90\x00")}, "pas un PDF"),
        ({"kind": "3-1", "text": "x", "document": courrier("a.pdf", b"")}, "vide"),
        ({"kind": "3-1", "text": "x" * 2001, "document": courrier()}, "2000"),
        ({"kind": "3-1", "text": "x"}, "obligatoire"),
        ({"kind": "5-1", "text": "x", "document": courrier()}, "Confirmez que le tribunal est saisi"),
    ],
)
def test_a_letter_that_cannot_go_is_told_and_loses_nothing(
    world: World, act: Act, form: dict[str, object], words: str
) -> None:
    document = form.get("document")
    if isinstance(document, SimpleUploadedFile):
        document.seek(0)
    answer = page(world.controller).post(reverse("prefecture-letter", args=[act.uuid]), form)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not act.letters.exists()


def test_only_the_territory_s_controllers_and_the_buyer_s_validators_may_act(world: World, act: Act) -> None:
    written(world, act)
    letter = act.letters.get()
    elsewhere = of_another_territory()
    pages = {
        "prefecture-act": [act.uuid],
        "prefecture-letter": [act.uuid],
        "prefecture-letter-file": [act.uuid, letter.pk, letter.documents[0]],
        "buyer-act-answer": [act.uuid, letter.pk],
        "buyer-act-cancel": [act.uuid],
        "buyer-letter-file": [act.uuid, letter.pk, letter.documents[0]],
    }
    for name, args in pages.items():
        for user in (elsewhere, world.bidder):
            assert page(user).get(reverse(name, args=args)).status_code == 404, name
    for name in ("buyer-act-answer", "buyer-act-cancel"):
        assert page(world.agent).get(reverse(name, args=pages[name])).status_code == 404
    upload = Upload("a.pdf", len(PDF), io.BytesIO(PDF))
    with pytest.raises(AccessRefused):
        desk.write_letter(act, kind="2-1", text="", document=upload, by=elsewhere, now=timezone.now())
    with pytest.raises(AccessRefused):
        desk.assign(act, to=elsewhere, by=elsewhere, now=timezone.now())


def test_an_act_of_another_operator_is_written_about_elsewhere(world: World, act: Act) -> None:
    Transmission.objects.filter(act=act).update(remote_id=10**9)
    act = Act.objects.get(pk=act.pk)
    upload = Upload("a.pdf", len(PDF), io.BytesIO(PDF))
    with pytest.raises(ActRefused, match="autre opérateur"):
        desk.write_letter(act, kind="2-1", text="", document=upload, by=world.controller, now=timezone.now())
    shown = page(world.controller).get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    assert "autre opérateur" in shown


def test_the_list_is_searched_filtered_and_exported(world: World, act: Act) -> None:
    controller = page(world.controller)
    address = reverse("prefecture")

    def count(**asked: object) -> int:
        return controller.get(address, asked).content.decode().count('<article class="result">')

    day = act.transmission.received_on
    assert day is not None
    assert count() == 1
    assert (count(mots="attribution lot"), count(mots="piscine"), count(mots=act.number)) == (1, 0, 1)
    assert (count(nature="1"), count(nature="4")) == (1, 0)
    assert (count(du=day), count(du=day + timedelta(days=1)), count(au=day)) == (1, 0, 1)
    assert (count(suite="controle"), count(suite="reponse"), count(suite="mes-actes")) == (1, 0, 0)
    written(world, act)
    desk.assign(act, to=world.controller, by=world.controller, now=timezone.now())
    assert (count(suite="reponse"), count(suite="mes-actes")) == (1, 1)
    assert count(du="n'importe quoi") == 1
    with time_machine.travel(datetime.combine(day, datetime.min.time(), tzinfo=UTC) + timedelta(days=70)):
        late = page(world.controller).get(address, {"suite": "controle"}).content.decode()
        assert "Aucun acte ne correspond" in late
    controller = page(world.controller)
    said = b"".join(controller.get(reverse("prefecture-csv"), {"mots": act.number})).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(said), delimiter=";"))
    assert len(rows) == 2
    assert rows[1][1] == act.identifier
    assert rows[1][7] == months_from(day, 2).isoformat()


def test_an_act_is_cancelled_from_its_page_after_a_word_of_warning(world: World, act: Act) -> None:
    validator = page(world.validator)
    address = reverse("buyer-act-cancel", args=[act.uuid])
    assert "Demander l'annulation" in validator.get(address).content.decode()
    assert validator.post(address).status_code == 302
    assert "déjà en cours" in validator.post(address).content.decode()
    swept("cancelled_at", act)
    act = Act.objects.get(pk=act.pk)
    assert timeline.situation(act, now=timezone.now()).holder == timeline.NOBODY
    assert "Annulé" in page(world.controller).get(reverse("prefecture")).content.decode()
    desk_page = page(world.controller).get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    assert "<strong>Annulé le" in desk_page
    assert "Deux mois après" not in desk_page
    for address in (reverse("buyer-act", args=[act.uuid]), reverse("buyer-acts")):
        shown = validator.get(address).content.decode()
        assert "<strong>Annulé le" in shown
        assert "notice-good" not in shown
        assert not re.search("Acquittement reçu(</strong>)?, reçu", shown)


def test_the_stamped_act_and_the_bordereau_are_given(world: World, act: Act, tmp_path: Path) -> None:
    for name in ("acte-tamponne.pdf", "bordereau.pdf"):
        answer = page(world.agent).get(reverse("buyer-act-file", args=[act.uuid, name]))
        assert answer.content.startswith(b"%PDF"), name


def test_an_act_is_entrusted_to_a_colleague_who_is_told(world: World, act: Act) -> None:
    colleague = person("seconde", world.prefecture, "controller")
    elsewhere = of_another_territory()
    controller, address = page(world.controller), reverse("prefecture-assign", args=[act.uuid])
    shown = controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    assert "seconde Essai" in shown
    assert elsewhere.email not in shown
    controller.post(address, {"controleur": elsewhere.uuid})
    assert Act.objects.get(pk=act.pk).controller is None
    for _ in range(2):
        assert controller.post(address, {"controleur": colleague.uuid}).status_code == 302
    assert Act.objects.get(pk=act.pk).controller == colleague
    assert Mail.objects.filter(to=colleague.email, subject__startswith="À suivre").count() == 1
    assert page(world.bidder).post(address, {"controleur": colleague.uuid}).status_code == 404


def test_figures_count_acts_letters_and_delays(world: World, act: Act) -> None:
    written(world, act)
    day = act.transmission.received_on
    assert day is not None
    (this, *before) = per_month(Act.objects.received_by(world.controller), today=day)
    assert (this.total, this.natures["1"], this.letters["3-1"], this.cancelled) == (1, 1, 1, 0)
    assert this.transmission_days == (day - act.decided_on).days
    assert this.answer_days is None
    assert sum(each.total for each in before) == 0
    form = {"choice": "4", "documents": [courrier()]}
    page(world.validator).post(reverse("buyer-act-answer", args=[act.uuid, act.letters.get().pk]), form)
    assert per_month(Act.objects.received_by(world.controller), today=day)[0].answer_days == 0
    long_ago = per_month(Act.objects.received_by(world.controller), today=months_from(day, 12))
    assert sum(each.total for each in long_ago) == 0
    controller = page(world.controller)
    assert "Délibérations" in controller.get(reverse("prefecture-figures")).content.decode()
    said = b"".join(controller.get(reverse("prefecture-figures-csv"))).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(said), delimiter=";"))
    assert (len(rows), len(rows[0]), rows[1][:2]) == (13, len(rows[1]), [f"{day:%Y-%m}", "1"])
    assert page(world.agent).get(reverse("prefecture-figures")).status_code == 404


def test_the_pieces_and_their_signatures_are_read_on_both_sides(world: World, act: Act) -> None:
    for side, who in (("buyer", world.agent), ("prefecture", world.controller)):
        found = page(who).get(reverse(f"{side}-act-piece", args=[act.uuid, 1]))
        assert hashlib.sha256(b"".join(found)).hexdigest() == act.document_sha256
        assert page(who).get(reverse(f"{side}-act-piece", args=[act.uuid, 2])).status_code == 404
        report = page(who).get(reverse(f"{side}-act-signatures", args=[act.uuid, 1])).content.decode()
        assert act.document_sha256 in report
        assert 'tag-good">valide' in report, "the seal of the platform on the act that it drew up"
        assert "La commission" not in report
        assert page(world.bidder).get(reverse(f"{side}-act-piece", args=[act.uuid, 1])).status_code == 404


def test_the_minutes_are_read_once_the_buyer_sends_them(
    world: World,
    act: Act,
    awarded: Consultation,  # noqa: F811
) -> None:
    controller, validator = page(world.controller), page(world.validator)
    minutes = reverse("prefecture-act-file", args=[act.uuid, "proces-verbal.pdf"])
    share = reverse("buyer-act-procedure", args=[act.uuid])
    assert validator.post(share).status_code in (400, 409)  # not closed yet
    closing.close(awarded.opening_session, by=world.members[0], now=timezone.now())
    assert controller.get(minutes).status_code == 404
    assert page(world.agent).post(share).status_code == 404
    assert "Communiquer la procédure" in validator.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    for _ in range(2):
        assert validator.post(share).status_code == 302
    assert Entry.objects.filter(kind="act-procedure-sent").count() == 1
    assert controller.get(minutes).content.startswith(b"%PDF")
    assert awarded.reference in controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    elsewhere = of_another_territory()
    assert page(elsewhere).get(minutes).status_code == 404
    agent = reverse("buyer-act-file", args=[act.uuid, "proces-verbal.pdf"])
    assert page(world.agent).get(agent).status_code == 404


def test_two_months_are_two_months_of_the_calendar() -> None:
    assert months_from(date(2026, 12, 31), 2) == date(2027, 2, 28)
    assert months_from(date(2026, 1, 10), 2) == date(2026, 3, 10)
    assert months_from(date(2027, 1, 31), -2) == date(2026, 11, 30)
