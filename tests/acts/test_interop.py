"""What a client of S2LOW relies on, in this process; the same over TLS and by raw sockets is in test_wire."""

import json
from io import BytesIO

import pytest

from dematmp.acts import messages as m
from dematmp.acts.models import Transaction
from dematmp.acts.package import members
from dematmp.acts.reading import read
from deploy.ministry import Ministry
from tests.acts.service import Caller, act_fields, multipart, posted, state, until


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
    assert before == b"KO\nPas d&#039;acquittement recu\n"
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
