"""What a client of S2LOW relies on, in this process; the same over TLS and by raw sockets is in test_wire."""

import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pypdf import PdfReader

from dematmp.acts import messages as m
from dematmp.acts.models import Agent, Transaction
from dematmp.acts.package import members
from dematmp.acts.reading import read
from dematmp.mails.models import Mail
from dematmp.mails.services import send
from deploy.ministry import Ministry
from deploy.services.clamd import EICAR, Clamd
from storage.stores import object_store
from tests.acts.service import PDF_SENT, Caller, act_fields, multipart, posted, state, until


def test_an_act_goes_to_the_ministry_and_its_receipt_comes_back(lea: Caller, ministry: Ministry) -> None:
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    _, receipt = state(lea, pk)
    message = read(receipt)
    assert isinstance(message, m.ActReceipt)
    assert message.act.subject == "Réhabilitation de l'école n°2"
    assert b'actes:DateReception="' in receipt
    steps = Transaction.objects.get(pk=pk).steps.order_by("pk")
    assert [each.status for each in steps] == [1, 2, 3, 4]


def test_the_files_of_an_acknowledged_act_are_listed_and_downloaded(lea: Caller, ministry: Ministry) -> None:
    pk = posted(lea)
    before = lea.get("actes_transac_get_files_list.php", transaction=pk).content
    assert before == b"KO\nPas d'acquittement recu\n"
    until(lambda: state(lea, pk)[0] == 4)
    files = json.loads(lea.get("actes_transac_get_files_list.php", transaction=pk).content)
    assert [each["mimetype"] for each in files] == ["text/xml", "application/pdf"]
    assert all(isinstance(value, str) for each in files for value in each.values())
    stamped = lea.get("actes_download_file.php", file=files[1]["id"], tampon="true").content
    assert stamped.startswith(b"%PDF-")
    assert b"ID : 034-123456789-20260110-2026_MP_001-DE" in stamped
    sheet = lea.get("actes_create_pdf.php", trans_id=pk).content
    assert sheet.startswith(b"%PDF-")


def test_two_annexes_of_the_same_name_keep_their_typologies(lea: Caller) -> None:
    pdf = dict(act_fields())["acte_pdf_file"][1]  # type: ignore[index]
    fields = [
        *act_fields(nature_code="4", type_acte="99_DC"),
        ("type_pj[]", "11_AE"),
        ("type_pj[]", "11_AP"),
        ("acte_attachments[]", ("piece.pdf", pdf)),
        ("acte_attachments[]", ("piece.pdf", pdf)),
    ]
    answer = lea.post(
        "actes_transac_create.php",
        multipart(fields, quoted=False),
        "multipart/form-data; boundary=limite",
    )
    made = Transaction.objects.get(pk=int(answer.content.split(b"\n")[1]))
    assert [each.typology for each in made.files.order_by("rank")] == ["", "99_DC", "11_AE", "11_AP"]
    from storage.stores import object_store

    archive = BytesIO(b"".join(object_store().open(made.archive_key)))
    listed = [name for name, _, _ in members(archive)]
    assert listed[0].startswith("TACT--123456789--")
    assert listed[2:] == [
        "99_DC-034-123456789-20260110-2026_MP_001-CC-1-1_1.pdf",
        "11_AE-034-123456789-20260110-2026_MP_001-CC-1-1_2.pdf",
        "11_AP-034-123456789-20260110-2026_MP_001-CC-1-1_3.pdf",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"number": "a"}, "Le numéro n&#039;est pas correct"),
        ({"number": "A_"}, "Le numéro n&#039;est pas correct"),
        ({"number": "A" * 16}, "Le numéro n&#039;est pas correct"),
        ({"decision_date": "2999-01-01"}, "dans le futur"),
        ({"decision_date": "1970-01-01"}, "date vide"),
        ({"decision_date": "2026-02-30"}, "calendrier"),
        ({"acte_pdf_file": None}, "Aucun fichier acte n&#039;a été posté"),
        ({"acte_pdf_file": ("vide.pdf", b"")}, "Erreur lors de la réception du fichier"),
        ({"type_acte": None}, "typologie absente"),
        ({"type_acte": "99_D"}, "Le code de la PJ doit faire 5 caractères"),
        ({"acte_pdf_file": ("a.pdf", b"texte")}, "PDF ou XML requis"),
        ({"acte_pdf_file": ("a.xml", b"<?xml version='1.0'?><a/>")}, "documents budgétaires"),
        (
            {"acte_pdf_file": ("a.xml", b"<?xml version='1.0'?><a/>"), "nature_code": "5"},
            "la classification 7.1",
        ),
        ({"nature_code": "7"}, "La nature"),
        ({"classif1": "x"}, "classif1 n&#039;est pas un entier"),
        ({"classif3": "x"}, "classif3 n&#039;est pas un entier"),
        ({"subject": None}, "L&#039;objet doit être présent"),
        ({"subject": "x" * 500}, "L&#039;objet est trop long"),
    ],
)
def test_a_wrong_field_is_answered_ko_with_http_200(
    lea: Caller, changes: dict[str, object], said: str
) -> None:
    answer = lea.form("actes_transac_create.php", act_fields(**changes))  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; charset=ISO-8859-1"
    first, reason = answer.content.decode("latin-1").split("\n", 1)
    assert (first, said in reason) == ("KO", True), reason
    assert not Transaction.objects.exists()


