"""The service over real TLS behind nginx, with certificates of every kind, and bytes as clients send them."""

import hashlib
import json
import socket
import time

import httpx
import pytest

from tests.acts.service import act_fields, multipart
from tests.acts.stack import Running, read_all

pytestmark = pytest.mark.services
MODULE = "/modules/actes/"


def acknowledged(client: httpx.Client, pk: int, *, wanted: int = 4) -> bytes:
    end = time.monotonic() + 60
    while True:
        body = client.get(f"{MODULE}actes_transac_get_status.php", params={"transaction": str(pk)}).content
        first, status, rest = body.split(b"\n", 2)
        assert first == b"OK", body
        if int(status) == wanted:
            return rest
        assert time.monotonic() < end, body
        time.sleep(0.2)


def create(client: httpx.Client, number: str, **changes: object) -> httpx.Response:
    body = multipart(act_fields(number, **changes))
    return client.post(
        f"{MODULE}actes_transac_create.php",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=limite"},
    )


def test_a_known_certificate_transmits_and_reads_its_receipt(running: Running) -> None:
    with running.client(running.lea) as client:
        assert client.get("/api/test-connexion.php").text == "OK"
        answer = create(client, "TLS_1")
        assert (answer.status_code, answer.content.split(b"\n")[0]) == (200, b"OK")
        receipt = acknowledged(client, int(answer.content.split(b"\n")[1]))
        assert b'actes:DateReception="' in receipt


@pytest.mark.parametrize("which", ["other", "revoked", "expired"])
def test_a_certificate_that_the_authority_does_not_vouch_for_enters_nowhere(
    running: Running, which: str
) -> None:
    with running.client(getattr(running, which)) as client:
        refused = client.get("/api/test-connexion.php")
        assert (refused.status_code, refused.content.split(b"\n")[0]) == (400, b"KO")


def test_a_certificate_of_an_intermediate_authority_enters_without_it(running: Running) -> None:
    """Some clients never send those of their PKCS#12: the front has them, and their revocations."""
    with running.client(running.below) as client:
        assert client.get("/api/test-connexion.php").text == "OK"
        assert create(client, "SOUS_1").content.startswith(b"OK\n")
    with running.client(running.gone) as client:
        refused = client.get("/api/test-connexion.php")
        assert (refused.status_code, refused.content.split(b"\n")[0]) == (400, b"KO")


def test_without_a_certificate_nothing_answers(running: Running) -> None:
    with running.client(None) as client:
        refused = client.get("/api/test-connexion.php")
        assert (refused.status_code, refused.content.split(b"\n")[0]) == (400, b"KO")


def test_a_certificate_without_account_is_named_in_the_refusal(running: Running) -> None:
    with running.client(running.nobody) as client:
        answer = client.get("/api/test-connexion.php")
        assert answer.status_code == 200
        assert answer.text.startswith("KO\n")
        assert "inconnu" in answer.text


def test_logins_that_share_a_certificate_are_listed_and_one_is_chosen(running: Running) -> None:
    path = "/admin/users/api-list-login.php"
    with running.client(running.shared) as client:
        assert client.get(path).text == "paul\nzoe\n"
        assert client.get("/api/test-connexion.php").text.startswith("KO\n")
    with running.client(running.lea) as client:
        assert client.get(path).text == "\n"
    with running.client(running.nobody) as client:
        assert client.get(path).text == ""
    with running.client(running.shared, login="paul") as client:
        facts = client.get("/api/info-connexion.php").json()
        assert facts["user_info"]["login"] == "paul"
        assert facts["user_info"]["nb_user_with_my_certificate"] == 2
    with running.client(running.shared, login="faux") as client:
        assert client.get("/api/test-connexion.php").text.startswith("KO\n")


def test_a_nounce_lets_a_browser_confirm_what_waits(running: Running) -> None:
    with running.client(running.shared, login="zoe") as depositor:
        pk = int(create(depositor, "NOUNCE_1").content.split(b"\n")[1])
        assert acknowledged(depositor, pk, wanted=17) == b""
    with running.client(running.shared) as anonymous:
        refused = anonymous.get("/api/get-nounce.php")
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="API S2low"')
    with running.client(running.shared, login="paul") as server:
        nounce = server.get("/api/get-nounce.php").json()["nounce"]
    params = {
        "id": str(pk),
        "url_return": "https://metier.example.fr/retour?e=%%ERROR%%&m=%%MESSAGE%%",
        "login": "paul",
        "nounce": nounce,
        "hash": hashlib.sha256(f"paul:{nounce}".encode()).hexdigest(),
    }
    with running.client(running.shared) as browser:
        wrong = browser.get(
            f"{MODULE}actes_transac_post_confirm_api.php", params={**params, "hash": "0" * 64}
        )
        assert wrong.headers["Location"].startswith("https://metier.example.fr/retour?e=1&m=")
        answer = browser.get(f"{MODULE}actes_transac_post_confirm_api.php", params=params)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(
            "https://metier.example.fr/retour?e=0&m=La%20transaction"
        )
    with running.client(running.shared, login="paul") as owner:
        again = owner.get(f"{MODULE}actes_transac_post_confirm_api.php", params={"id": str(pk)})
        assert again.text.startswith("KO\n")


