"""The times that the law gives are dated: a rule binds from a day on, and changes nothing before."""

from datetime import date, timedelta

import pytest

from dematmp.acts import rules


def test_the_times_of_today() -> None:
    assert rules.control_end(date(2026, 12, 31)) == date(2027, 2, 28)
    assert rules.sending_end(date(2026, 12, 20)) == date(2027, 1, 4)


def test_a_new_time_binds_what_is_received_or_signed_from_its_day_on(monkeypatch: pytest.MonkeyPatch) -> None:
    since = date(2028, 1, 1)
    monkeypatch.setattr(rules, "CONTROL_MONTHS", (*rules.CONTROL_MONTHS, (since, 3)))
    monkeypatch.setattr(rules, "CONTRACT_DAYS", (*rules.CONTRACT_DAYS, (since, 8)))
    before = since - timedelta(days=1)
    assert rules.control_end(before) == date(2028, 2, 29)
    assert rules.control_end(since) == date(2028, 4, 1)
    assert rules.sending_end(before) == date(2028, 1, 15)
    assert rules.sending_end(since) == date(2028, 1, 9)
    assert rules.control_since(date(2028, 2, 29)) == date(2027, 12, 29)
    assert rules.control_since(date(2028, 3, 1)) == since


@pytest.mark.parametrize("day", [date(2026, 1, 1) + timedelta(days=n) for n in range(0, 800, 7)])
def test_the_first_day_under_control_is_the_first_whose_time_is_not_over(day: date) -> None:
    first = rules.control_since(day)
    assert rules.control_end(first) >= day > rules.control_end(first - timedelta(days=1))
