"""What the clients of other publishers send and read, seen in their own code."""

import hashlib
import json
from datetime import date

from dematmp.acts.models import Authority, Transaction
from dematmp.acts.subscribers import AuthorityGroup
from deploy.ministry import Ministry
from deploy.services.pki import TestAuthority
from tests.acts.service import PDF_SENT, Caller, agent, posted, state
from tests.acts.test_endpoints import text_of
from tests.acts.test_interop import until


def test_what_old_clients_look_for_is_there_and_no_page_of_another_site_is(
    lea: Caller, town: Authority, pki: TestAuthority
) -> None:
    assert lea.get("/modules/actes/").content == lea.get("index.php").content == b"OK"
    missing = lea.get("actes_inconnu.php")
    assert (missing.status_code, missing.content.split(b"\n")[0]) == (404, b"KO")
    elsewhere = lea.get("/admin/users/admin_user_delete.php", api=1)
    assert json.loads(elsewhere.content)["status"] == "error"
    held = pki.client("chef")
    agent(town, held, role="SADM")
    chief = Caller(held)
    assert json.loads(chief.get("/admin/users/admin_users_role.php", api=1).content)["ADM"]
    assert (
        json.loads(chief.get("/admin/authorities/admin_authority_types.php", api=1).content)["31"]
        == "Commune"
    )
    assert json.loads(chief.get("/admin/modules/admin_modules.php", api=1).content)[0]["name"] == "actes"
    AuthorityGroup.objects.create(name="Agglomération")
    (group,) = json.loads(chief.get("/admin/groups/admin_groups.php", api=1, name="agglo").content)
    assert (group["name"], group["status"]) == ("Agglomération", "1")
    refused = json.loads(lea.get("/admin/groups/admin_groups.php", api=1).content)
    assert refused["status"] == "error"


def test_details_that_real_clients_send_are_taken_as_they_mean_them(lea: Caller, ministry: Ministry) -> None:
    pk = posted(lea, "2026_MP_001", decision_date="2026-1-9")
    assert Transaction.objects.get(pk=pk).decided_on == date(2026, 1, 9)
    named = posted(lea, "2026_MP_002", acte_pdf_file=(" acte signé .pdf", PDF_SENT))
    until(lambda: state(lea, named)[0] == 4 and state(lea, pk)[0] == 4)
    files = json.loads(lea.get("actes_transac_get_files_list.php", transaction=named).content)
    assert files[-1]["posted_filename"] == " acte signé .pdf"
    unique = Transaction.objects.get(pk=named).unique_id
    assert (
        lea.get("actes_transac_get_files_list.php", unique_id=unique).content
        == lea.get("actes_transac_get_files_list.php", transaction=named).content
    )
    for value in ("on", "yes", "True"):
        stamped = lea.get("actes_download_file.php", file=files[-1]["id"], tampon=value).content
        assert unique in text_of(stamped), value
    for day, shown in (("2026-2-3", "03/02/2026"), ("demain", "")):
        dated = lea.get("actes_download_file.php", file=files[-1]["id"], tampon="true", date_affichage=day)
        assert shown in text_of(dated.content), day
    listed = json.loads(lea.get("api/list_actes.php", status_id=4, type_acte="99_AR").content)
    assert listed["transactions"] == []
    listed = json.loads(lea.get("api/list_actes.php", status_id=4, type_acte="99_DE").content)
    assert len(listed["transactions"]) == 2
    assert json.loads(lea.get("api/list_actes.php", type_acte="99").content)["status"] == "error"
    counted = lea.get("api/number_actes.php", status_id=4).content
    assert counted.startswith(b'{"status_id":4,"authority_id":') and counted.endswith(b'"nb_transactions":2}')
    followed = lea.get("actes_transac_cancel.php", api=1, id=pk)
    assert followed.content.startswith(b"KO\n")
    assert lea.form("actes_transac_cancel.php", [("api", "1"), ("id", pk)]).content.startswith(b"OK\n")


def test_who_gives_a_password_and_a_nounce_is_known_by_the_password(
    town: Authority, pki: TestAuthority
) -> None:
    """Two accounts share a certificate: a nounce never gives one the rights of the other."""
    shared = pki.client("commun")
    agent(town, shared, login="paul")
    zoe = agent(town, shared, login="zoe", permission="CS")
    caller = Caller(shared, login="zoe")
    nounce = json.loads(caller.get("/api/get-nounce.php").content)["nounce"]
    proof = hashlib.sha256(f"secret:{nounce}".encode()).hexdigest()
    said = {"login": "zoe", "nounce": nounce, "hash": proof}
    for each in (caller, Caller(shared)):
        found = json.loads(each.get("/api/info-connexion.php", **said).content)
        assert found["user_info"]["id"] == str(zoe.pk)
    back = "https://pastell.example.fr/?e=%%ERROR%%&m=%%MESSAGE%%"
    wrong = said | {"hash": "0" * 64, "id": 1, "url_return": back}
    answer = Caller(shared).get("actes_transac_post_confirm_api.php", **wrong)
    assert answer.status_code == 302
    assert answer["Location"].startswith("https://pastell.example.fr/?e=1&m=")
    nobody = Caller(None).get("actes_transac_post_confirm_api.php", **wrong)
    assert nobody.content.startswith(b"KO\n")