def test_a_latin_1_subject_and_a_utf_8_one_are_both_read(lea: Caller) -> None:
    subject = "Réhabilitation de l'école n°2"
    first = posted(lea, "LATIN", subject=subject.encode("latin-1"))
    second = posted(lea, "UTF", subject=subject.encode())
    assert {each.subject for each in Transaction.objects.filter(pk__in=[first, second])} == {subject}


@pytest.mark.parametrize("name", ["délibération n°2.pdf".encode("latin-1"), "délibération n°2.pdf".encode()])
def test_a_file_name_in_latin_1_or_utf_8_is_kept(lea: Caller, name: bytes) -> None:
    content = dict(act_fields())["acte_pdf_file"][1]  # type: ignore[index]
    pk = posted(lea, acte_pdf_file=(name, content))
    assert Transaction.objects.get(pk=pk).files.get(rank=1).posted_name == "délibération n°2.pdf"


def test_the_bytes_of_the_classification_are_stable(lea: Caller) -> None:
    first, second = (
        lea.get("actes_classification_fetch.php", api="1"),
        lea.get("actes_classification_fetch.php", api="1"),
    )
    assert first.content == second.content
    assert first.content.endswith(b"\r\n")
    assert first["Content-Type"] == "text/xml;charset=iso-8859-1"
    assert read(first.content)


def test_a_new_classification_is_asked_for_once_a_day_and_kept(lea: Caller, ministry: Ministry) -> None:
    answer = lea.get("actes_classification_request.php", api="1").content
    assert answer.startswith(b"OK\n")
    assert lea.get("actes_classification_request.php", api="1").content.startswith(b"KO\n")
    pk = int(answer.split(b"\n")[1])
    until(lambda: Transaction.objects.get(pk=pk).status == 4)
    assert lea.get("actes_classification_request.php", api="1").content.startswith(b"OK\n")


def test_an_act_is_cancelled_only_once_acknowledged_and_only_once(lea: Caller, ministry: Ministry) -> None:
    pk = posted(lea)
    cancel = [("api", "1"), ("id", pk)]
    assert lea.form("actes_transac_cancel.php", cancel).content.startswith(b"KO\n")
    until(lambda: state(lea, pk)[0] == 4)
    answer = lea.form("actes_transac_cancel.php", cancel).content
    assert answer.startswith(b"OK\n")
    other = int(answer.split(b"\n")[1])
    assert lea.form("actes_transac_cancel.php", cancel).content.startswith(b"KO\n")
    lines = lea.get("actes_transac_get_document.php", id=pk).content
    assert lines == f"6-1-{other}\n".encode()
    until(lambda: state(lea, pk)[0] == 0)
    assert b"ARAnnulation" in state(lea, pk)[1]
    assert lea.get("actes_transac_get_document.php", id=pk).content == b""


