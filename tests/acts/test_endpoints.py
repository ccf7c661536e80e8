"""Endpoints and refusals that the interop list names, one by one, as clients call them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.urls.resolvers import RoutePattern
from django.utils import timezone
from pypdf import PdfReader

from dematmp.acts.models import Authority, Transaction
from dematmp.acts.subscribers import Agent, AuthorityGroup
from dematmp.acts.transactions import IncludedFile, Step
from dematmp.api.s2low.urls import urlpatterns
from deploy.ministry import Ministry
from deploy.services.pki import TestAuthority
from tests.acts.service import (
    MODULE,
    PDF_SENT,
    Caller,
    act_fields,
    agent,
    authority,
    posted,
    state,
)
from tests.acts.test_interop import letters, until
from tests.conftest import ROOT
from tests.world import pdf


def acknowledged(caller: Caller, number: str = "2026_MP_001") -> int:
    pk = posted(caller, number)
    until(lambda: state(caller, pk)[0] == 4)
    return pk


def text_of(data: bytes) -> str:
    import io

    return "".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)


def test_what_is_read_is_what_the_address_names_whatever_body_is_posted_again(
    lea: Caller, ministry: Ministry
) -> None:
    act = acknowledged(lea)
    other = posted(lea, "2026_MP_002")
    for page, name in (
        ("actes_transac_get_document.php", "id"),
        ("actes_transac_get_ARActe.php", "id"),
        ("actes_transac_get_status.php", "transaction"),
        ("actes_transac_get_files_list.php", "transaction"),
    ):
        wanted = lea.get(page, **{name: act}).content
        body = f"api=1&{name}={other}".encode()
        again = lea.post(f"{page}?{name}={act}", body, "application/x-www-form-urlencoded").content
        assert again == wanted, page


def test_a_stamp_waits_for_the_receipt_and_bears_the_day_of_publication(
    lea: Caller, ministry: Ministry
) -> None:
    pk = posted(lea)
    main = IncludedFile.objects.get(transaction=pk, rank=1)
    early = lea.get("actes_transac_get_tampon.php", transaction=pk)
    assert early.content == b"KO\nPas d'acquittement recu\n"
    away = lea.get("actes_download_file.php", file=main.pk, tampon="true")
    assert (away.status_code, away["Location"]) == (302, "/")
    until(lambda: state(lea, pk)[0] == 4)
    found = lea.get("actes_transac_get_tampon.php", transaction=pk)
    assert found.status_code == 302
    act = Transaction.objects.get(pk=pk)
    stamped = lea.get(found["Location"]).content
    assert act.unique_id in text_of(stamped)
    dated = lea.get("actes_download_file.php", file=main.pk, tampon="true", date_affichage="2026-02-28")
    assert "28/02/2026" in text_of(dated.content)
    assert "28/02/2026" not in text_of(stamped)
    dated = lea.get("actes_download_file.php", file=main.pk, tampon="true", date_affichage="28/02/2026")
    assert "28/02/2026" in text_of(dated.content)
    bare = lea.get("actes_download_file.php", file=main.pk)
    assert b"".join(bare) == PDF_SENT


def test_a_receipt_is_given_byte_for_byte_by_number_and_by_identifier(
    lea: Caller, ministry: Ministry
) -> None:
    pk = acknowledged(lea)
    answer = lea.get("actes_transac_get_ARActe.php", id=pk, api=1)
    assert answer["Content-Type"] == "application/xml"
    assert b'actes:DateReception="' in answer.content
    unique = Transaction.objects.get(pk=pk).unique_id
    assert answer.content.decode("latin-1") in lea.get(
        "actes_transac_get_status.php", unique_id=unique
    ).content.decode("latin-1")
    early = posted(lea, "2026_MP_002")
    assert lea.get("actes_transac_get_ARActe.php", id=early).content == b"KO\nPas d'acquittement recu\n"


def test_an_act_is_closed_two_whole_months_after_its_receipt(lea: Caller, ministry: Ministry) -> None:
    first, second = acknowledged(lea), acknowledged(lea, "2026_MP_002")
    Step.objects.filter(status=4).update(at=datetime.fromisoformat("2026-12-15T10:00:00+01:00"))
    with time_machine.travel("2027-02-14T23:30:00+01:00", tick=True):  # 61 days later: not two months
        away = lea.form("actes_transac_close.php", [("id", first), ("status", "valid")])
        assert (away.status_code, away.content) == (302, b"")
        early = lea.form("actes_transac_close.php", [("api", "1"), ("id", first), ("status", "valid")])
        assert early.content.startswith(b"KO\n")
    with time_machine.travel("2027-02-15T00:30:00+01:00", tick=True):
        fields = [("api", "1"), ("liste_id[]", first), ("liste_id[]", second), ("status", "invalid")]
        assert lea.form("actes_transac_close.php", fields).content.startswith(b"OK\n")
        assert [state(lea, each)[0] for each in (first, second)] == [6, 6]
        again = lea.form("actes_transac_close.php", [("api", "1"), ("id", first), ("status", "valid")])
        assert again.content.startswith(b"KO\n")


def test_the_envelope_number_of_the_day_grows(lea: Caller) -> None:
    said = [lea.get("actes_transac_get_env_serial.php").content.split(b"\n") for _ in range(2)]
    assert [each[0] for each in said] == [b"OK", b"OK"]
    assert int(said[1][1]) > int(said[0][1])


def test_several_acts_are_confirmed_at_once_and_wrong_ones_skipped(
    lea: Caller, town: Authority, pki: TestAuthority
) -> None:
    waiting = [posted(lea, f"ATTENTE_{rank}", en_attente="1") for rank in range(2)]
    assert [state(lea, pk)[0] for pk in waiting] == [17, 17]
    back = "https://ged.example.fr/retour?e=%%ERROR%%&m=%%MESSAGE%%"
    found = lea.client.get(
        f"{MODULE}actes_transac_post_confirm_api_multi.php",
        {"id[]": [*map(str, waiting), "999999"], "url_return": back},
        **lea.headers,
    )
    assert (found.status_code, found["Location"].partition("&")[0]) == (
        302,
        "https://ged.example.fr/retour?e=0",
    )
    assert [state(lea, pk)[0] for pk in waiting] == [1, 1]


def test_an_address_of_return_that_no_header_bears_is_refused_before_anything_is_done(lea: Caller) -> None:
    pk = posted(lea, en_attente="1")
    back = "https://ged.example.fr/\r\nSet-Cookie: a=b"
    answer = lea.get("actes_transac_post_confirm_api.php", id=pk, url_return=back)
    assert (answer.status_code, answer.content[:3]) == (200, b"KO\n")
    assert state(lea, pk)[0] == 17


def test_the_lists_are_of_the_authority_the_last_acts_first(
    lea: Caller, town: Authority, pki: TestAuthority, ministry: Ministry
) -> None:
    acts = [acknowledged(lea, f"ACTE_{rank}") for rank in range(3)]
    held = pki.client("paul")
    agent(town, held)
    paul = Caller(held)
    elsewhere_held = pki.client("ailleurs")
    agent(authority("987654321"), elsewhere_held)
    listed = json.loads(paul.get("api/list_actes.php", status_id=4, limit=2).content)["transactions"]
    assert [int(each["id"]) for each in listed] == [acts[2], acts[1]]
    assert json.loads(paul.get("api/number_actes.php", status_id=4).content)["nb_transactions"] == 3
    assert json.loads(Caller(elsewhere_held).get("api/number_actes.php", status_id=4).content) | {
        "nb_transactions": 0
    } == json.loads(Caller(elsewhere_held).get("api/number_actes.php", status_id=4).content)
    assert json.loads(paul.get("api/list_actes.php").content)["status_id"] == "0"
    # A number alone is found whatever its state; dates bound the arrival in the state that is asked.
    by_number = json.loads(paul.get("api/list_actes.php", number="ACTE_1").content)["transactions"]
    assert [int(each["id"]) for each in by_number] == [acts[1]]
    Step.objects.filter(transaction=acts[2], status=4).update(at=datetime(2026, 1, 10, 12, tzinfo=UTC))
    on_that_day = {"status_id": 4, "min_date": "2026-01-10", "max_date": "2026-01-10"}
    dated = json.loads(paul.get("api/list_actes.php", **on_that_day).content)["transactions"]
    assert [int(each["id"]) for each in dated] == [acts[2]]
    # An act remains its owner's; a letter of the prefecture is the authority's.
    assert paul.get("actes_transac_get_status.php", transaction=acts[0]).content.startswith(b"KO\n")
    ministry.write_letter(Transaction.objects.get(pk=acts[0]).unique_id, "2-1", "Vu.")
    until(lambda: letters(lea, acts[0]))
    found = json.loads(paul.get("api/list_document_prefecture.php").content)
    assert [each["related_transaction_id"] for each in found] == [str(acts[0])]
    letter = found[0]["id"]
    assert letters(lea, acts[0])[0][2] == letter
    archive = paul.get("actes_transac_get_document.php", id=letter)
    assert archive.status_code == 302
    assert b"".join(paul.get(archive["Location"]))[:2] == b"\x1f\x8b"
    assert json.loads(
        paul.get("api/document_prefecture_mark_as_read.php", transaction_id=letter).content
    ) == {"result": "ok"}
    assert json.loads(lea.get("api/list_document_prefecture.php").content) == []
    assert Caller(elsewhere_held).get("actes_transac_get_document.php", id=letter).content.startswith(b"KO")


def test_a_group_counts_the_acts_decided_in_a_month_by_authority(service: object, pki: TestAuthority) -> None:
    group = AuthorityGroup.objects.create(name="Agglomération")
    first, other = authority(group=group, name="Bourg"), authority("987654321", group=group, name="Albi")
    held = {name: pki.client(name) for name in ("lea", "chef", "autre")}
    agent(first, held["lea"])
    agent(first, held["chef"], role="GADM")
    lea, chief = Caller(held["lea"]), Caller(held["chef"])
    posted(lea, "JANVIER_1", decision_date="2026-01-31")
    posted(lea, "FEVRIER_1", decision_date="2026-02-01")
    page = "api/nb_actes_by_authorities_and_date.php"
    said = json.loads(chief.get(page, month=1, year=2026).content)
    assert (said["result"], said["min_date"], said["max_date"]) == ("ok", "2026-01-01", "2026-01-31")
    assert said["nbTransactionPerAuthorities"] == [
        {"authority_id": str(other.pk), "name": "Albi", "nb_transactions": "0"},
        {"authority_id": str(first.pk), "name": "Bourg", "nb_transactions": "1"},
    ]
    assert json.loads(lea.get(page).content)["status"] == "error"


def test_a_certificate_of_one_account_enters_whatever_login_comes_with_it(lea: Caller) -> None:
    assert Caller(lea.held, login="n'importe qui").get("/api/test-connexion.php").content == b"OK"


def test_a_login_opens_a_session_under_the_name_that_clients_look_for(
    town: Authority, pki: TestAuthority
) -> None:
    held = pki.client("partage")
    agent(town, held, login="jeanne")
    agent(town, held, login="karim")
    shared = Caller(held)
    shared.form("/login.php", [("login", "karim"), ("password", "secret")])
    assert "PHPSESSID" in shared.client.cookies
    said = json.loads(shared.get("/api/info-connexion.php").content)
    assert said["user_info"]["login"] == "karim"


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ("actes_download_file.php", {"file": "²"}),
        ("actes_download_file.php", {"file": "9" * 30}),
        ("/admin/users/admin_users.php", {"api": "1", "authority": "²", "group": "٣"}),
        ("/admin/users/admin_user_detail.php", {"id": "²"}),
        ("/admin/authorities/admin_authority_detail.php", {"id": "9" * 40}),
        ("/admin/authorities/admin_authorities.php", {"api": "1", "group": "²"}),
        ("api/list_actes.php", {"status_id": "4", "offset": "9" * 20}),
        ("api/number_actes.php", {"status_id": "-" + "9" * 20}),
        ("actes_transac_set_archive_url.php", {"id": "1", "url": "https://sae.example.fr/1"}),
    ],
)
def test_a_number_that_is_none_is_refused_in_the_way_of_its_page(
    town: Authority, pki: TestAuthority, page: str, asked: dict[str, str]
) -> None:
    held = pki.client("chef")
    agent(town, held, role="ADM")
    assert Caller(held).get(page, **asked).status_code in (200, 302)


def test_an_administrator_lists_the_authorities_that_it_runs(town: Authority, pki: TestAuthority) -> None:
    authority("987654321")
    held = pki.client("chef")
    agent(town, held, role="ADM")
    said = json.loads(Caller(held).get("/admin/authorities/admin_authorities.php", api=1).content)
    assert [each["siren"] for each in said] == [town.siren]


def test_an_account_made_on_the_certificate_of_another_needs_a_login(
    town: Authority, pki: TestAuthority
) -> None:
    chief_held, held = pki.client("chef"), pki.client("lea")
    agent(town, chief_held, role="ADM")
    model = agent(town, held, login="lea")
    chief = Caller(chief_held)
    fields = [
        ("api", "1"), ("name", "Durand"), ("givenname", "Zoé"), ("email", "zoe@ville.example.fr"),
        ("status", "1"), ("authority_id", town.pk), ("role", "USER"), ("perm_1", "RW"),
        ("new_id", model.pk),
    ]  # fmt: skip
    page = "/admin/users/admin_user_edit_handler.php"
    assert json.loads(chief.form(page, fields).content)["status"] == "error"
    with_login = [*fields, ("login", "zoe"), ("password", "s3cret-zoe"), ("password2", "s3cret-zoe")]
    made = json.loads(chief.form(page, with_login).content)
    assert made["status"] == "ok"
    assert bytes(Agent.objects.get(pk=made["id"]).certificate) == bytes(model.certificate)
    assert Caller(held, login="zoe", password="s3cret-zoe").get("/api/test-connexion.php").content == b"OK"


PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"acte_attachments[]": ("annexe.exe", b"MZ" + bytes(100)), "type_pj[]": "99_AU"}, "requis"),
        ({"acte_attachments[]": ("annexe.pdf", pdf())}, "typologie"),
        ({"acte_attachments[]": ("annexe.pdf", b""), "type_pj[]": "99_AU"}, "réception"),
        ({"acte_pdf_file": ("acte.png", PNG)}, "PDF"),
    ],
)
def test_each_refusal_of_a_file_is_ko_with_http_200(
    lea: Caller, changes: dict[str, object], words: str
) -> None:
    answer = lea.form("actes_transac_create.php", act_fields(**changes))
    said = answer.content.decode("latin-1")
    assert (answer.status_code, said[:3]) == (200, "KO\n")
    assert words in said


def test_an_archiving_system_may_say_twice_that_it_has_an_act(
    lea: Caller, town: Authority, pki: TestAuthority, ministry: Ministry
) -> None:
    pk = acknowledged(lea)
    held = pki.client("archives")
    agent(town, held, role="ARCH")
    for status in (19, 12, 12, 13):
        fields = [("transaction_id", pk), ("status_id", status)]
        answer = Caller(held).form("api/actes_sae_status.php", fields)
        assert json.loads(answer.content) == {"status": "ok"}
    refused = Caller(held).form("api/actes_sae_status.php", [("transaction_id", pk), ("status_id", 12)])
    assert (refused.status_code, list(json.loads(refused.content))) == (400, ["error"])
    assert timezone.now() - Transaction.objects.get(pk=pk).created_at < timedelta(hours=1)


def test_an_empty_post_is_refused_even_without_saying_that_a_program_speaks(lea: Caller) -> None:
    """What a server makes of a body that it dropped: a redirection would be taken for the answer."""
    answer = lea.post("actes_transac_create.php", b"", "application/x-www-form-urlencoded")
    assert answer.status_code == 200
    assert answer.content.startswith(b"KO\n")


def test_a_doubled_slash_is_one(lea: Caller) -> None:
    """`https://…/` joined to `/modules/…`."""
    where = "//modules/actes/actes_classification_fetch.php"
    answer = lea.client.get("/", {"api": 1}, **lea.headers, PATH_INFO=where)  # type: ignore[arg-type]
    assert answer.content.startswith(b"<?xml")


@pytest.mark.parametrize("department", ["999", "020", "975x", "123", "34"])
def test_a_department_that_is_none_is_refused_as_the_administration_says_it(
    town: Authority, pki: TestAuthority, department: str
) -> None:
    held = pki.client("chef")
    agent(town, held, role="SADM")
    fields = [("id", town.pk), ("department", department), ("api", 1)]
    answer = Caller(held).form("/admin/authorities/admin_authority_edit_handler.php", fields)
    assert answer["Content-Type"].startswith("text/plain")
    assert json.loads(answer.content)["status"] == "error"
    assert Authority.objects.get(pk=town.pk).department == "034"


def test_the_record_of_a_transaction_is_read_and_copied_as_it_was_written(
    lea: Caller, ministry: Ministry
) -> None:
    pk = acknowledged(lea)
    said = text_of(lea.get("actes_create_pdf.php", trans_id=pk).content)
    assert "Bordereau d'acquittement de transaction" in said
    assert "Martin Léa" in said or "MARTIN Léa" in said
    names = IncludedFile.objects.filter(transaction=pk, rank__gte=1).values_list("name", flat=True)
    for each in names:
        assert each in said.replace("\n", "")


def test_the_reference_names_every_address() -> None:
    said = (ROOT / "docs" / "reference" / "api-s2low.md").read_text()
    literal = [str(each.pattern) for each in urlpatterns if isinstance(each.pattern, RoutePattern)]
    names = [each.rsplit("/", 1)[-1] for each in literal]
    missing = [name for name in names if name not in said]
    assert missing == []


def test_our_own_faults_are_answered_as_refusals_are(
    lea: Caller, ministry: Ministry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("la base a disparu")

    monkeypatch.setattr("dematmp.acts.follow_ups.request_classification", broken)
    answer = lea.get("actes_classification_request.php", api="1")
    assert (answer.status_code, answer.content.split(b"\n")[0]) == (200, b"KO")
    assert b"la base a disparu" not in answer.content
    assert "la base a disparu" in caplog.text
