"""Every page, by each visitor: what one may see renders, the rest answers 404, a GET writes nothing."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.bids.models import Bid
from dematmp.consultations import exchanges
from dematmp.consultations.models import Consultation, Withdrawal
from dematmp.opening.models import OpenedFile
from tests.opening.test_opening import opened
from tests.world import World, person

PUBLIC = [
    "home",
    "help",
    "accessibility",
    "journal",
    "account_login",
    "account_signup",
    "account_reset_password",
]
WRITES_ON_GET = {"whole-file", "piece"}  # the register of downloads is a log of accesses


@pytest.fixture
def finished(world: World, tmp_path: Path) -> Consultation:
    """A consultation opened, awarded, with a question and its answer."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    question = exchanges.ask(consultation, text="Une visite ?", email="q@example.fr", now=timezone.now())
    exchanges.answer(question, text="Oui.", by=world.agent, now=timezone.now())
    world.deposit(consultation, tmp_path)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
    return consultation


def addresses(consultation: Consultation) -> dict[str, str]:
    bid, file = Bid.objects.get(), OpenedFile.objects.order_by("pk").first()
    assert file is not None
    one = {"consultation": consultation.uuid}
    buyer = ["", "-deadline", "-piece", "-ceremony", "-questions", "-registers", "-register-csv"]
    found = {f"buyer-consultation{name}" if not name else f"buyer{name}": "" for name in buyer}
    found = {name: reverse(name, kwargs=one) for name in found}
    found |= {name: reverse(name) for name in ("buyer", "buyer-new", "committee", "deposits", "prefecture")}
    found |= {name: reverse(name) for name in ("space", "tokens", "new-company")}
    found |= {"session": reverse("session", kwargs=one), "buyer-award": reverse("buyer-award", kwargs=one)}
    found |= {"minutes": reverse("minutes", kwargs={**one, "form": "pdf"})}
    found |= {"opened-file": reverse("opened-file", kwargs={**one, "file": file.uuid})}
    found |= {name: reverse(name, kwargs={"deposit": bid.uuid}) for name in ("deposit", "receipt-json")}
    found |= {name: reverse(name, kwargs=one) for name in ("consultation", "whole-file")}
    version = consultation.documents.get().current
    assert version is not None
    found["piece"] = reverse("piece", kwargs={**one, "version": version.uuid})
    return found


BUYER = {
    "buyer",
    "buyer-consultation",
    "buyer-questions",
    "buyer-registers",
    "buyer-register-csv",
}
AGENT = BUYER | {"buyer-new", "buyer-deadline", "buyer-piece", "buyer-ceremony"}
COMMITTEE = {"committee", "session", "minutes", "opened-file"}
BIDDER = {"deposits", "deposit", "receipt-json"}
ANYONE = {"consultation", "whole-file", "piece"}
SIGNED_IN = {"space", "tokens", "new-company"}


@pytest.mark.parametrize(
    ("who", "may"),
    [
        ("agent", AGENT),
        ("validator", BUYER | {"buyer-award"}),
        ("bidder", BIDDER),
        ("rival_bidder", {"deposits"}),
        ("controller", {"prefecture"}),
    ],
)
def test_each_sees_its_own_and_404_elsewhere(
    world: World, finished: Consultation, client: Client, who: str, may: set[str]
) -> None:
    client.force_login(getattr(world, who))
    wrong = {}
    for name, address in addresses(finished).items():
        expected = 200 if name in may | ANYONE | SIGNED_IN else 404
        status = client.get(address).status_code
        if status != expected:
            wrong[name] = status
    assert wrong == {}


def test_a_member_sees_the_session_and_not_the_buyer_s_pages(
    world: World, finished: Consultation, client: Client
) -> None:
    client.force_login(world.members[0])
    found = {name: client.get(address).status_code for name, address in addresses(finished).items()}
    allowed = COMMITTEE | ANYONE | SIGNED_IN
    assert {name for name, status in found.items() if status == 200} == allowed


def test_another_buyer_s_agent_sees_nothing_of_it(
    world: World, finished: Consultation, client: Client
) -> None:
    from tests.world import organisation

    other = person("ailleurs", organisation("buyer", 26340077), "agent", "validator", "member")
    client.force_login(other)
    names = (BUYER | COMMITTEE) - {"buyer", "committee"}
    found = {
        name: client.get(address).status_code
        for name, address in addresses(finished).items()
        if name in names
    }
    assert set(found.values()) == {404}