def letters(caller: Caller, pk: int) -> list[list[str]]:
    body = caller.get("actes_transac_get_document.php", id=pk).content.decode("ascii")
    return [line.split("-") for line in body.splitlines()]


def answer_to(caller: Caller, letter: str, choice: str, *files: str) -> bytes:
    content = dict(act_fields())["acte_pdf_file"][1]  # type: ignore[index]
    form: list[tuple[str, object]] = [
        ("api", "1"),
        ("id", letter),
        ("type_envoie", choice),
        ("type_acte", "99_DE"),
        ("acte_pdf_file", ("réponse.pdf", content)),
    ]
    for name in files:
        form += [("acte_attachments[]", (name, content)), ("type_pj[]", "99_DE")]
    answer: bytes = caller.form("actes_transac_reponse_create.php", form).content
    return answer


@pytest.mark.parametrize(
    ("kind", "choice", "files"),
    [("3-1", "4", ("b.pdf",)), ("3-1", "3", ()), ("4-1", "4", ()), ("4-1", "3", ())],
)
def test_a_letter_that_awaits_an_answer_is_received_receipted_and_answered(
    lea: Caller, ministry: Ministry, kind: str, choice: str, files: tuple[str, ...]
) -> None:
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    ministry.write_letter("034-123456789-20260110-2026_MP_001-DE", kind, "Merci d'envoyer le plan.")
    until(lambda: [each[:2] for each in letters(lea, pk)] == [[kind[0], "8"]])
    letter = letters(lea, pk)[0][2]
    unread = json.loads(lea.get("api/list_document_prefecture.php").content)
    assert [each["id"] for each in unread] == [letter]
    read_it = lea.get("api/document_prefecture_mark_as_read.php", transaction_id=letter)
    assert json.loads(read_it.content) == {"result": "ok"}
    assert json.loads(lea.get("api/list_document_prefecture.php").content) == []
    where = lea.get("actes_transac_get_document.php", id=letter)
    assert (where.status_code, where["Location"]) == (
        302,
        f"/modules/actes/actes_download_file.php?env={letter}",
    )
    archive = lea.client.get(where["Location"], **lea.headers)
    got = b"".join(archive.streaming_content)  # type: ignore[attr-defined]
    listed = [name for name, _, _ in members(BytesIO(got), strict=False)]
    assert any(f"-{kind}_" in name and name.endswith(".xml") for name in listed)
    Agent.objects.update(permission="CS")  # answering is depositing
    answer = answer_to(lea, letter, choice, *files)
    assert answer.startswith(b"OK\n"), answer
    reply = int(answer.split(b"\n")[1])
    until(lambda: state(lea, reply)[0] == 4)
    assert letters(lea, pk) == [[kind[0], "4", str(reply)]]


@pytest.mark.parametrize("kind", ["2-1", "5-1"])
def test_a_simple_letter_and_a_referral_await_no_receipt(lea: Caller, ministry: Ministry, kind: str) -> None:
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    ministry.write_letter("034-123456789-20260110-2026_MP_001-DE", kind, "Défaut de motivation")
    until(lambda: [each[:2] for each in letters(lea, pk)] == [[kind[0], "21"]])
    answer = answer_to(lea, letters(lea, pk)[0][2], "4")
    assert answer.startswith(b"KO\n" if kind == "5-1" else b"OK\n")


def test_an_anomaly_ends_the_act_with_its_reason_in_plain_ascii(lea: Caller, ministry: Ministry) -> None:
    ministry.mode = "anomaly"
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == -1)
    rest = state(lea, pk)[1]
    xml, _, message = rest.rpartition(b">\n")
    assert xml.startswith(b"<?xml")
    assert message.isascii()
    assert b"ODT-VERIF-01" in message
    again = lea.form("actes_transac_create.php", act_fields())
    assert again.content.startswith(b"KO\n")  # the ministry has seen this number


