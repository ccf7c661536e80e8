"""The clock of the machine: said on the journal's page, alarmed, and never guessed."""

import ctypes
import logging

import pytest
from django.test import Client
from django.utils import timezone

from dematmp.audit import checks, clock
from dematmp.audit.clock import Clock
from dematmp.audit.keys import create_keys

GOOD, LOOSE, NONE, UNKNOWN = Clock(True, 0.0004), Clock(True, 2.5), Clock(False), Clock(None)


def test_the_kernel_answers() -> None:
    found = clock.health()
    assert found.synchronised in (True, False, None)
    assert (found.error is not None) is (found.synchronised is True)
    assert ctypes.sizeof(clock._Timex) >= 208  # never less than what the kernel writes


@pytest.mark.parametrize(("said", "good"), [(GOOD, True), (LOOSE, False), (NONE, False), (UNKNOWN, None)])
def test_a_clock_is_good_to_the_second_or_alarmed(
    said: Clock, good: bool | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for each in (clock, checks):
        monkeypatch.setattr(each, "health", lambda: said)
    monkeypatch.setattr(clock, "_said", float("-inf"))
    assert said.is_good is good
    with caplog.at_level(logging.ERROR):
        clock.alarm()
        clock.alarm()  # said once an hour
    assert len(caplog.records) == (1 if good is False else 0)
    assert [each.id for each in checks.synchronised_clock(None)] == (["audit.I001"] if good is False else [])


def test_the_page_of_the_journal_says_it(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from dematmp.web import public

    create_keys(now=timezone.now())
    for said, words in ((GOOD, "erreur estimée : 0,000"), (NONE, "À surveiller"), (UNKNOWN, "ne dit pas si")):
        monkeypatch.setattr(public, "health", lambda said=said: said)
        assert words in Client().get("/journal/").content.decode()
