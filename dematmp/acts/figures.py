"""The control authority's figures: acts per nature and month, time to transmit, letters and their answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import median

from django.utils import timezone

from dematmp.acts.models import ActQuerySet, PrefectureLetter
from dematmp.acts.rules import LETTERS, NATURES, months_from

MONTHS = 12


@dataclass
class Month:
    """One month of receipts; delays are in days, None when there is nothing to measure."""

    first: date
    natures: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    transmitted_after: list[int] = field(default_factory=list)
    answered_after: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.natures.total()

    @property
    def transmission_days(self) -> float | None:
        """Median time between the decision and the receipt of the act."""
        return median(self.transmitted_after) if self.transmitted_after else None

    @property
    def answer_days(self) -> float | None:
        """Median time between a letter of this month and the buyer's answer."""
        return median(self.answered_after) if self.answered_after else None

    @property
    def per_nature(self) -> list[int]:
        return [self.natures[each] for each in NATURES]

    @property
    def per_letter(self) -> list[int]:
        return [self.letters[each] for each in LETTERS]


def per_month(acts: ActQuerySet, *, today: date, months: int = MONTHS) -> list[Month]:
    """The last months, the present one first; letters count in the month in which they were written."""
    this = today.replace(day=1)
    found = {first: Month(first) for first in (months_from(this, -each) for each in range(months))}
    oldest = min(found)
    received = acts.filter(transmission__received_on__gte=oldest).values_list(
        "nature", "decided_on", "transmission__received_on", "transmission__cancelled_at"
    )
    for nature, decided, day, cancelled in received.iterator():
        month = found.get(day.replace(day=1)) if day else None
        if month is None or day is None:
            continue
        month.natures[nature] += 1
        month.cancelled += cancelled is not None
        month.transmitted_after.append((day - decided).days)
    letters = PrefectureLetter.objects.filter(act__in=acts.values("pk"), written_on__gte=oldest)
    for kind, written, replied, reply in letters.values_list("kind", "written_on", "replied_at", "reply_id"):
        month = found.get(written.replace(day=1))
        if month is None:
            continue
        month.letters[kind] += 1
        if replied is not None and reply is not None:
            month.answered_after.append((timezone.localtime(replied).date() - written).days)
    return list(found.values())


def head() -> list[str]:
    """The columns of `row`."""
    kinds = [*(label for _, label in NATURES.values()), "actes reçus", "annulés", "délai médian (jours)"]
    return ["mois", *kinds, *LETTERS.values(), "réponse médiane (jours)"]


def row(month: Month) -> Sequence[str]:
    counts = [*month.per_nature, month.total, month.cancelled]
    delays = [_days(month.transmission_days), *map(str, month.per_letter), _days(month.answer_days)]
    return [f"{month.first:%Y-%m}", *map(str, counts), *delays]


def _days(found: float | None) -> str:
    return "" if found is None else f"{found:g}".replace(".", ",")