def test_a_visitor_signed_out_is_sent_to_sign_in(
    world: World, finished: Consultation, client: Client
) -> None:
    for name, address in addresses(finished).items():
        answer = client.get(address)
        if name in ANYONE:
            assert answer.status_code == 200
        else:
            assert answer["Location"].startswith("/compte/login/"), name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_pages_render_without_a_cookie(world: World, client: Client, name: str) -> None:
    answer = client.get(reverse(name))
    assert answer.status_code == 200
    if not name.startswith("account_"):
        assert not answer.cookies


def test_the_file_is_downloaded_without_account_nor_cookie_and_registered(
    world: World, client: Client
) -> None:
    consultation = world.publish()
    answer = client.get(reverse("whole-file", kwargs={"consultation": consultation.uuid}))
    assert b"".join(answer.streaming_content).startswith(b"PK")  # type: ignore[attr-defined]
    assert not answer.cookies
    assert Withdrawal.objects.get().email == ""


def test_a_consultation_not_published_is_not_public(world: World, client: Client) -> None:
    draft = world.draft()
    assert client.get(reverse("consultation", kwargs={"consultation": draft.uuid})).status_code == 404
    assert draft.title not in client.get("/?closes=on").content.decode()


def test_the_estimated_value_is_never_public(world: World, client: Client) -> None:
    from decimal import Decimal

    consultation = world.publish(world.draft(estimated_value=Decimal("987654.00")))
    for address in (f"/consultations/{consultation.uuid}/", f"/api/v1/consultations/{consultation.uuid}"):
        assert (
            "987"
            not in client.get(address)
            .content.decode()
            .replace(str(consultation.uuid), "")[:200_000]
            .split("SHA-256")[0]
            .split("keys")[0]
        )


def test_the_buyer_does_not_count_the_bids_before_the_deadline(
    world: World, client: Client, tmp_path: Path
) -> None:
    consultation = world.publish()
    world.deposit(consultation, tmp_path)
    client.force_login(world.agent)
    for name in ("buyer-consultation", "buyer-registers"):
        page = client.get(reverse(name, kwargs={"consultation": consultation.uuid})).content.decode()
        assert world.company.name not in page
        assert Bid.objects.get().number not in page


def test_the_register_of_deposits_says_who_was_in_time(
    world: World, finished: Consultation, client: Client
) -> None:
    client.force_login(world.agent)
    assert finished.deadline is not None
    with time_machine.travel(finished.deadline + timedelta(seconds=5)):
        client.force_login(world.agent)
        page = client.get(reverse("buyer-registers", kwargs={"consultation": finished.uuid})).content.decode()
    assert "dans les délais" in page
    assert world.company.name in page


@pytest.mark.parametrize("who", ["agent", "validator", "bidder", "controller"])
def test_a_get_writes_nothing(world: World, finished: Consultation, client: Client, who: str) -> None:
    client.force_login(getattr(world, who))
    for name, address in addresses(finished).items():
        if name in WRITES_ON_GET:
            continue
        with CaptureQueriesContext(
            connection,
        ) as captured:
            client.get(address)
        written = [q["sql"] for q in captured if q["sql"].split()[0] in {"INSERT", "UPDATE", "DELETE"}]
        assert written == [], name


def test_the_whole_preparation_through_the_pages(world: World, client: Client) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    from dematmp.consultations.documents import scan_version
    from dematmp.consultations.models import DocumentVersion

    client.force_login(world.agent)
    form = {
        "buyer": str(world.buyer.uuid),
        "reference": "2026-77",
        "title": "Voirie",
        "object": "Voirie",
        "procedure": "MAPA-O",
        "cpv": "45233140",
        "lots": "1 : Chaussée\n2 : Trottoirs",
        "criteria": "Prix : 60\nValeur technique : 40",
        "kinds": ["candidature", "offre"],
    }
    answer = client.post(reverse("buyer-new"), form)
    made = Consultation.objects.get()
    page = reverse("buyer-consultation", kwargs={"consultation": made.uuid})
    assert answer["Location"] == page
    piece = {"title": "RC", "kind": "rc", "file": SimpleUploadedFile("RC.pdf", b"%PDF-1.7")}
    assert client.post(f"{page}pieces/", piece)["Location"] == page
    scan_version(DocumentVersion.objects.get().pk, now=timezone.now())
    day = (timezone.now() + timedelta(days=30)).date().isoformat()
    assert client.post(f"{page}date-limite/", {"date": day, "time": "12:00:00"})["Location"] == page
    world.keys(made)
    assert client.post(f"{page}soumettre/")["Location"] == page
    client.force_login(world.validator)
    assert client.post(f"{page}valider/")["Location"] == page
    assert client.post(f"{page}publier/")["Location"] == page
    assert client.get(reverse("consultation", kwargs={"consultation": made.uuid})).status_code == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cpv": "99999999999"}, "CPV"),
        ({"lots": "un lot"}, "Ligne illisible"),
        ({"lots": "1 : A\n1 : B"}, "deux fois"),
        ({"criteria": "Prix : 50"}, "doit faire 100"),
    ],
)
def test_a_malformed_consultation_is_explained(
    world: World, client: Client, change: dict[str, str], words: str
) -> None:
    client.force_login(world.agent)
    form = {
        "buyer": str(world.buyer.uuid),
        "reference": "R",
        "title": "T",
        "object": "O",
        "procedure": "MAPA-O",
        "cpv": "45233140",
        "kinds": ["offre"],
    }
    answer = client.post(reverse("buyer-new"), {**form, **change})
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not Consultation.objects.exists()


