"""The platform's seal by a bought certificate (PKCS#12) or an HSM (PKCS#11), in a process of its own."""

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.signers.pdf_signer import PdfTimeStamper
from pytest_django.fixtures import Settings

from dematmp.audit import sealing
from dematmp.audit.checks import seal_certificate
from dematmp.audit.errors import KeysMissing
from dematmp.audit.keys import create_keys, seal_anchors, timestamp_anchors, timestamp_authority
from dematmp.audit.sealing import seal
from dematmp.audit.stamping import answer
from signing import pki
from signing.errors import ReceiptRefused
from signing.pdf import _Stamper
from signing.pki import expires
from signing.receipt import sealed_by
from signing.timestamps import make_request, verify_token
from signing.validation import validate
from tests.conftest import ROOT
from tests.signing.test_sign import PIN, Company, _fill, card, company  # noqa: F401  (fixtures)
from tests.world import pdf

_SEAL = """
import sys
import django
django.setup()
from django.utils import timezone
from dematmp.audit.sealing import seal
from signing.pdf import Attachment
source, out = sys.argv[1:]
attached = [Attachment("a.json", b"{}", "application/json", "Essai")]
made = seal(open(source, "rb").read(), reason="Essai", now=timezone.now(), attachments=attached)
open(out, "wb").write(made)
"""


