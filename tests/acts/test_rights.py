"""What an administrator, a certificate or an archive of one town never does to another one."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.serialization import Encoding

from dematmp.acts import identity
from dematmp.acts.models import Agent, Authority, Transaction
from dematmp.acts.package import pack, unpack
from deploy.services.pki import Held, TestAuthority
from storage.stores import object_store
from tests.acts.returned import sent
from tests.acts.service import Caller, agent, authority, posted

ACCOUNT, TOWN = (
    "/admin/users/admin_user_edit_handler.php",
    "/admin/authorities/admin_authority_edit_handler.php",
)


def _said(caller: Caller, page: str, fields: list[tuple[str, object]]) -> str:
    return str(json.loads(caller.form(page, [("api", "1"), *fields]).content)["status"])


def test_the_identity_of_a_town_is_not_its_administrator_s(town: Authority, pki: TestAuthority) -> None:
    held, group = pki.client("chef"), pki.client("groupe")
    agent(town, held, role="ADM")
    agent(town, group, role="GADM")
    same: list[tuple[str, object]] = [("id", town.pk), ("siren", town.siren), ("name", "Ville renommée")]
    assert _said(Caller(held), TOWN, same) == "ok"
    other: list[tuple[str, object]]
    for other in ([("siren", "217500016")], [("department", "075"), ("district", "0")],
                  [("authority_type_id", "21")]):  # fmt: skip
        assert _said(Caller(held), TOWN, [("id", town.pk), *other]) == "error"
        assert _said(Caller(group), TOWN, [("id", town.pk), *other]) == "ok"


def _account(held: Held, *more: tuple[str, object]) -> list[tuple[str, object]]:
    pem = held.certificate.public_bytes(Encoding.PEM)
    return [
        ("name", "Durand"), ("givenname", "Noé"), ("email", "noe@ville.example.fr"), ("status", "1"),
        ("role", "USER"), ("perm_1", "RW"), ("certificate", ("c.pem", pem)), *more,
    ]  # fmt: skip


def test_no_town_locks_out_the_agent_of_another(lea: Caller, town: Authority, pki: TestAuthority) -> None:
    held, top = pki.client("ailleurs"), pki.client("exploitant")
    other = authority("987654321", name="Autre ville")
    agent(other, held, role="ADM")
    agent(other, top, role="SADM")
    assert lea.held is not None
    login: tuple[tuple[str, object], ...] = (("login", "noe"), ("password", "s3cret-noe"))
    assert _said(Caller(held), ACCOUNT, _account(lea.held)) == "error"
    assert _said(Caller(held), ACCOUNT, _account(lea.held, *login)) == "error"
    assert _said(Caller(top), ACCOUNT, _account(lea.held)) == "error", "nobody could say who speaks"
    assert lea.get("/api/test-connexion.php").content == b"OK"
    mine = Agent.objects.get(authority=other, role="ADM")
    changed: list[tuple[str, object]] = [("id", mine.pk), *_account(lea.held)]
    assert _said(Caller(held), ACCOUNT, changed) == "error"
    assert _said(Caller(top), ACCOUNT, _account(lea.held, *login)) == "ok"


def _renamed(made: Transaction, envelope: str, number: str) -> bytes:
    files = unpack(b"".join(object_store().open(made.archive_key)))
    out = {}
    for rank, (name, data) in enumerate(files.items()):
        name = (envelope if rank == 0 else name).replace(made.number, number)
        out[name] = data.replace(made.number.encode(), number.encode())
    return pack(out)


def test_an_archive_bears_a_name_of_its_own_town_that_was_never_used(
    lea: Caller, town: Authority, pki: TestAuthority
) -> None:
    held = pki.client("bob")
    agent(authority("987654321", name="Autre ville"), held)
    bob = Caller(held)
    victim, mine = sent(posted(lea, "VICTIME")), Transaction.objects.get(pk=posted(bob, "MIEN"))

    def submitted(envelope: str) -> bytes:
        archive = ("enveloppe", ("a.tar.gz", _renamed(mine, envelope, "MIEN2")))
        return bob.form("actes_transac_submit.php", [("api", "1"), archive]).content

    assert "pas de cette collectivité" in submitted(victim.envelope_name).decode("latin-1")
    assert "même nom" in submitted(mine.envelope_name).decode("latin-1")
    day, _, _ = mine.envelope_name.rpartition("-")
    assert submitted(f"{day}-2.xml").startswith(b"OK\n")
    following = Transaction.objects.get(pk=posted(bob, "SUIVANT"))
    assert following.envelope_name == f"{day}-3.xml"


def test_a_nounce_is_proved_in_the_encoding_of_its_client(town: Authority, pki: TestAuthority) -> None:
    held = pki.client("jean")
    made = agent(town, held, login="jean")
    identity.give_password(made, "clé")
    made.save()
    caller = Caller(held)
    for encoding in ("latin-1", "utf-8"):
        basic = base64.b64encode("jean:clé".encode(encoding)).decode()
        known = {**caller.headers, "HTTP_AUTHORIZATION": f"Basic {basic}"}
        value = caller.client.get("/api/get-nounce.php", **known).json()["nounce"]
        digest = hashlib.sha256(f"clé:{value}".encode(encoding)).hexdigest()
        asked = {"nounce": value, "login": "jean", "hash": digest}
        assert caller.get("/api/test-connexion.php", **asked).content == b"OK"
