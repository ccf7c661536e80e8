"""Forms as clients post them: whole or refused, each file with what stands at its place."""

import base64

import pytest

from dematmp.acts.models import Transaction
from dematmp.acts.transactions import IncludedFile
from tests.acts.service import PDF_SENT, Caller, act_fields, multipart, posted


@pytest.mark.parametrize("cut", [b"--limite--", b"%%EOF", b"filename=", b"\r\n\r\n"])
def test_a_form_that_did_not_come_whole_makes_no_act(lea: Caller, cut: bytes) -> None:
    """The act would leave without the annex that was being received."""
    body = multipart(
        [*act_fields(), ("type_pj[]", "99_AU"), ("acte_attachments[]", ("annexe.pdf", PDF_SENT))]
    )
    body = body[: body.rindex(cut)]
    answer = lea.post("actes_transac_create.php", body, "multipart/form-data; boundary=limite")
    assert (answer.status_code, answer.content[:3]) == (200, b"KO\n")
    assert b"complet" in answer.content
    assert not Transaction.objects.exists()


def test_a_form_may_have_a_preamble_and_a_quoted_boundary(lea: Caller) -> None:
    body = b"This is a multipart message.\r\n" + multipart(act_fields(), boundary="a,b:c")
    answer = lea.post("actes_transac_create.php", body, 'multipart/form-data; boundary="a,b:c"')
    assert answer.content.startswith(b"OK\n")


def test_a_signature_stays_with_its_annex(lea: Caller) -> None:
    signature = b"\x30\x03\x02\x01\x05"
    fields = [
        *act_fields(),
        ("acte_attachments[]", ("un.pdf", PDF_SENT)),
        ("acte_attachments[]", ("deux.pdf", PDF_SENT)),
        ("type_pj[]", "99_AU"),
        ("type_pj[]", "99_AU"),
        ("acte_attachments_sign[]", ("", b"")),
        ("acte_attachments_sign[]", ("deux.p7s", signature)),
    ]
    answer = lea.form("actes_transac_create.php", fields)
    pk = int(answer.content.split(b"\n")[1])
    signed = dict(IncludedFile.objects.filter(transaction=pk, rank__gte=1).values_list("rank", "signature"))
    assert signed == {1: "", 2: "", 3: base64.b64encode(signature).decode()}


@pytest.mark.parametrize("label", ["PKCS7", "PKCS #7 SIGNED DATA", "CMS"])
def test_a_signature_in_pem_is_its_base64_whatever_its_label(lea: Caller, label: str) -> None:
    pem = f"-----BEGIN {label}-----\r\nMIIB\r\nAAAA\r\n-----END {label}-----\r\n".encode()
    fields = [*act_fields(), ("acte_pdf_file_sign", ("acte.p7s", pem))]
    pk = int(lea.form("actes_transac_create.php", fields).content.split(b"\n")[1])
    assert IncludedFile.objects.get(transaction=pk, rank=1).signature == "MIIBAAAA"


@pytest.mark.parametrize("names", [("[]", "[]", "[]", "[]"), ("[0]", "[1]", "[0]", "[1]")])
def test_an_annex_that_was_not_chosen_leaves_its_typology_to_nobody(
    lea: Caller, names: tuple[str, ...]
) -> None:
    fields = [
        *act_fields(nature_code="4", type_acte="99_DC"),
        (f"type_pj{names[0]}", "11_AE"),
        (f"type_pj{names[1]}", "11_AP"),
        (f"acte_attachments{names[2]}", ("", b"")),
        (f"acte_attachments{names[3]}", ("prix.pdf", PDF_SENT)),
    ]
    pk = int(lea.form("actes_transac_create.php", fields).content.split(b"\n")[1])
    annexes = IncludedFile.objects.filter(transaction=pk, rank__gte=2)
    assert [(each.posted_name, each.typology) for each in annexes] == [("prix.pdf", "11_AP")]


def test_nothing_posted_too_many_files_and_a_number_twice_are_ko(lea: Caller) -> None:
    empty = lea.post("actes_transac_create.php?api=1", b"", "multipart/form-data; boundary=limite")
    assert empty.content.startswith(b"KO\n")
    many = [*act_fields(), *(("acte_attachments[]", (f"{n}.pdf", PDF_SENT)) for n in range(101))]
    assert b"trop d'annexes" in lea.form("actes_transac_create.php", many).content.replace(b"&#039;", b"'")
    posted(lea, "DEUX_FOIS")
    again = lea.form("actes_transac_create.php", act_fields("DEUX_FOIS"))
    assert again.content.startswith(b"KO\n")
    assert Transaction.objects.filter(number="DEUX_FOIS").count() == 1