def test_direct_access_to_the_application_forges_nothing(running: Running) -> None:
    from urllib.parse import quote

    pem = running.lea.pem.read_text()
    forged = {"X-Client-Verify": "SUCCESS", "X-Client-Cert": quote(pem)}
    direct = f"http://127.0.0.1:{running.stack.web_port}/api/test-connexion.php"
    for secret in ({}, {"X-Front-Secret": ""}, {"X-Front-Secret": "essai"}):
        assert httpx.get(direct, headers={**forged, **secret}).text.startswith("KO\n")
    with running.client(running.nobody) as client:  # through the front: what is written is replaced
        assert client.get("/api/test-connexion.php", headers=forged).text.startswith("KO\n")


def test_unquoted_names_and_expect_100_continue_are_understood(running: Running) -> None:
    content = dict(act_fields())["acte_pdf_file"][1]  # type: ignore[index]
    fields = [
        *act_fields("BRUT_1", nature_code="4", type_acte="99_DC"),
        ("type_pj[]", "11_AE"),
        ("type_pj[]", "11_AP"),
        ("acte_attachments[]", ("piece.pdf", content)),
        ("acte_attachments[]", ("piece.pdf", content)),
    ]
    body = multipart(fields, quoted=False, boundary="----------------------------8d1f")
    head = (
        f"POST {MODULE}actes_transac_create.php HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=----------------------------8d1f\r\n"
        "Expect: 100-continue\r\n\r\n"
    ).encode()
    with (
        socket.create_connection(("127.0.0.1", running.stack.nginx.port), timeout=10) as plain,
        running.context(running.lea).wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(head)
        assert secured.recv(4096).startswith(b"HTTP/1.1 100 ")
        secured.sendall(body)
        answer = read_all(secured)
    assert answer.partition(b"\r\n\r\n")[2].startswith(b"OK\n"), answer


def test_a_get_that_announces_a_body_which_never_comes_is_answered(running: Running) -> None:
    request = (
        b"GET /api/test-connexion.php HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\r\n"
    )
    started = time.monotonic()
    answer = running.raw(running.lea, request)
    assert b"200 OK" in answer
    assert answer.endswith(b"OK")
    assert time.monotonic() - started < 5


def test_posting_where_others_read_is_answered_the_same(running: Running) -> None:
    with running.client(running.lea) as client:
        pk = int(create(client, "POST_1").content.split(b"\n")[1])
        body = multipart(act_fields("POST_2"))
        answer = client.post(
            f"{MODULE}actes_transac_get_status.php?transaction={pk}",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=limite"},
        )
        assert answer.content.startswith(b"OK\n")
        letter = client.post(
            f"{MODULE}actes_download_file.php?file=999999",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=limite"},
        )
        assert (letter.status_code, letter.text[:3]) == (200, "KO\n")  # a POST is never redirected


def test_a_body_over_the_limit_of_the_front_is_refused_by_ko(running: Running) -> None:
    with running.client(running.lea) as client:
        answer = client.post(
            f"{MODULE}actes_transac_create.php",
            content=(bytes(1024 * 1024) for _ in range(201)),
            headers={
                "Content-Type": "multipart/form-data; boundary=limite",
                "Content-Length": str(201 * 2**20),
            },
        )
    assert (answer.status_code, answer.text[:3]) == (200, "KO\n")
    assert "157286400" in answer.text
    assert "ISO-8859-1" in answer.headers["Content-Type"]


def test_raw_bytes_sent_straight_to_the_application_cannot_break_it(running: Running) -> None:
    port = running.stack.web_port
    hostile = [
        b"POST /modules/actes/actes_transac_create.php HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
        b"Content-Type: multipart/form-data; boundary=\r\n\r\n0123456789",
        b"POST /modules/actes/actes_transac_create.php HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Authorization: Basic \xff\xff\r\n\r\nabcd",
        b"GET /modules/actes/actes_download_file.php?file=%00%ff&tampon=\xe9 HTTP/1.1\r\n"
        b"Host: localhost\r\n\r\n",
    ]
    for data in hostile:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(data)
            status = read_all(connection).split(b"\r\n")[0]
        assert b" 500 " not in status, data
    assert json.loads(httpx.get(f"http://127.0.0.1:{port}/api/v1/time").text)
