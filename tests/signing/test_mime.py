"""What is not a signature alone: a signed mail is opened, or said not to be; a token of time is said one."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from asn1crypto import tsp

from signing.timestamps import make_request
from tests.signing.authority import NOW, World
from tests.signing.cms_cases import cades
from tests.signing.judged import judge, verdict

WORLD = World()
OFFER = b"12 000 euros\n"
PASSED = "TOTAL_PASSED"


def _mail(folder: Path, *options: str, of: bytes = OFFER, form: str = "SMIME") -> bytes:
    certificate, key = WORLD.signer.write(folder, "signer")
    authority, _ = WORLD.issuer.identity.write(folder, "authority")
    offer, made = folder / "offre.txt", folder / "offre.eml"
    offer.write_bytes(of)
    command = ["openssl", "cms", "-sign", "-cades", "-outform", form, "-in", offer, "-out", made]
    command += ["-signer", certificate, "-inkey", key, "-certfile", authority, *options]
    subprocess.run(command, check=True, capture_output=True)
    return made.read_bytes()


def test_a_mail_that_holds_what_is_signed_is_judged(tmp_path: Path) -> None:
    mail = _mail(tmp_path, "-nodetach")
    assert b"pkcs7-mime" in mail
    report = judge(mail, tmp_path, WORLD.trust, name="smime.p7m")
    assert (report.indication, report.signatures[0].level) == (PASSED, "B-B")
    assert not report.signatures[0].warnings
    ends = mail.replace(b"\n", b"\r\n")
    assert judge(ends, tmp_path, WORLD.trust).indication == PASSED


def test_a_subject_is_signed_by_nobody(tmp_path: Path) -> None:
    mail = b"From: julie@example.fr\nSubject: Prix : 1 euro\n" + _mail(tmp_path, "-nodetach")
    report = judge(mail, tmp_path, WORLD.trust)
    assert report.indication == PASSED
    assert any("objet" in each for each in report.signatures[0].warnings)


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Description: Prix ferme 1 euro\n",
        b"Content-Prix: 1\n",
        b'Content-Disposition: attachment; filename="Prix ferme 1 euro.p7m"\n',
        b"Content-Disposition: attachment (Prix ferme 1 euro)\n",
    ],
)
def test_what_a_header_of_mime_says_is_signed_by_nobody(said: bytes, tmp_path: Path) -> None:
    mail = re.sub(rb"Content-Disposition: [^\n]*\n", b"", _mail(tmp_path, "-nodetach"))
    for head, told in ((b"", False), (said, True)):
        (signature,) = judge(head + mail, tmp_path, WORLD.trust).signatures
        assert any("signés par personne" in each for each in signature.warnings) == told


def test_a_mail_that_was_altered_fails(tmp_path: Path) -> None:
    mail = _mail(tmp_path, "-nodetach")
    other = bytearray(mail)
    place = mail.rindex(b"\n\n") - 30
    other[place] = ord("A") if other[place] != ord("A") else ord("B")
    assert judge(bytes(other), tmp_path, WORLD.trust).indication != PASSED
    assert judge(mail + b"Prix : 1 euro\n", tmp_path, WORLD.trust).indication != PASSED


def _beside(folder: Path) -> bytes:
    mail = _mail(folder, "-text")
    assert b"multipart/signed" in mail
    return mail


def test_a_mail_beside_its_signature_is_judged(tmp_path: Path) -> None:
    mail = _beside(tmp_path)
    ends = re.sub(rb"\r?\n", b"\r\n", mail)
    passed = b"Received: by a server\n" * 300 + mail
    for data, warned in ((mail, False), (ends, False), (passed, True), (b"Subject: Prix\n" + mail, True)):
        report = judge(data, tmp_path, WORLD.trust, name="offre.eml")
        assert (report.indication, report.signatures[0].covers) == (PASSED, ("le message du courriel",))
        assert any("signés par personne" in each for each in report.signatures[0].warnings) is warned
    altered = judge(mail.replace(b"12 000", b"1"), tmp_path, WORLD.trust, name="offre.eml")
    assert verdict(altered) == ("TOTAL_FAILED", "HASH_FAILURE")


_MARK = re.compile(rb'boundary="([^"]+)"')
_OTHER = b"--%s\nContent-Type: text/plain\n\n1 euro\n"
# What is written in its place; a part added is of the mark of the mail.
PARTED: dict[str, tuple[bytes, bytes]] = {
    "a text before": (b"This is an S/MIME signed message", b"Prix : 1 euro"),
    "a part before": (b"This is an S/MIME signed message\n\n", b"\n" + _OTHER),
    "a part between": (b"Content-Type: application/pkcs7-signature", b"Content-Type: text/html\n\n1 euro"),
    "another mark": (b"; micalg", b'; boundary="autre"; micalg'),
    "a comment in the kind": (b"; micalg", b" (1 euro); micalg"),
    "a name of its own": (b"; micalg", b"; boundary*0=autre; micalg"),
    "coded": (b"MIME-Version: 1.0\n", b"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n"),
    "two kinds": (b"MIME-Version: 1.0\n", b"MIME-Version: 1.0\nContent-Type: text/html\n"),
    "a signature that is not coded": (
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: 7bit",
    ),
    "returns that hide": (b"12 000", b"12 000\r1 euro"),
    "the mark inside": (b"12 000", b"12 000 --%s"),
}


@pytest.mark.parametrize("case", PARTED)
def test_a_mail_of_parts_that_two_would_read_otherwise_never_passes(case: str, tmp_path: Path) -> None:
    mail, (old, new) = _beside(tmp_path), PARTED[case]
    (mark,) = _MARK.findall(mail)
    assert old in mail
    changed = mail.replace(old, new.replace(b"%s", mark), 1)
    assert judge(changed, tmp_path, WORLD.trust, name="offre.eml").indication not in (PASSED, "")


@pytest.mark.parametrize("after", [b"", b"\n\n", b"Prix : 1 euro\n"])
def test_what_follows_the_parts_of_a_mail_is_signed_by_nobody(after: bytes, tmp_path: Path) -> None:
    report = judge(_beside(tmp_path) + after, tmp_path, WORLD.trust, name="offre.eml")
    assert (report.indication == PASSED) is not after.strip()


def test_a_message_without_headers_is_not_judged(tmp_path: Path) -> None:
    """Its first lines would be taken for some."""
    report = judge(_mail(tmp_path), tmp_path, WORLD.trust, name="offre.eml")
    assert (report.indication, report.signatures) == ("INDETERMINATE", ())
    assert "courriel" in report.reason


@pytest.mark.parametrize(
    ("of", "given", "expected"),
    [
        (OFFER, OFFER, (PASSED, "")),
        (OFFER, OFFER.replace(b"\n", b"\r\n"), (PASSED, "")),
        (OFFER, b"1 euro\n", ("TOTAL_FAILED", "HASH_FAILURE")),
        (OFFER, OFFER.replace(b" ", b"\n"), ("TOTAL_FAILED", "HASH_FAILURE")),
        # Lines of a PDF, or returns that hide what was before, mean something by their place.
        (b"%PDF-1.4\n", b"%PDF-1.4\n", ("TOTAL_FAILED", "HASH_FAILURE")),
        (b"12 000 euros\r1 euro\n", b"12 000 euros\r1 euro\n", ("TOTAL_FAILED", "HASH_FAILURE")),
    ],
)
@pytest.mark.parametrize("options", [(), ("-text",)])
def test_a_text_is_signed_with_the_lines_of_a_mail(
    options: tuple[str, ...], of: bytes, given: bytes, expected: tuple[str, str], tmp_path: Path
) -> None:
    """As openssl signs it without « -binary »: it is the same text, and it was said to be altered."""
    made = _mail(tmp_path, *options, of=of, form="DER")
    report = judge(made, tmp_path, WORLD.trust, name="offre.txt.p7s", detached={"offre.txt": given})
    assert verdict(report) == expected
    changed = given == of or bool(options)
    assert any("fins de ligne" in each for each in report.signatures[0].warnings) is (
        expected[0] == PASSED and changed
    )


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/pkcs7-mime\n\n",
        b"Content-Type: text/plain\nContent-Type: application/pkcs7-mime\n"
        b"Content-Transfer-Encoding: base64\n\n",
        b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n",
    ],
)
def test_a_mail_that_two_would_read_otherwise_never_passes(head: bytes, tmp_path: Path) -> None:
    data = head + cades(WORLD.signer, OFFER, attached=True)
    assert verdict(judge(data, tmp_path, WORLD.trust))[0] != PASSED


@pytest.mark.parametrize("answered", [False, True])
def test_a_token_of_time_beside_a_file_is_nobody_s_signature(answered: bool, tmp_path: Path) -> None:
    """It is not « altered » either, whatever file is beside."""
    authority = WORLD.issuer.authority(tmp_path)
    answer = authority.respond(make_request(hashlib.sha256(OFFER).digest(), 7), now=NOW)
    token = tsp.TimeStampResp.load(answer)["time_stamp_token"].dump()
    data = answer if answered else token
    report = judge(data, tmp_path, WORLD.trust, name="offre.txt.tst", detached={"offre.txt": OFFER})
    assert (report.indication, report.signatures) == ("", ())
    assert "jeton d'horodatage" in report.reason