def test_an_anomaly_of_the_envelope_ends_the_act(lea: Caller, ministry: Ministry) -> None:
    ministry.mode = "envelope"
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == -1)
    assert b"PREF-VERIF-02" in state(lea, pk)[1]


def test_a_number_that_failed_before_the_ministry_serves_again(lea: Caller, ministry: Ministry) -> None:
    pk = posted(lea, type_acte="11_RP")  # not a typology of deliberations
    until(lambda: state(lea, pk)[0] == -1)
    assert b"11_RP" in state(lea, pk)[1]
    assert ministry.received() == {}
    again = posted(lea)
    until(lambda: state(lea, again)[0] == 4)


def test_a_broken_pdf_is_refused_before_it_leaves(lea: Caller, ministry: Ministry) -> None:
    pk = posted(lea, acte_pdf_file=("casse.pdf", b"%PDF-1.7\nrien"))
    until(lambda: state(lea, pk)[0] == -1)
    assert b"Fichier pdf corrompu dans l'archive" in state(lea, pk)[1]


def test_posts_are_accepted_where_clients_read(lea: Caller) -> None:
    pk = posted(lea)
    answer = lea.form("actes_transac_get_status.php?transaction=" + str(pk), act_fields("AUTRE"))
    assert answer.content.split(b"\n")[0] == b"OK"
    assert Transaction.objects.count() == 1


def test_nothing_of_another_authority_is_shown(lea: Caller, service: object, pki: object) -> None:
    from tests.acts.service import agent, authority

    held = pki.client("rival")  # type: ignore[attr-defined]
    agent(authority("987654321", name="Ailleurs"), held)
    pk = posted(lea)
    rival = Caller(held)
    assert rival.get("actes_transac_get_status.php", transaction=pk).content.startswith(b"KO\n")
    assert rival.get("actes_download_file.php", env=pk).status_code == 302
    assert rival.form("actes_transac_cancel.php", [("api", "1"), ("id", pk)]).content.startswith(b"KO\n")


def test_people_are_told_by_mail_of_the_states_that_matter(lea: Caller, ministry: Ministry) -> None:
    unchecked = {"broadcast_email[]": "typed@ville.example.fr"}
    assert Transaction.objects.get(pk=posted(lea, "SANS", **unchecked)).broadcast == []
    Transaction.objects.all().delete()
    told_too = {"broadcast_email[]": "maire@ville.example.fr", "show_broadcast_email": "on"}
    pk = posted(lea, **told_too)
    until(lambda: state(lea, pk)[0] == 4)
    told = Mail.objects.order_by("pk")
    assert {each.to for each in told} == {
        "lea.martin@ville.example.fr",
        "mairie@ville.example.fr",
        "maire@ville.example.fr",
    }
    assert {each.subject for each in told} == {"[Ville d'Essai] Notification concernant l'acte 2026_MP_001"}
    receipt = lea.get("actes_transac_get_ARActe.php", id=pk).content
    mail.outbox.clear()
    for each in told:
        send(each.pk, now=timezone.now())
    for sent in mail.outbox:
        files = {each[0]: each[1] for each in sent.attachments}
        unique = Transaction.objects.get(pk=pk).unique_id
        assert set(files) == {f"{unique}-1-{pk}-reponse.xml", "bordereau_acquittement.pdf"}
        assert files[f"{unique}-1-{pk}-reponse.xml"] in (receipt, receipt.decode("latin-1"))
        assert files["bordereau_acquittement.pdf"].startswith(b"%PDF")
    assert len(mail.outbox) == 3


def test_the_stamped_sources_go_with_the_mail_when_they_are_asked_for(
    lea: Caller, ministry: Ministry
) -> None:
    sent = {"acte_attachments[]": ("annexe.pdf", PDF_SENT), "type_pj[]": "99_DE"}
    told_too = {"broadcast_email[]": "maire@ville.example.fr", "show_broadcast_email": "on"}
    pk = posted(lea, **{**sent, **told_too, "send_sources": "on"})
    until(lambda: state(lea, pk)[0] == 4)
    mail.outbox.clear()
    send(Mail.objects.get(to="maire@ville.example.fr").pk, now=timezone.now())
    (message,) = mail.outbox
    files = {each[0]: each[1] for each in message.attachments}
    assert len(files) == 4
    assert "Reçu en préfecture" in PdfReader(BytesIO(files["annexe.pdf"])).pages[0].extract_text()


