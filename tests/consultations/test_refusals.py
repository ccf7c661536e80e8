"""Bad input gets a code, a French sentence and the next step; nothing is half-written."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.accounts.errors import SiretRefused
from dematmp.accounts.services import create_organisation
from dematmp.consultations import errors, services
from dematmp.consultations.documents import add_version
from dematmp.consultations.models import Consultation, Document, DocumentVersion
from deploy.services.clamd import EICAR, Clamd
from storage.stores import object_store
from tests.world import World


@pytest.mark.parametrize("number", ["123", "12345678901234", "abcdefghijklmn", "213401720000 1"])
def test_a_wrong_siret_is_refused(db: None, number: str) -> None:
    with pytest.raises(SiretRefused, match="SIRET") as error:
        create_organisation(kind="company", name="X", siret=number)
    assert error.value.code == "account.siret-refused"


def test_a_foreign_company_has_no_siret_but_a_number(db: None) -> None:
    firm = create_organisation(kind="company", name="Bau GmbH", country="DE", foreign_number="DE811907980")
    assert firm.siret is None


def test_a_consultation_whose_deadline_passed_is_not_published(world: World) -> None:
    made = world.draft()
    world.keys(made)
    now = timezone.now()
    services.set_deadline(made, at=now + timedelta(seconds=1), by=world.agent, now=now)
    services.submit(made, by=world.agent, now=now)
    services.validate(made, by=world.validator, now=now)
    with pytest.raises(errors.DeadlinePast) as error:
        services.publish(made, by=world.validator, now=now + timedelta(seconds=2))
    assert error.value.code == "consultation.deadline-past"
    made.refresh_from_db()
    assert made.published_at is None


def test_midnight_is_refused_as_a_deadline(world: World) -> None:
    from zoneinfo import ZoneInfo

    made, zone = world.draft(), ZoneInfo("Europe/Paris")
    midnight = (
        (timezone.now() + timedelta(days=3))
        .astimezone(zone)
        .replace(hour=0, minute=0, second=0, microsecond=0)
    )
    with pytest.raises(errors.MidnightDeadline):
        services.set_deadline(made, at=midnight, by=world.agent, now=timezone.now())


@pytest.mark.parametrize("code", ["00000000", "4521233", "travaux"])
def test_an_unknown_cpv_is_refused(world: World, code: str) -> None:
    from dematmp.consultations.models import Cpv

    Cpv.objects.create(code="45212330", label="Travaux de construction de bibliothèques")
    with pytest.raises(errors.CpvUnknown) as error:
        world.draft(cpv=code)
    assert error.value.code == "consultation.cpv-unknown"
    assert not Consultation.objects.exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\boot.ini", "", "..", "a\u202eb.pdf", "é" * 300])
def test_a_hostile_file_name_is_refused(world: World, name: str) -> None:
    made = world.draft()
    with pytest.raises(errors.NameRefused) as error:
        world.piece(made, name=name)
    assert error.value.code == "document.name-refused"
    assert Document.objects.count() == 1


def test_an_empty_file_is_refused_and_leaves_nothing(world: World) -> None:
    made = world.draft()
    before = sorted(object_store().list("documents"))
    with pytest.raises(errors.EmptyDocument):
        world.piece(made, data=b"")
    assert sorted(object_store().list("documents")) == before
    assert Document.objects.count() == 1


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(world: World, settings: Settings) -> None:
    settings.DOCUMENT_BYTES = 10
    made = Consultation.objects.create(
        buyer=world.buyer,
        reference="X",
        title="X",
        object="X",
        procedure="MAPA-O",
        cpv="45212330",
        created_by=world.agent,
        created_at=timezone.now(),
    )
    with pytest.raises(errors.DocumentTooLarge):
        add_version(
            made,
            title="X",
            kind="rc",
            name="x.pdf",
            chunks=[b"x" * 6] * 2,
            by=world.agent,
            now=timezone.now(),
        )
    assert not Document.objects.exists()


def test_an_infected_piece_is_never_served_nor_published(
    world: World, clamd: Clamd, settings: Settings
) -> None:
    settings.ANTIVIRUS_URL = clamd.url
    made = world.draft()
    world.piece(made, name="piege.com", data=EICAR)
    assert DocumentVersion.objects.get(name="piege.com").verdict == "infected"
    now = timezone.now()
    services.set_deadline(made, at=now + timedelta(days=9), by=world.agent, now=now)
    with pytest.raises(errors.NotReady, match=r"piege\.com"):
        services.submit(made, by=world.agent, now=now)


def test_the_author_does_not_validate(world: World) -> None:
    from dematmp.accounts.services import give_role

    made = world.draft()
    give_role(world.agent, world.buyer, "validator", now=timezone.now())
    now = timezone.now()
    services.set_deadline(made, at=now + timedelta(days=9), by=world.agent, now=now)
    services.submit(made, by=world.agent, now=now)
    with pytest.raises(errors.SamePerson):
        services.validate(made, by=world.agent, now=now)


def test_a_published_deadline_only_moves_later_and_says_why(world: World) -> None:
    made = world.publish()
    assert made.deadline is not None
    now = timezone.now()
    with pytest.raises(errors.WrongStep):
        services.set_deadline(made, at=made.deadline - timedelta(days=1), by=world.agent, reason="X", now=now)
    with pytest.raises(errors.NotReady):
        services.set_deadline(made, at=made.deadline + timedelta(days=1), by=world.agent, now=now)
    services.set_deadline(made, at=made.deadline + timedelta(days=1), by=world.agent, reason="X", now=now)
    assert made.deadlines.count() == 2


def test_a_form_sent_after_the_session_expired_says_so_and_keeps_nothing(world: World) -> None:
    made = world.draft()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.agent)
    answer = strict.post(
        f"/acheteur/consultations/{made.uuid}/pieces/",
        {"title": "CCTP", "kind": "cctp", "file": SimpleUploadedFile("CCTP.pdf", b"%PDF-1.7")},
    )
    assert answer.status_code == 403
    assert "Votre session a expiré" in answer.content.decode()
    assert Document.objects.count() == 1


def test_an_upload_by_a_visitor_signed_out_goes_to_the_sign_in_page(world: World, client: Client) -> None:
    made = world.draft()
    answer = client.post(f"/acheteur/consultations/{made.uuid}/pieces/", {"title": "X"})
    assert answer.status_code == 302
    assert answer["Location"].startswith("/compte/login/")


def test_a_program_named_pdf_is_no_piece(world: World) -> None:
    made = world.draft()
    with pytest.raises(errors.DocumentUnreadable, match=r"« prix\.pdf » n'est pas un PDF lisible"):
        world.piece(made, name="prix.pdf", data=b"MZ\x90\x00" + bytes(2000) + b"%PDF-1.7")
    assert Document.objects.filter(consultation=made).count() == 1


def test_a_refused_upload_through_the_page_keeps_what_was_typed(world: World, client: Client) -> None:
    made = world.draft()
    client.force_login(world.agent)
    empty = SimpleUploadedFile("CCTP.pdf", b"")
    answer = client.post(
        f"/acheteur/consultations/{made.uuid}/pieces/", {"title": "Mon CCTP", "kind": "cctp", "file": empty}
    )
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "document.empty" in page
    assert "Mon CCTP" in page
