"""Nobody reads a bid before the opening: not by any address, not in any store, not in any process' memory."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT, absent
from tests.secrecy.__main__ import SERVICES, STORES_ONLY
from tests.secrecy.needles import Haystack, Needle

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]
BEFORE = ["en cours d'envoi", "déposée", "date limite passée", "une part apportée"]


# The suite has its minutes: the real services are searched when DEMATMP_WHOLE_MATRIX asks for everything.
WHOLE = bool(os.environ.get("DEMATMP_WHOLE_MATRIX"))


@pytest.fixture(scope="module", params=["embedded", "services"] if WHOLE else ["embedded"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """On the embedded default, then on PostgreSQL, S3 and RabbitMQ."""
    folder = tmp_path_factory.mktemp("secrecy") / "state"
    command = [sys.executable, "-m", "tests.secrecy", str(folder)]
    if request.param == "services":
        for service in SERVICES.values():
            if reason := service.missing():
                absent(reason)
        command.append("--services")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=560)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("stage", BEFORE)
def test_before_the_opening_nobody_sees_anything_by_any_address(report: dict[str, Any], stage: str) -> None:
    assert report[stage]["answers"] > 500 or stage in STORES_ONLY
    assert report[stage]["seen"] == {}


@pytest.mark.parametrize("stage", BEFORE)
def test_before_the_opening_no_store_and_no_process_holds_anything(
    report: dict[str, Any], stage: str
) -> None:
    assert report[stage]["stores"] == {}
    if report[stage]["memory"] is False:
        absent("la mémoire des processus ne peut être lue sur cette machine (ptrace)")


def test_after_the_opening_only_the_committee_sees(report: dict[str, Any]) -> None:
    seen = report["ouverte"]["seen"]
    assert set(seen) == {"membre"}
    assert {each.split(" /")[0] for each in seen["membre"]} == {"contenu", "nom de fichier"}


@pytest.mark.parametrize("stage", [*BEFORE, "ouverte"])
def test_every_address_answers_and_none_fails(report: dict[str, Any], stage: str) -> None:
    assert report[stage]["wrong"] == [], "\n".join(report[stage]["wrong"])


@pytest.mark.parametrize("hidden", ["raw", "base64", "hex", "utf16", "gzip", "json"])
def test_the_search_finds_what_is_hidden(hidden: str) -> None:
    import base64
    import gzip

    secret = b"Zq-offre-\xc3\xa9t\xc3\xa9-42"
    text = secret.decode()
    disguises = {
        "raw": b"xx" + secret + b"yy",
        "base64": base64.b64encode(b"x" * 7 + secret + b"y" * 5),
        "hex": (b"x" + secret).hex().encode(),
        "utf16": ("avant" + text).encode("utf-16-le"),
        "gzip": gzip.compress(b"avant" + secret + b"apres"),
        "json": json.dumps({"nom": text}).encode(),
    }
    assert Haystack([Needle("offre", secret)]).search(disguises[hidden]) == {"offre"}
    assert Haystack([Needle("offre", secret)]).search(b"rien du tout" * 50) == set()