def test_a_refused_step_is_a_page_not_a_failure(world: World, client: Client) -> None:
    draft = world.draft()
    client.force_login(world.agent)
    answer = client.post(reverse("buyer-submit", kwargs={"consultation": draft.uuid}))
    assert answer.status_code == 409
    assert "consultation.not-ready" in answer.content.decode()


def test_a_company_registers_itself_and_makes_a_token(client: Client, world: World) -> None:
    from tests.world import siret

    newcomer = User.objects.create_user("neuve@example.fr", "phrase de passe 42")
    client.force_login(newcomer)
    wrong = client.post(reverse("new-company"), {"name": "Neuve", "siret": "123", "country": "FR"})
    assert wrong.status_code == 400
    assert "account.siret-refused" in wrong.content.decode()
    assert (
        client.post(
            reverse("new-company"), {"name": "Neuve", "siret": siret(50112233), "country": "FR"}
        ).status_code
        == 302
    )
    firm = newcomer.organisations("administrator").get()
    shown = client.post(
        reverse("tokens"), {"label": "poste", "organisation": str(firm.uuid)}
    ).content.decode()
    assert "dmp_" in shown
    assert "dmp_" not in client.get(reverse("tokens")).content.decode()


def test_an_unknown_page_says_what_to_do(client: Client, db: None) -> None:
    answer = client.get("/nulle-part/")
    assert answer.status_code == 404
    assert "Que faire" in answer.content.decode()


def test_the_timestamp_authority_answers_over_http(world: World, client: Client) -> None:
    import hashlib

    from dematmp.audit.keys import authority_certificate
    from signing.timestamps import make_request, verify_token

    digest = hashlib.sha256(b"x").digest()
    answer = client.post("/tsa", make_request(digest, 7), content_type="application/timestamp-query")
    verify_token(answer.content, digest=digest, ca_pem=authority_certificate(), nonce=7)
    assert client.post("/tsa", b"x", content_type="text/plain").status_code == 400


def test_the_journal_is_public_but_not_the_entries_of_an_open_consultation(
    world: World, client: Client, tmp_path: Path
) -> None:
    from dematmp.audit.checkpoints import publish
    from dematmp.audit.models import Head
    from signing.tlog import entries_path, tile_path

    consultation = world.publish()
    world.deposit(consultation, tmp_path)
    size = Head.objects.get().size
    before = client.get("/journal/checkpoint").content.decode()
    assert before != Head.objects.get().note, "what just happened is not public at once"
    assert client.get(f"/journal/{tile_path(0, 0, size)}").status_code == 404
    publish(now=timezone.now())
    assert client.get("/journal/checkpoint").content.decode() == Head.objects.get().note
    assert len(client.get(f"/journal/{tile_path(0, 0, size)}").content) == 32 * size
    bundle = f"/journal/{entries_path(0, size)}"
    assert client.get(bundle).status_code == 404
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        assert client.get(bundle).status_code == 200


@pytest.mark.parametrize(
    "path", ["tile/0/999", "tile/0/../../x", "tile/99/000", "tile/entries/zzz", "tile/0/000.p/0", "x"]
)
def test_hostile_journal_paths_answer_404(world: World, client: Client, path: str) -> None:
    assert client.get(f"/journal/{path}").status_code == 404


def test_a_stranger_s_uuid_answers_404(world: World, client: Client) -> None:
    visits: list[Callable[[], str]] = [lambda: f"/consultations/{uuid.uuid4()}/"]
    assert {client.get(visit()).status_code for visit in visits} == {404}


def test_after_the_deadline_the_door_of_late_deposits_is_shown_until_the_opening(
    world: World, client: Client, tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path)
    page, door = reverse("consultation", args=[consultation.uuid]), "Déposer hors délai"
    assert door not in client.get(page).content.decode()
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        shown = client.get(page).content.decode()
        assert door in shown
        assert reverse("new-deposit", args=[consultation.uuid]) in shown
        opened(world, consultation)
        assert door not in client.get(page).content.decode()
