"""`python -m signing sign`: a PDF inside, anything else beside; with a file or a card; and it checks."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import tsp
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import SigFieldSpec, append_signature_field

from signing.timestamps import make_request
from signing.validation import validate
from tests.conftest import absent
from tests.signing.authority import Identity, Issuer, serving
from tests.signing.pdf_cases import PLAIN
from tests.signing.test_cards import MODULES, PIN
from tests.signing.test_cli import run
from tests.signing.test_pdf_revisions import office

SECRET = "Correct horse"


class Company:
    """Files of a company in a folder, its identity, and its authority served over HTTP."""

    def __init__(self, folder: Path, base: str, answers: dict[str, object]) -> None:
        self.folder, self.base = folder, base
        self.root = Issuer.root(base=f"{base}/root")
        self.issuer = self.root.sub(base=base)
        stamping = self.issuer.authority(folder)
        answers["/tsa"] = lambda body: stamping.respond(body, now=datetime.now(UTC))
        answers["/crl"] = lambda _: self.issuer.crl()
        (folder / "root.pem").write_bytes(self.root.identity.pem)
        (folder / "above.pem").write_bytes(self.issuer.identity.pem)
        (folder / "secret").write_text(SECRET)
        (folder / "pin").write_text(PIN)
        (folder / "offre.pdf").write_bytes(PLAIN)
        (folder / "prix.csv").write_bytes(b"lot;prix\n1;12000\n")

    def p12(self, identity: Identity) -> Path:
        path = self.folder / "moi.p12"
        path.write_bytes(
            pkcs12.serialize_key_and_certificates(
                b"moi",
                identity.key,
                identity.certificate,
                identity.above,
                BestAvailableEncryption(SECRET.encode()),
            )
        )
        return path

    def judged(self, name: str, *detached: str) -> tuple[str, str, str]:
        others = [self.folder / each for each in detached]
        trust = [self.root.identity.pem]
        at = datetime.now(UTC) + timedelta(seconds=5)
        report = validate(self.folder / name, at=at, trust=trust, detached=others)
        (signature,) = report.signatures
        return report.indication, signature.format, signature.level


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    answers: dict[str, object] = {}
    with serving(answers) as base:
        yield Company(tmp_path, base, answers)


def _sign(company: Company, name: str, *more: str | Path, kind: str = "p256", declares: bool = False) -> None:
    p12 = company.p12(company.issuer.issue(kind=kind, declares=declares))
    done = run("sign", company.folder / name, "--p12", p12, "--secret-file", company.folder / "secret", *more)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["rsa", "p256"])
@pytest.mark.parametrize(("stamped", "level"), [(False, "B-B"), (True, "B-T")])
def test_a_pdf_is_signed_inside(company: Company, kind: str, stamped: bool, level: str) -> None:
    _sign(company, "offre.pdf", *(["--tsa", f"{company.base}/tsa"] if stamped else []), kind=kind)
    assert company.judged("offre-signe.pdf") == ("TOTAL_PASSED", "PAdES", level)


@pytest.mark.parametrize(("stamped", "level"), [(False, "B-B"), (True, "B-T")])
def test_any_other_file_is_signed_beside(company: Company, stamped: bool, level: str) -> None:
    _sign(company, "prix.csv", *(["--tsa", f"{company.base}/tsa"] if stamped else []))
    assert company.judged("prix.csv.p7s", "prix.csv") == ("TOTAL_PASSED", "CAdES", level)


def test_a_pdf_keeps_its_revocation_data(company: Company) -> None:
    more = ("--tsa", f"{company.base}/tsa", "--long-term", company.folder / "root.pem")
    _sign(company, "offre.pdf", *more, declares=True)
    assert company.judged("offre-signe.pdf") == ("TOTAL_PASSED", "PAdES", "B-LT")


def test_a_certificate_that_nobody_answers_for_is_never_said_to_be_long_term(company: Company) -> None:
    p12 = company.p12(company.issuer.issue())  # names neither a list nor a responder
    secret = ("--p12", p12, "--secret-file", company.folder / "secret")
    done = run(
        "sign", company.folder / "offre.pdf", *secret, "--tsa", f"{company.base}/tsa",
        "--long-term", company.folder / "root.pem",
    )  # fmt: skip
    assert (done.returncode, "sans --long-term" in done.stderr) == (1, True), done.stderr
    assert not (company.folder / "offre-signe.pdf").exists()


def test_a_second_signatory_signs_after_the_first(company: Company) -> None:
    _sign(company, "offre.pdf")
    shutil.copy(company.folder / "offre-signe.pdf", company.folder / "deux.pdf")
    _sign(company, "deux.pdf")
    at = datetime.now(UTC) + timedelta(seconds=5)
    report = validate(company.folder / "deux-signe.pdf", at=at, trust=[company.root.identity.pem])
    assert [each.indication for each in report.signatures] == ["TOTAL_PASSED"] * 2


def test_a_pdf_of_an_office_suite_is_signed_by_one_then_another(company: Company) -> None:
    """Its second table of objects says what the first says."""
    (company.folder / "offre.pdf").write_bytes(office(moves=False))
    _sign(company, "offre.pdf", "--tsa", f"{company.base}/tsa")
    assert company.judged("offre-signe.pdf") == ("TOTAL_PASSED", "PAdES", "B-T")
    more = ("--tsa", f"{company.base}/tsa", "--long-term", company.folder / "root.pem")
    _sign(company, "offre-signe.pdf", *more, declares=True)
    at = datetime.now(UTC) + timedelta(seconds=5)
    report = validate(company.folder / "offre-signe-signe.pdf", at=at, trust=[company.root.identity.pem])
    assert [each.indication for each in report.signatures] == ["TOTAL_PASSED"] * 2


def test_a_pdf_that_reads_in_two_ways_is_not_signed(company: Company) -> None:
    (company.folder / "offre.pdf").write_bytes(office(moves=True))
    p12 = company.p12(company.issuer.issue())
    command = ("sign", company.folder / "offre.pdf", "--p12", p12, "--secret-file", company.folder / "secret")
    done = run(*command)
    assert (done.returncode, "de deux façons" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("kind", ["/Tx", "/Sig"])
def test_a_field_that_has_the_name_already_is_left_alone(company: Company, kind: str) -> None:
    """A text takes another name for the signature; a field that waits for one is signed."""
    writer = IncrementalPdfFileWriter(io.BytesIO(PLAIN))
    if kind == "/Sig":
        append_signature_field(writer, SigFieldSpec("Signature1"))
    else:
        name, text = generic.pdf_name, generic.pdf_string
        field = {name("/FT"): name(kind), name("/T"): text("Signature1"), name("/V"): text("Jean")}
        held = writer.add_object(generic.DictionaryObject(field))
        form = {name("/Fields"): generic.ArrayObject([held])}
        writer.root["/AcroForm"] = writer.add_object(generic.DictionaryObject(form))
        writer.update_root()
    with (company.folder / "offre.pdf").open("wb") as file:
        writer.write(file)
    _sign(company, "offre.pdf")
    (signed,) = PdfFileReader(
        io.BytesIO((company.folder / "offre-signe.pdf").read_bytes())
    ).embedded_signatures
    assert signed.field_name == ("Signature1" if kind == "/Sig" else "Signature2")
    assert company.judged("offre-signe.pdf") == ("TOTAL_PASSED", "PAdES", "B-B")


def test_nothing_is_overwritten_and_a_wrong_passphrase_is_said(company: Company) -> None:
    p12 = company.p12(company.issuer.issue())
    (company.folder / "faux").write_text("autre")
    command = ("sign", company.folder / "prix.csv", "--p12", p12, "--secret-file")
    wrong = run(*command, company.folder / "faux")
    assert (wrong.returncode, "mot de passe faux" in wrong.stderr) == (1, True)
    (company.folder / "prix.csv.p7s").write_bytes(b"x")
    again = run(*command, company.folder / "secret")
    assert (again.returncode, "existe déjà" in again.stderr) == (1, True)


def test_a_silent_timestamp_authority_leaves_no_file(company: Company) -> None:
    p12 = company.p12(company.issuer.issue())
    command = ("sign", company.folder / "prix.csv", "--p12", p12, "--secret-file", company.folder / "secret")
    done = run(*command, "--tsa", "http://127.0.0.1:9/")
    assert done.returncode == 1
    assert "horodatage" in done.stderr
    assert not (company.folder / "prix.csv.p7s").exists()


@pytest.mark.parametrize("name", ["offre.pdf", "prix.csv"])
@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("another imprint", "autre empreinte"),
        ("another nonce", "autre demande"),
        ("a false signature", "invalide"),
        ("years ago", "n'est pas la date"),
        ("a refusal", "a refusé : "),
        ("no certificate", "sans son certificat"),
        ("a page", "n'a pas répondu comme prévu"),
    ],
)
def test_a_false_token_is_never_said_to_be_one(company: Company, name: str, lie: str, words: str) -> None:
    authority = company.issuer.authority(company.folder, "Horodatage menteur")

    def answer(body: bytes) -> bytes:
        asked, now = tsp.TimeStampReq.load(body), datetime.now(UTC)
        digest, nonce = asked["message_imprint"]["hashed_message"].native, asked["nonce"].native
        if lie == "another imprint":
            return authority.respond(make_request(hashlib.sha256(b"autre").digest(), nonce), now=now)
        if lie == "another nonce":
            return authority.respond(make_request(digest, nonce + 1), now=now)
        if lie == "years ago":
            return authority.respond(body, now=now - timedelta(days=900))
        if lie == "a refusal":
            return authority.respond(b"?", now=now)
        if lie == "no certificate":
            asked["cert_req"] = False
            return authority.respond(asked.dump(force=True), now=now)
        if lie == "a page":
            return b"<html>entretien</html>"
        good = bytearray(authority.respond(body, now=now))
        good[-1] ^= 1
        return bytes(good)

    p12 = company.p12(company.issuer.issue())
    command = ("sign", company.folder / name, "--p12", p12, "--secret-file", company.folder / "secret")
    out = company.folder / "signe"
    with serving({"/tsa": answer}) as base:
        done = run(*command, "--tsa", f"{base}/tsa", "--out", out)
    assert (done.returncode, out.exists()) == (1, False), done.stdout
    assert words in done.stderr


@pytest.fixture
def card(company: Company, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """SoftHSM, empty."""
    found = next((Path(each) for each in MODULES if Path(each).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        absent("SoftHSM : il manque softhsm2 (paquet Debian : softhsm2)")
    tokens = company.folder / "tokens"
    tokens.mkdir()
    conf = company.folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    init = ["softhsm2-util", "--init-token", "--free", "--label", "carte", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(init, check=True, capture_output=True)
    assert found is not None
    yield found


_FILL = """
import sys
import pkcs11
from pkcs11 import Attribute, ObjectClass
from pkcs11.util.ec import decode_ec_private_key
from pkcs11.util.rsa import decode_rsa_private_key
module, pin, kind, key, certificate = sys.argv[1:]
token = next(pkcs11.lib(module).get_tokens(token_label="carte"))
with token.open(rw=True, user_pin=pin) as session:
    decode = decode_rsa_private_key if kind == "rsa" else decode_ec_private_key
    common = {Attribute.ID: b"1", Attribute.LABEL: "moi", Attribute.TOKEN: True}
    session.create_object({**decode(open(key, "rb").read()), **common, Attribute.SIGN: True})
    value = open(certificate, "rb").read()
    session.create_object({Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.VALUE: value,
        Attribute.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509, Attribute.SUBJECT: b"", **common})