def sealed(folder: Path, url: str, secret: Path) -> "subprocess.CompletedProcess[str]":
    create_keys(now=timezone.now())
    (folder / "recu.pdf").write_bytes(pdf())
    return subprocess.run(
        [sys.executable, "-c", _SEAL, str(folder / "recu.pdf"), str(folder / "scelle.pdf")],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": str(folder / "state"),
            "DEMATMP_SECRETS_DIR": str(settings.SECRETS_DIR),
            "DEMATMP_SEAL": url,
            "DEMATMP_SEAL_SECRET_FILE": str(secret),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def judged(company: Company) -> tuple[str, str, str]:  # noqa: F811
    anchors = [company.root.identity.pem, company.issuer.identity.pem, timestamp_anchors()]
    report = validate(company.folder / "scelle.pdf", at=timezone.now(), trust=anchors)
    (one,) = report.signatures
    return one.level, one.coverage, one.signer


def test_a_bought_certificate_seals(company: Company) -> None:  # noqa: F811
    p12 = company.p12(company.issuer.issue())
    done = sealed(company.folder, f"pkcs12://{p12}", company.folder / "secret")
    assert done.returncode == 0, done.stderr
    level, coverage, _ = judged(company)
    assert (level, coverage) == ("B-T", "whole")


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_an_hsm_seals(company: Company, card: Path, kind: str) -> None:  # noqa: F811
    _fill(card, company, company.issuer.issue(kind=kind))
    done = sealed(company.folder, f"pkcs11://{card}?label=carte", company.folder / "pin")
    assert done.returncode == 0, done.stderr
    level, coverage, _ = judged(company)
    assert (level, coverage) == ("B-T", "whole")


def test_a_seal_that_does_not_open_says_why(company: Company) -> None:  # noqa: F811
    (company.folder / "faux").write_text(PIN + "0")
    p12 = company.p12(company.issuer.issue())
    done = sealed(company.folder, f"pkcs12://{p12}", company.folder / "faux")
    assert "KeysMissing" in done.stderr
    assert "mot de passe faux" in done.stderr


@pytest.fixture
def secrets(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys of this test alone: it renews them in years to come."""
    settings.SECRETS_DIR = tmp_path / "secrets"
    monkeypatch.setattr(sealing, "_said", float("-inf"))
    create_keys(now=timezone.now())
    return tmp_path / "secrets" / "pki"


def _seal(path: Path) -> str:
    path.write_bytes(seal(pdf(), reason="Essai", now=timezone.now()))
    return sealed_by(path, path.parent, seal_pem=seal_anchors(), ca_pem=timestamp_anchors())


def test_a_seal_is_renewed_under_the_same_authority_and_the_former_one_stays_proven(
    secrets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former, authority = (secrets / "seal.pem").read_bytes(), seal_anchors()
    _seal(tmp_path / "a.pdf")
    create_keys(now=timezone.now())
    assert (secrets / "seal.pem").read_bytes() == former  # not before it is time
    assert seal_certificate(None) == []
    with time_machine.travel(expires(former) - timedelta(days=89), tick=True):
        sealing.alarm(now=timezone.now())
        assert "expire le" in caplog.records[-1].message
        assert [each.id for each in seal_certificate(None)] == ["audit.W002"]
        create_keys(now=timezone.now())
        assert seal_certificate(None) == []
    kept = secrets / f"seal-{expires(former):%Y%m%d}.pem"
    assert kept.read_bytes() == former
    with time_machine.travel(expires(former) + timedelta(days=30), tick=True):
        assert "cachet" in _seal(tmp_path / "b.pdf")
        assert sealed_by(tmp_path / "a.pdf", tmp_path, seal_pem=seal_anchors(), ca_pem=timestamp_anchors())
    assert seal_anchors() == authority


def test_an_expired_certificate_seals_nothing_and_says_so(
    secrets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (secrets / "ca.key").unlink()  # a folder made before it was kept
    with time_machine.travel(expires((secrets / "seal.pem").read_bytes()) + timedelta(days=1), tick=True):
        create_keys(now=timezone.now())
        with pytest.raises(KeysMissing, match="n'est plus valide"):
            _seal(tmp_path / "a.pdf")
        assert "a expiré le" in str(seal_certificate(None)[0].msg)
        sealing.alarm(now=timezone.now())
    assert "a expiré le" in caplog.text


def test_the_end_of_a_bought_certificate_is_told_too(
    company: Company,  # noqa: F811
    settings: Settings,
) -> None:
    create_keys(now=timezone.now())
    p12 = company.p12(company.issuer.issue(days=60))
    settings.SEAL = {"url": f"pkcs12://{p12}", "secret_file": str(company.folder / "secret")}
    assert "expire le" in sealing.warning(now=timezone.now())
    p12 = company.p12(company.issuer.issue())
    assert sealing.warning(now=timezone.now()) == ""


_DIGEST = hashlib.sha256(b"fait").digest()


def _token() -> bytes:
    return timestamp_authority().respond(make_request(_DIGEST), now=timezone.now())


def _proven(token: bytes, folder: Path) -> bool:
    """By us, and by openssl, with the authorities of today at the hour of the token."""
    said = verify_token(token, digest=_DIGEST, ca_pem=timestamp_anchors())
    (folder / "ca.pem").write_bytes(timestamp_anchors())
    (folder / "token.tsr").write_bytes(token)
    (folder / "fait").write_bytes(b"fait")
    command = ["openssl", "ts", "-verify", "-data", "fait", "-in", "token.tsr", "-CAfile", "ca.pem"]
    command += ["-attime", str(int(said.gen_time.timestamp()))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "Verification: OK" in done.stdout + done.stderr


def _keys_told(*options: str) -> str:
    out = io.StringIO()
    call_command("platform_keys", *options, stdout=out, stderr=out)
    return out.getvalue()


_WHICH = {"tsa.pem": "d'horodatage intégrée", "ca.pem": "de certification de la plateforme"}


@pytest.mark.parametrize("file", list(_WHICH))
def test_our_authorities_are_renewed_before_their_end(
    secrets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    """Fifteen years for the timestamps, twenty for the authority: what they proved stays proven."""
    token, end = _token(), expires((secrets / file).read_bytes())
    former, kept = secrets / f"{file.removesuffix('.pem')}-{end:%Y%m%d}.pem", (secrets / file).read_bytes()
    with time_machine.travel(end - timedelta(days=91), tick=True):
        assert not any(f"expire le {end:%d/%m/%Y}" in each.msg for each in seal_certificate(None))
    with time_machine.travel(end - timedelta(days=89), tick=True):
        assert any(
            f"autorité {_WHICH[file]} expire le {end:%d/%m/%Y}" in each.msg for each in seal_certificate(None)
        )
        sealing.alarm(now=timezone.now())
        assert "platform_keys" in caplog.text
        assert "Certificats renouvelés, pour les mêmes clés : ca.pem, tsa.pem, seal.pem" in _keys_told()
        assert seal_certificate(None) == []
        assert "renouvelés" not in _keys_told()  # once
        assert expires((secrets / "tsa.pem").read_bytes()) - timezone.now() > timedelta(days=15 * 364)
        _seal(tmp_path / "a.pdf")
    assert former.read_bytes() == kept
    with time_machine.travel(end + timedelta(days=30), tick=True):
        assert _proven(_token(), tmp_path)
        assert _proven(token, tmp_path)
        assert "cachet" in _seal(tmp_path / "b.pdf")
        assert sealed_by(tmp_path / "a.pdf", tmp_path, seal_pem=seal_anchors(), ca_pem=timestamp_anchors())


def test_a_lost_key_of_the_authority_has_a_way_out(secrets: Path, tmp_path: Path) -> None:
    token, _ = _token(), _seal(tmp_path / "a.pdf")
    with pytest.raises(CommandError, match="rien à remplacer"):
        _keys_told("--new-authority")
    shutil.move(secrets / "ca.key", tmp_path / "ca.key")
    assert "new-authority" not in _keys_told()  # nothing ends yet
    with time_machine.travel(expires((secrets / "seal.pem").read_bytes()) - timedelta(days=30), tick=True):
        assert "platform_keys --new-authority" in _keys_told()
        assert "Autre autorité" in _keys_told("--new-authority")
        assert seal_certificate(None) == []
        assert "new-authority" not in _keys_told()
        assert _proven(_token(), tmp_path)
        assert "cachet" in _seal(tmp_path / "b.pdf")
    assert _proven(token, tmp_path)
    assert sealed_by(tmp_path / "a.pdf", tmp_path, seal_pem=seal_anchors(), ca_pem=timestamp_anchors())


def _vouched(secrets: Path, file: str) -> bool:
    """Whether an authority of ca.pem signed this certificate."""
    certificate = load_pem_x509_certificate((secrets / file).read_bytes())
    for authority in load_pem_x509_certificates((secrets / "ca.pem").read_bytes()):
        with contextlib.suppress(ValueError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return True
    return False


def test_the_key_of_an_authority_of_before_signs_nothing_under_the_name_of_the_new_one(
    secrets: Path, tmp_path: Path
) -> None:
    """Lost, replaced, then found again in a backup and put back."""
    shutil.move(secrets / "ca.key", tmp_path / "ca.key")
    _keys_told("--new-authority")
    shutil.copy(tmp_path / "ca.key", secrets / "ca.key")
    with time_machine.travel(expires((secrets / "seal.pem").read_bytes()) - timedelta(days=30), tick=True):
        assert "pas celle de la première autorité" in _keys_told()
        assert _vouched(secrets, "seal.pem")
        assert "Autre autorité" in _keys_told("--new-authority")
        assert seal_certificate(None) == []
        assert _vouched(secrets, "seal.pem")
        assert "cachet" in _seal(tmp_path / "b.pdf")


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("option", [[], ["--new-authority"]], ids=["run", "run again"])
@pytest.mark.parametrize("after", range(1, 8))
def test_another_authority_killed_between_two_writes_is_completed_by_the_next_run(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, option: list[str]
) -> None:
    """Even when the operator puts the former key back meanwhile, as he may be told to."""
    shutil.move(secrets / "ca.key", tmp_path / "ca.key")
    write, done = pki._write, list[Path]()

    def killed(path: Path, content: bytes) -> None:
        if len(done) == after:
            raise _Killed
        write(path, content)
        done.append(path)

    with monkeypatch.context() as patched:
        patched.setattr(pki, "_write", killed)
        with contextlib.suppress(_Killed):
            _keys_told("--new-authority")
    pending = (secrets / "ca.next").exists()
    assert pending == (after < 7)
    if pending:
        shutil.copy(tmp_path / "ca.key", secrets / "ca.key")
        _keys_told(*option)
    authorities = load_pem_x509_certificates((secrets / "ca.pem").read_bytes())
    assert len(authorities) == 2
    assert pki.renewable(secrets)
    assert seal_certificate(None) == []
    for file in ("tsa.pem", "seal.pem"):
        load_pem_x509_certificate((secrets / file).read_bytes()).verify_directly_issued_by(authorities[0])
    assert _proven(_token(), tmp_path)
    assert "cachet" in _seal(tmp_path / "b.pdf")


def test_certificates_renewed_twice_in_a_day_are_all_kept(tmp_path: Path) -> None:
    now, seen = timezone.now(), set[bytes]()
    pki.make_authority(tmp_path, name="Ville", now=now)
    for _ in range(3):
        seen.add((tmp_path / "seal.pem").read_bytes())
        pki.replace_authority(tmp_path, name="Ville", now=now)
    assert {each.read_bytes() for each in tmp_path.glob("seal-*.pem")} == seen


def test_a_seal_whose_timestamp_expired_is_proven_by_an_archive_timestamp_alone(
    secrets: Path, tmp_path: Path
) -> None:
    _seal(tmp_path / "a.pdf")
    end, archived = expires((secrets / "tsa.pem").read_bytes()), io.BytesIO()
    with time_machine.travel(end - timedelta(days=30), tick=True):
        create_keys(now=timezone.now())
        stamper = PdfTimeStamper(_Stamper(lambda request: answer(request, now=timezone.now())))
        kept = IncrementalPdfFileWriter(io.BytesIO((tmp_path / "a.pdf").read_bytes()))
        stamper.timestamp_pdf(kept, "sha256", None, output=archived)
    (tmp_path / "b.pdf").write_bytes(archived.getvalue())
    given: dict[str, Any] = {"seal_pem": seal_anchors(), "ca_pem": timestamp_anchors()}
    with time_machine.travel(end + timedelta(days=30), tick=True):
        assert "cachet" in sealed_by(tmp_path / "b.pdf", tmp_path, **given)
        with pytest.raises(ReceiptRefused, match="JSON joint l'est encore"):
            sealed_by(tmp_path / "a.pdf", tmp_path, **given)
