"""Tokens that openssl accepts, and refusals of everything else."""

import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from asn1crypto import tsp

from signing import pki, timestamps
from signing.authority import Authority
from signing.errors import TimestampRefused
from signing.timestamps import first_response, make_request, request_token, verify_token
from tests.fronts import answering
from tests.signing.authority import World, serving

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DIGEST = hashlib.sha256(b"un enregistrement").digest()

CRITICAL = {"extn_id": "1.2.3.4", "extn_value": b"\x05\x00"}


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    pki.make_authority(tmp_path / "pki", name="Opérateur d'essai", now=NOW)
    return tmp_path / "pki"


@pytest.fixture
def authority(pem: Path, tmp_path: Path) -> Authority:
    names = sorted(path.name for path in pem.iterdir())
    read = lambda name: (pem / name).read_bytes()  # noqa: E731
    key = next(name for name in names if "tsa" in name and "key" in name)
    return Authority(read("tsa.pem"), read(key), tmp_path / "serial")


def test_openssl_accepts_our_token(authority: Authority, pem: Path, tmp_path: Path) -> None:
    (tmp_path / "r.tsr").write_bytes(authority.respond(make_request(DIGEST, 5), now=NOW))
    command = ["openssl", "ts", "-verify", "-digest", DIGEST.hex(), "-in", str(tmp_path / "r.tsr")]
    command += ["-CAfile", str(pem / "ca.pem"), "-attime", str(int(NOW.timestamp()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr


def test_openssl_s_request_is_answered(authority: Authority, pem: Path, tmp_path: Path) -> None:
    query = tmp_path / "q.tsq"
    command = ["openssl", "ts", "-query", "-digest", DIGEST.hex(), "-sha256", "-cert", "-out", str(query)]
    subprocess.run(command, check=True, capture_output=True)
    token = verify_token(
        authority.respond(query.read_bytes(), now=NOW), digest=DIGEST, ca_pem=(pem / "ca.pem").read_bytes()
    )
    assert token.gen_time == NOW


@pytest.mark.parametrize("wrong", ["digest", "nonce", "chain", "time", "flip"])
def test_a_token_about_something_else_is_refused(
    authority: Authority, pem: Path, tmp_path: Path, wrong: str
) -> None:
    data = authority.respond(make_request(DIGEST, 5), now=NOW)
    if wrong == "chain":
        pki.make_authority(tmp_path / "other", name="Autre", now=NOW)
    ca = (tmp_path / "other" / "ca.pem" if wrong == "chain" else pem / "ca.pem").read_bytes()
    if wrong == "flip":
        middle = data.index(DIGEST)
        data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    with pytest.raises(TimestampRefused):
        verify_token(
            data,
            digest=hashlib.sha256(b"autre").digest() if wrong == "digest" else DIGEST,
            nonce=6 if wrong == "nonce" else 5,
            ca_pem=ca,
            at=NOW + timedelta(seconds=61 if wrong == "time" else 0),
        )


def test_times_never_go_back(authority: Authority, pem: Path) -> None:
    ca = (pem / "ca.pem").read_bytes()
    moments = [NOW, NOW - timedelta(seconds=0.5), NOW]
    tokens = [
        verify_token(authority.respond(make_request(DIGEST, 1), now=each), digest=DIGEST, ca_pem=ca).gen_time
        for each in moments
    ]
    assert tokens == sorted(tokens)


@pytest.mark.parametrize("wrong", ["the clock went back", "the state is spoilt"])
def test_a_time_that_is_not_the_present_is_never_signed(authority: Authority, pem: Path, wrong: str) -> None:
    ca = (pem / "ca.pem").read_bytes()
    authority.respond(make_request(DIGEST, 1), now=NOW + timedelta(hours=1))
    if wrong == "the state is spoilt":
        authority._state.write_text("{")
    answer = authority.respond(make_request(DIGEST, 1), now=NOW)
    assert b"\x03\x03\x01\x00\x02" in answer  # timeNotAvailable, bit 14
    with pytest.raises(TimestampRefused, match="refusé"):
        verify_token(answer, digest=DIGEST, ca_pem=ca)


def test_an_extension_that_nobody_knows_is_refused(authority: Authority, pem: Path) -> None:
    asked = tsp.TimeStampReq.load(make_request(DIGEST, 1))
    extension = {"extn_id": "1.2.3.4", "critical": False, "extn_value": b"\x05\x00"}
    fields = {name: asked[name] for name in ("version", "message_imprint", "nonce", "cert_req")}
    answer = authority.respond(tsp.TimeStampReq({**fields, "extensions": [extension]}).dump(), now=NOW)
    with pytest.raises(TimestampRefused, match="refusé"):
        verify_token(answer, digest=DIGEST, ca_pem=(pem / "ca.pem").read_bytes())


@pytest.mark.parametrize("bad", ["a page", "a refusal", "a false time", "a trickle"])
def test_a_seal_takes_the_first_good_token_and_waits_for_nobody(pem: Path, tmp_path: Path, bad: str) -> None:
    """The first authority answers, and nothing good: the next one is asked, within seconds."""
    ca = (pem / "ca.pem").read_bytes()
    good = Authority((pem / "tsa.pem").read_bytes(), (pem / "tsa.key").read_bytes(), tmp_path / "good")
    other = Authority((pem / "tsa.pem").read_bytes(), (pem / "tsa.key").read_bytes(), tmp_path / "other")
    request = make_request(DIGEST, 5)

    class Bad(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = {
                "a page": b"<html>entretien</html>",
                "a refusal": other.respond(b"?", now=NOW),
                "a false time": other.respond(request, now=NOW + timedelta(days=3)),
            }.get(bad, bytes(1000))
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            for at in range(len(said)):
                if bad == "a trickle":
                    time.sleep(0.2)
                try:
                    self.wfile.write(said[at : at + 1])
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Bad) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        asked = [f"http://127.0.0.1:{server.server_port}", good]
        answer = first_response(request, asked, ca_pem=ca, now=NOW, timeout=1.0)
        server.shutdown()
    assert verify_token(answer, digest=DIGEST, ca_pem=ca).gen_time == NOW
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x80" * 50, bytes(2_000_000)])
def test_garbage_is_refused_without_a_failure(authority: Authority, pem: Path, data: bytes) -> None:
    with pytest.raises(TimestampRefused):
        verify_token(data, digest=DIGEST, ca_pem=(pem / "ca.pem").read_bytes())
    assert authority.respond(data[:4096], now=NOW)


def test_an_outside_authority_is_recognised_by_its_own_anchor_through_an_intermediate(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    from signing.pki import Credential, _name, _pem_key, _usage, issue, new_authority

    now = datetime.now(UTC)
    root = new_authority("Racine étrangère", "Ailleurs", now=now, path_length=1)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(root.certificate)
    signer = load_pem_private_key(root.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    middle = (
        x509.CertificateBuilder()
        .subject_name(_name("Intermédiaire", "Ailleurs"))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    ).public_bytes(Encoding.PEM)
    tsa = issue(
        Credential(middle, _pem_key(key), middle), "TSA", "Ailleurs", now=now, days=20, timestamping=True
    )
    outside = Authority(tsa.certificate + middle, tsa.key, tmp_path / "state")
    digest = bytes(32)
    found = request_token(digest, [outside], ca_pem=root.certificate, now=now)
    assert "TSA" in found.token.authority
    ours = new_authority("Nous", "Ici", now=now).certificate
    with pytest.raises(TimestampRefused):
        request_token(digest, [outside], ca_pem=ours, now=now)
    both = ours + b"\n" + root.certificate
    assert request_token(digest, [outside], ca_pem=both, now=now).token.serial


def test_an_authority_that_fails_again_and_again_is_asked_last(
    authority: Authority, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamps, "_resting", timestamps.Resting())
    asked: list[str] = []

    def answer(request: bytes) -> bytes:
        asked.append("bonne")
        return authority.respond(request, now=NOW)

    ca_pem = (pem / "ca.pem").read_bytes()
    with refusing(asked) as broken, answering(answer) as good:
        for count in range(1, 6):
            stamp = request_token(DIGEST, [broken, good], ca_pem=ca_pem, now=NOW)
            assert stamp.authority == good
            assert asked.count("en panne") == min(count, timestamps.Resting.FAILURES)
        timestamps._resting._until.clear()  # its rest is over
        request_token(DIGEST, [broken, good], ca_pem=ca_pem, now=NOW)
        assert asked.count("en panne") == timestamps.Resting.FAILURES + 1
        asked.clear()
        with pytest.raises(TimestampRefused):  # alone, it is asked all the same
            request_token(DIGEST, [broken], ca_pem=ca_pem, now=NOW)
        assert asked == ["en panne"]


@contextmanager
def refusing(asked: list[str]) -> Iterator[str]:
    """A server that takes the request and hangs up without a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    link.recv(65536)
                    asked.append("en panne")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_certificate_of_another_kind_stamps_nothing_and_stops_nobody(
    authority: Authority, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next authority is asked all the same; and a policy that nobody expects is refused."""
    root = World()
    bare = root.issuer.issue("Sans usage")
    chain = bare.pem + root.issuer.identity.pem
    unfit = Authority(chain, bare.key_pem, tmp_path / "sans-usage")
    ca_pem = (pem / "ca.pem").read_bytes() + root.root.identity.pem
    data = unfit.respond(make_request(DIGEST, 5), now=NOW)
    with pytest.raises(TimestampRefused, match="invalide"):
        verify_token(data, digest=DIGEST, nonce=5, ca_pem=ca_pem, at=NOW)
    with answering(lambda request: unfit.respond(request, now=NOW)) as bad:
        assert request_token(DIGEST, [bad, authority], ca_pem=ca_pem, now=NOW).authority == "embedded"
    request_token(DIGEST, [authority], ca_pem=ca_pem, now=NOW, policies=["1.2.3"])  # ours is known
    monkeypatch.setattr(timestamps, "POLICY", "1.2.4")
    with pytest.raises(TimestampRefused, match="politique"):
        request_token(DIGEST, [authority], ca_pem=ca_pem, now=NOW, policies=["1.2.3"])


def test_an_authority_that_trickles_its_headers_has_its_seconds_and_no_more(
    authority: Authority, pem: Path
) -> None:
    ca_pem = (pem / "ca.pem").read_bytes()
    with trickling() as slow:
        started = time.monotonic()
        with pytest.raises(TimestampRefused, match="trop lente"):
            request_token(DIGEST, [slow], ca_pem=ca_pem, now=NOW, timeout=0.6)
        assert time.monotonic() - started < 3
        asked = make_request(DIGEST, 7)
        assert first_response(asked, [slow, authority], ca_pem=ca_pem, now=NOW, timeout=0.6)
        assert time.monotonic() - started < 6


@contextmanager
def trickling() -> Iterator[str]:
    """A server whose headers never end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            link, _ = server.accept()
            threading.Thread(target=run, daemon=True).start()
            with link:
                link.recv(65536)
                link.sendall(b"HTTP/1.1 200 OK\r\n")
                for number in range(60):
                    try:
                        link.sendall(b"X-Header-%d: x\r\n" % number)
                    except OSError:
                        return
                    time.sleep(0.2)

        threading.Thread(target=run, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_authority_that_hangs_is_overtaken_by_the_next_and_its_late_answer_changes_nothing(
    authority: Authority, pem: Path
) -> None:
    asked, released, finished = threading.Event(), threading.Event(), threading.Event()

    def slow(body: bytes) -> bytes:
        asked.set()
        released.wait(20)
        finished.set()
        return authority.respond(body, now=NOW)

    answers = {"/lente": slow, "/bonne": lambda body: authority.respond(body, now=NOW)}
    with serving(answers) as base:
        stamp = request_token(
            DIGEST,
            [f"{base}/lente", f"{base}/bonne"],
            ca_pem=(pem / "ca.pem").read_bytes(),
            now=NOW,
            timeout=30,
            hedge=0.1,
        )
        # The first one still holds its answer: nobody waited for it.
        assert (asked.is_set(), finished.is_set()) == (True, False)
        assert stamp.authority == f"{base}/bonne"
        released.set()
        finished.wait(20)


def test_an_authority_that_hangs_alone_is_refused_at_its_deadline(authority: Authority, pem: Path) -> None:
    released = threading.Event()
    with serving({"/lente": lambda _: released.wait(20) or b""}) as base:
        ca = (pem / "ca.pem").read_bytes()
        with pytest.raises(TimestampRefused):
            request_token(DIGEST, [f"{base}/lente"], ca_pem=ca, now=NOW, timeout=0.3, hedge=0.1)
        assert not released.is_set()
        released.set()


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"version": "v2"}, "version"),
        ({"serial_number": -1}, "série"),
        ({"extensions": [CRITICAL | {"critical": True}]}, "critique"),
        ({"extensions": [CRITICAL | {"critical": False}]}, ""),
        ({"accuracy": {"seconds": 86400}}, "exacte"),
        ({"accuracy": {"seconds": 59, "millis": 999, "micros": 999}}, ""),
        ({"accuracy": {"seconds": 10**30}}, "invalide"),
        ({}, ""),
    ],
)
def test_what_a_token_says_of_itself_is_read_too(
    authority: Authority, pem: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, object], match: str
) -> None:
    class Odd(tsp.TSTInfo):  # type: ignore[misc]
        def __init__(self, value: object = None, **options: object) -> None:
            super().__init__({**value, **said} if isinstance(value, dict) else value, **options)

    with monkeypatch.context() as patched:
        patched.setattr(tsp, "TSTInfo", Odd)
        data = authority.respond(make_request(DIGEST, 5), now=NOW)
    ca_pem = (pem / "ca.pem").read_bytes()
    if not match:
        verify_token(data, digest=DIGEST, ca_pem=ca_pem, at=NOW)
        return
    with pytest.raises(TimestampRefused, match=match):
        verify_token(data, digest=DIGEST, ca_pem=ca_pem, at=NOW)


def test_what_a_clock_may_be_wrong_by_counts_with_its_difference(authority: Authority, pem: Path) -> None:
    data, ca_pem = authority.respond(make_request(DIGEST, 5), now=NOW), (pem / "ca.pem").read_bytes()
    verify_token(data, digest=DIGEST, ca_pem=ca_pem, at=NOW + timedelta(seconds=58))
    with pytest.raises(TimestampRefused, match="exacte"):  # it says one second itself
        verify_token(data, digest=DIGEST, ca_pem=ca_pem, at=NOW + timedelta(seconds=59))


def test_an_outside_authority_is_not_of_our_policy_where_some_are_expected(
    authority: Authority, pem: Path
) -> None:
    ca_pem = (pem / "ca.pem").read_bytes()
    with answering(lambda request: authority.respond(request, now=NOW)) as outside:
        assert request_token(DIGEST, [outside], ca_pem=ca_pem, now=NOW)
        with pytest.raises(TimestampRefused, match="politique"):
            request_token(DIGEST, [outside], ca_pem=ca_pem, now=NOW, policies=["1.2.3"])