def test_numbered_fields_are_taken_in_the_order_of_their_numbers(lea: Caller) -> None:
    content = dict(act_fields())["acte_pdf_file"][1]  # type: ignore[index]
    fields = [
        *act_fields(nature_code="4", type_acte="99_DC"),
        ("type_pj[1]", "11_AP"),
        ("type_pj[0]", "11_AE"),
        ("acte_attachments[1]", ("b.pdf", content)),
        ("acte_attachments[0]", ("a.pdf", content)),
    ]
    pk = int(lea.form("actes_transac_create.php", fields).content.split(b"\n")[1])
    files = Transaction.objects.get(pk=pk).files.filter(rank__gte=2).order_by("rank")
    assert [(each.posted_name, each.typology) for each in files] == [("a.pdf", "11_AE"), ("b.pdf", "11_AP")]


def test_what_leaves_is_valid_by_the_official_schema(
    lea: Caller, ministry: Ministry, service: Any, shared: Path
) -> None:
    """The check that operators turn on (DEMATMP_ACTES_XSD): our messages pass it, others do not."""
    service.ACTES = {**service.ACTES, "schema": str(shared / "actes" / "actesv1_1.xsd")}
    pk = posted(
        lea, **{"acte_attachments[]": ("annexe.pdf", PDF_SENT), "type_pj[]": "99_DE", "document_papier": "1"}
    )
    until(lambda: state(lea, pk)[0] == 4)
    ministry.write_letter("034-123456789-20260110-2026_MP_001-DE", "3-1", "Merci d'envoyer le plan.")
    until(lambda: [each[:2] for each in letters(lea, pk)] == [["3", "8"]])
    reply = int(answer_to(lea, letters(lea, pk)[0][2], "4", "plan.pdf").split(b"\n")[1])
    asked = int(lea.get("actes_classification_request.php", api=1).content.split(b"\n")[1])
    until(lambda: state(lea, reply)[0] == 4 and state(lea, asked)[0] == 4)
    cancelled = int(lea.form("actes_transac_cancel.php", [("api", "1"), ("id", pk)]).content.split(b"\n")[1])
    until(lambda: state(lea, pk)[0] == 0)
    assert cancelled > asked
    # An archive made elsewhere, whose message is not one.
    second = posted(lea, "2026_MP_002")
    found = Transaction.objects.get(pk=second)
    data = b"".join(object_store().open(found.archive_key))
    kept = [(name, stream.read()) for name, _, stream in members(BytesIO(data), strict=False)]
    spoilt = [(name, each.replace(b"actes:Objet", b"actes:Sujet")) for name, each in kept]
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, each in spoilt:
            row = tarfile.TarInfo(name)
            row.size = len(each)
            archive.addfile(row, BytesIO(each))
    object_store().put(found.archive_key, out.getvalue())
    Transaction.objects.filter(pk=second).update(archive_size=len(out.getvalue()))
    until(lambda: state(lea, second)[0] == -1)
    assert b"schema" in state(lea, second)[1]


def test_an_infected_archive_is_an_error_and_never_leaves(
    lea: Caller, ministry: Ministry, service: Any, clamd: Clamd
) -> None:
    service.ANTIVIRUS_URL = clamd.url
    infected = {"acte_attachments[]": ("annexe.pdf", PDF_SENT + b"\n%" + EICAR), "type_pj[]": "99_DE"}
    pk = posted(lea, **infected)
    until(lambda: state(lea, pk)[0] == -1)
    assert b"virus" in state(lea, pk)[1].lower()
    assert Transaction.objects.get(pk=pk).steps.filter(status=3).count() == 0
    again = posted(lea, "2026_MP_001")  # its number was never used at the ministry
    until(lambda: state(lea, again)[0] == 4)