"""


def _fill(card: Path, company: Company, identity: Identity) -> None:

    assert isinstance(identity.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    kind = "rsa" if isinstance(identity.key, rsa.RSAPrivateKey) else "ec"
    key = identity.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (company.folder / "key.der").write_bytes(key)
    (company.folder / "cert.der").write_bytes(identity.certificate.public_bytes(Encoding.DER))
    paths = [str(company.folder / each) for each in ("key.der", "cert.der")]
    subprocess.run([sys.executable, "-c", _FILL, str(card), PIN, kind, *paths], check=True)


@pytest.mark.parametrize("kind", ["rsa", "p256"])
@pytest.mark.parametrize("name", ["offre.pdf", "prix.csv"])
def test_a_card_signs(company: Company, card: Path, kind: str, name: str) -> None:
    _fill(card, company, company.issuer.issue(kind=kind))
    chain, pin = company.folder / "above.pem", company.folder / "pin"
    command = ("sign", company.folder / name, "--pkcs11-module", card, "--secret-file", pin, "--chain", chain)
    done = run(*command, SOFTHSM2_CONF=os.environ["SOFTHSM2_CONF"])
    assert done.returncode == 0, done.stderr
    made = company.judged("offre-signe.pdf") if name == "offre.pdf" else company.judged("prix.csv.p7s", name)
    assert made[0] == "TOTAL_PASSED"
