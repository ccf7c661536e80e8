"""Which certificates may transmit: those that a chain in force ties to a listed authority."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from dematmp.acts.models import Authority
from dematmp.acts.rgs import is_rgs
from deploy.services.pki import Held, TestAuthority
from tests.acts.service import Caller, act_fields, agent


@pytest.fixture
def root(tmp_path: Path, settings: Any) -> TestAuthority:
    made = TestAuthority(tmp_path / "racine", "racine")
    settings.ACTES = {**settings.ACTES, "rgs": [str(made.held.pem)]}
    return made


def gate(settings: Any, *, between: list[TestAuthority], lists: list[Path] = []) -> None:  # noqa: B006
    settings.ACTES = {
        **settings.ACTES,
        "rgs_intermediates": [str(each.held.pem) for each in between],
        "rgs_crl": [str(each) for each in lists],
    }


def passes(held: Held, *, days: int = 0) -> bool:
    return is_rgs(held.certificate, now=timezone.now() + timedelta(days=days))


def test_an_intermediate_authority_leads_to_a_listed_one(
    root: TestAuthority, tmp_path: Path, settings: Any
) -> None:
    between = TestAuthority(tmp_path / "inter", "inter", above=root)
    held = between.client("sous")
    assert not passes(held), "nothing says who issued it"
    gate(settings, between=[between])
    assert passes(held)
    assert not passes(held, days=366), "it expired"
    assert passes(root.client("direct"))


def test_an_expired_intermediate_authority_does_not(
    root: TestAuthority, tmp_path: Path, settings: Any
) -> None:
    between = TestAuthority(tmp_path / "inter", "inter", above=root, expired=True)
    gate(settings, between=[between])
    assert not passes(between.client("sous"))


def test_a_revoked_intermediate_authority_does_not(
    root: TestAuthority, tmp_path: Path, settings: Any
) -> None:
    between = TestAuthority(tmp_path / "inter", "inter", above=root)
    held = between.client("sous")
    both = tmp_path / "listes.pem"  # as nginx holds them: one file for all
    gate(settings, between=[between], lists=[both])
    both.write_bytes(root.crl.read_bytes() + between.crl.read_bytes())
    assert passes(held)
    root.revoke(between.held)
    both.write_bytes(between.crl.read_bytes() + root.crl.read_bytes())
    assert not passes(held)
    assert passes(root.client("direct"))


def test_a_revoked_certificate_does_not_and_a_list_of_somebody_else_revokes_nothing(
    root: TestAuthority, tmp_path: Path, settings: Any
) -> None:
    between = TestAuthority(tmp_path / "inter", "inter", above=root)
    same_name = TestAuthority(tmp_path / "faux", "inter")
    held = between.client("sous")
    same_name.revoke(held)
    gate(settings, between=[between], lists=[same_name.crl, between.crl])
    assert passes(held)
    between.revoke(held)
    gate(settings, between=[between], lists=[same_name.crl, between.crl])
    assert not passes(held)


def test_a_certificate_of_a_client_issues_no_other(
    root: TestAuthority, tmp_path: Path, settings: Any
) -> None:
    """Nor does an authority that says it has none below it."""
    client = root.client("agent")
    forged = TestAuthority(tmp_path / "faux", "faux", above=root)
    forged.held = client  # who holds the key of a certificate signs with it
    gate(settings, between=[forged])
    assert not passes(forged.client("usurpe"))
    between = TestAuthority(tmp_path / "inter", "inter", above=root)  # path length 0
    under = TestAuthority(tmp_path / "dessous", "dessous", above=between)
    gate(settings, between=[between, under])
    assert not passes(under.client("trop-bas"))


def test_a_file_that_is_not_readable_lets_nobody_transmit_and_says_so(
    root: TestAuthority, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ACTES = {**settings.ACTES, "rgs_crl": ["/nulle/part.crl"]}
    assert not passes(root.client("direct"))
    assert "part.crl" in caplog.text


def test_an_agent_under_an_intermediate_authority_posts(
    town: Authority, root: TestAuthority, service: Any, tmp_path: Path
) -> None:
    between = TestAuthority(tmp_path / "inter", "inter", above=root)
    held = between.client("lea-inter")
    agent(town, held)
    caller = Caller(held)
    assert caller.get("/api/test-rgs.php").content == b"KO"
    service.ACTES = {**service.ACTES, "rgs_intermediates": [str(between.held.pem)]}
    assert caller.get("/api/test-rgs.php").content == b"OK"
    assert caller.form("actes_transac_create.php", act_fields()).content.startswith(b"OK\n")
