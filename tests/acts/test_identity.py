"""Who may do what: permissions, RGS, administration, archiving."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from dematmp.acts.models import Agent, Authority, AuthorityGroup, Transaction
from deploy.ministry import Ministry
from deploy.services.pki import TestAuthority
from tests.acts.service import Caller, act_fields, agent, posted, state, until


@pytest.mark.parametrize(
    ("permission", "status"), [("RO", None), ("CS", 17), ("TT", None), ("RW", 1), ("NONE", None)]
)
def test_a_permission_decides_where_an_act_lands(
    town: Authority, pki: TestAuthority, permission: str, status: int | None
) -> None:
    held = pki.client(f"droit-{permission.lower()}")
    agent(town, held, permission=permission)
    answer = Caller(held).form("actes_transac_create.php", act_fields()).content
    if status is None:
        assert answer.startswith(b"KO\nAcc\xe8s refus\xe9")
    else:
        assert Transaction.objects.get().status == status


@pytest.mark.parametrize("role", ["SADM", "GADM"])
def test_the_two_higher_roles_create_no_act(town: Authority, pki: TestAuthority, role: str) -> None:
    held = pki.client(role.lower())
    agent(town, held, role=role)
    answer = Caller(held).form("actes_transac_create.php", act_fields()).content
    assert answer.startswith(b"KO\n")


def test_a_certificate_that_is_not_rgs_reads_and_does_not_transmit(
    lea: Caller, service: Any, pki: TestAuthority, tmp_path: Any
) -> None:
    assert lea.get("/api/test-rgs.php").content == b"OK"
    elsewhere = TestAuthority(tmp_path)
    service.ACTES = {**service.ACTES, "rgs": [str(elsewhere.held.pem)]}
    assert lea.get("/api/test-rgs.php").content == b"KO"
    assert lea.get("/api/test-connexion.php").content == b"OK"
    answer = lea.form("actes_transac_create.php", act_fields()).content.decode("latin-1")
    assert answer == "KO\nLa télétransmission nécessite un certificat RGS.\n"
    # Laid down all the same for somebody who has one, and by them alone: what status 17 is for.
    waiting = posted(lea, "2026_ATTENTE", en_attente=1)
    assert state(lea, waiting)[0] == 17
    confirming = lea.form("actes_transac_post_confirm_api.php", [("id", waiting), ("api", 1)])
    assert Transaction.objects.get(pk=waiting).status == 17, confirming.content
    service.ACTES = {**service.ACTES, "rgs": [str(elsewhere.held.pem), str(pki.held.pem)]}
    assert posted(lea)


def test_what_no_front_vouches_for_is_not_believed(lea: Caller) -> None:
    for secret in ("", "autre"):
        lea.secret = secret
        assert lea.get("/api/test-connexion.php").content.startswith(b"KO\n")


def test_an_account_that_is_closed_enters_no_more(lea: Caller) -> None:
    Agent.objects.update(active=False)
    assert lea.get("/api/test-connexion.php").content.startswith(b"KO\n")


def test_an_administrator_makes_an_account_and_no_higher_role(town: Authority, pki: TestAuthority) -> None:
    held, other = pki.client("chef"), pki.client("nouveau")
    agent(town, held, role="ADM")
    chief = Caller(held)
    fields = [
        ("api", "1"),
        ("name", "Durand"),
        ("givenname", "Noé"),
        ("email", "noe@ville.example.fr"),
        ("role", "USER"),
        ("perm_1", "TT"),
        ("certificate", ("c.pem", other.pem.read_bytes())),
    ]
    made = json.loads(chief.form("/admin/users/admin_user_edit_handler.php", fields).content)
    assert made["status"] == "ok"
    detail = json.loads(chief.get("/admin/users/admin_user_detail.php", id=made["id"]).content)
    assert (detail["name"], detail["module"]["1"]) == ("Durand", "TT")
    assert Caller(other).get("/api/test-connexion.php").content == b"OK"
    refused = json.loads(
        chief.form("/admin/users/admin_user_edit_handler.php", [*fields, ("role", "SADM")]).content
    )
    assert refused["status"] == "error"
    listed = json.loads(chief.get("/admin/users/admin_users.php", api="1").content)
    assert {each["name"] for each in listed} == {"Martin", "Durand"}
    expired = pki.client("perime", expired=True).certificate.public_bytes(Encoding.DER)
    Agent.objects.filter(name="Durand").update(certificate=expired)
    for status, names in (("1", ["Martin"]), ("0", ["Durand"])):
        listed = chief.get("/admin/users/admin_users.php", api="1", certificat_status=status)
        assert [each["name"] for each in json.loads(listed.content)] == names
    town_facts = json.loads(chief.get("/admin/authorities/admin_authority_detail.php", id=town.pk).content)
    assert town_facts["siren"] == "123456789"
    bad = json.loads(
        chief.form(
            "/admin/authorities/admin_authority_edit_handler.php", [("id", town.pk), ("department", "999x")]
        ).content
    )
    assert bad["status"] == "error"


def test_an_archivist_says_what_became_of_an_act(
    lea: Caller, town: Authority, pki: TestAuthority, ministry: Ministry
) -> None:
    held = pki.client("archives")
    agent(town, held, role="ARCH", permission="RO")
    archivist = Caller(held)
    pk = posted(lea)
    early = archivist.form("api/actes_sae_status.php", [("transaction_id", pk), ("status_id", 12)])
    assert early.status_code == 400
    until(lambda: state(lea, pk)[0] == 4)
    for status in (12, 13):
        answer = archivist.form("api/actes_sae_status.php", [("transaction_id", pk), ("status_id", status)])
        assert json.loads(answer.content) == {"status": "ok"}
    assert state(lea, pk)[0] == 13
    assert lea.form("api/actes_sae_status.php", [("transaction_id", pk)]).status_code == 400


def test_lists_count_and_page(lea: Caller) -> None:
    pks = [posted(lea, f"LISTE_{n}") for n in range(3)]
    found = json.loads(lea.get("api/list_actes.php", status_id=1, offset=1, limit=1).content)
    assert [each["id"] for each in found["transactions"]] == [str(pks[1])]
    assert json.loads(lea.get("api/number_actes.php", status_id=1).content)["nb_transactions"] == 3
    none = json.loads(lea.get("api/list_actes.php", status_id=1, min_date="2999-01-01").content)
    assert none["transactions"] == []
    labels = json.loads(lea.get("api/actes_status.php").content)
    assert (labels["-1"], labels["4"]) == ("Erreur", "Acquittement reçu")
    assert lea.get("api/actes_status.php").content.isascii()


def test_the_form_of_login_chooses_an_account_for_its_certificate_only(
    town: Authority, pki: TestAuthority
) -> None:
    held, other = pki.client("commun"), pki.client("autre")
    agent(town, held, login="paul")
    agent(town, held, login="zoe")
    agent(town, other, login="eve")
    caller = Caller(held)
    assert caller.get("/api/test-connexion.php").content.startswith(b"KO\n")
    wrong = caller.form("/login.php", [("login", "zoe"), ("password", "faux")])
    assert wrong.content.startswith(b"KO\n")
    assert caller.form("/login.php", [("login", "zoe"), ("password", "secret")]).content == b"OK\n"
    facts = json.loads(caller.get("/api/info-connexion.php").content)
    assert facts["user_info"]["login"] == "zoe"
    stolen = Caller(other, client=caller.client)
    assert stolen.get("/api/test-connexion.php").content.startswith(b"KO\n")


def test_nobody_unknown_makes_the_service_read_a_body(service: Any, pki: TestAuthority) -> None:
    unknown = Caller(pki.client("passant"))
    answer = unknown.post("actes_transac_create.php", b"x" * 100, "multipart/form-data; boundary=x")
    assert "aucun compte trouvé" in answer.content.decode("latin-1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--limite",
        b'--limite\r\nContent-Disposition: form-data; name="api"\r\n\r\n1',
        b"--limite\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n1\r\n--limite--\r\n",
        b"".join(b'--limite\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' for _ in range(2000))
        + b"--limite--\r\n",
        b"\x00" * 1000,
    ],
)
def test_a_hostile_form_is_refused_with_ko(lea: Caller, body: bytes) -> None:
    answer = lea.post("actes_transac_create.php?api=1", body, "multipart/form-data; boundary=limite")
    assert (answer.status_code, answer.content[:3]) == (200, b"KO\n")


def test_what_a_column_does_not_bear_is_refused_and_not_an_error(town: Authority, pki: TestAuthority) -> None:
    held = pki.client("chef2")
    agent(town, held, role="ADM")
    fields = [
        ("name", "N" * 300),
        ("email", "a@b.fr"),
        ("role", "USER"),
        ("certificate", ("c.pem", held.pem.read_bytes())),
    ]
    answer = Caller(held).form("/admin/users/admin_user_edit_handler.php", fields)
    assert json.loads(answer.content)["status"] == "error"
    odd = Caller(held).get("actes_transac_get_status.php", unique_id="a\0b")
    assert odd.content.startswith(b"KO\n")


def test_the_administrator_of_a_group_is_of_the_group_of_its_authority(
    town: Authority, pki: TestAuthority
) -> None:
    held, other = pki.client("super"), pki.client("groupe")
    agent(town, held, role="SADM")
    group = AuthorityGroup.objects.create(name="Agglomération")
    fields = [("api", "1"), ("name", "Durand"), ("email", "d@ville.example.fr"), ("role", "GADM"),
              ("authority_id", town.pk), ("authority_group_id", group.pk),
              ("certificate", ("c.pem", other.pem.read_bytes()))]  # fmt: skip
    page = "/admin/users/admin_user_edit_handler.php"
    assert json.loads(Caller(held).form(page, fields).content)["status"] == "error"
    Authority.objects.update(group=group)
    assert json.loads(Caller(held).form(page, fields).content)["status"] == "ok"
