"""The platform's seal by a bought certificate (PKCS#12) or an HSM (PKCS#11), in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from dematmp.audit.keys import create_keys, timestamp_anchors
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
