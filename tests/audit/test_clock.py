"""The clock of the machine: said on the journal's page, alarmed, and never guessed."""

import ctypes
import json
import logging
from datetime import timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from dematmp.audit import checks, clock
from dematmp.audit.clock import Clock
from dematmp.audit.keys import create_keys
from dematmp.audit.models import Entry
from dematmp.audit.stamping import obtain_token
from dematmp.audit.tasks import copy_journal

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


def test_an_authority_that_had_run_ahead_is_corrected_by_a_command_and_a_line(db: None) -> None:
    create_keys(now=timezone.now())
    with pytest.raises(CommandError, match="rien à corriger"):
        call_command("timestamps", "--correct", "pour voir")
    with time_machine.travel(timezone.now() + timedelta(days=40)):
        assert obtain_token(b"fait", now=timezone.now()) is not None
    assert obtain_token(b"fait", now=timezone.now()) is None  # it never goes back by itself
    with pytest.raises(CommandError, match=r"en avance de (39|40) days"):
        call_command("timestamps")
    with pytest.raises(CommandError, match="obligatoire"):
        call_command("timestamps", "--correct", " ")
    call_command("timestamps", "--correct", "pile de l'horloge remplacée")
    assert obtain_token(b"fait", now=timezone.now()) is not None
    record = json.loads(bytes(Entry.objects.get(kind="clock-corrected").record))
    assert record["reason"] == "pile de l'horloge remplacée"
    call_command("timestamps")


def test_the_minute_s_task_says_that_it_is_ahead(db: None, caplog: pytest.LogCaptureFixture) -> None:
    create_keys(now=timezone.now())
    copy_journal()
    assert "en avance" not in caplog.text
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        obtain_token(b"fait", now=timezone.now())
    copy_journal()
    assert "en avance" in caplog.text
