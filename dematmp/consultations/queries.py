"""Which consultations: what the public, a buyer, a committee may see, and when."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.accounts.words import fold, words_of

if TYPE_CHECKING:
    from dematmp.consultations.models import Consultation  # noqa: F401

_ABANDONED = timedelta(days=365)  # a draft
_CPV = re.compile(r"(\d{8})(?:-\d)?")  # with or without its check digit


def searched(text: str) -> str:
    """Text as it is looked for: without case or accents, ligatures spelt out."""
    return fold(text).replace("œ", "oe").replace("æ", "ae")


class Searched(models.Model):
    """A row that keeps the words by which the public finds it."""

    folded = models.TextField("mots cherchés", editable=False, default="")

    class Meta:
        abstract = True

    def save(self, **options: Any) -> None:
        """With these words, whatever changes."""
        said = [str(getattr(self, name)) for name in ("reference", "title", "object")]
        self.folded = searched(" ".join(said))
        if options.get("update_fields") is not None:
            options["update_fields"] = {*options["update_fields"], "folded"}
        super().save(**options)


class ConsultationQuerySet(models.QuerySet["Consultation"]):
    def public(self) -> Self:
        """What anybody may see."""
        return self.filter(published_at__isnull=False)

    def real(self) -> Self:
        """All but the permanent one on which companies try a deposit."""
        return self.filter(trial=False)

    def with_deadline(self) -> Self:
        """Each row bears `binding_deadline`, the instant of its last decision."""
        last = (
            apps.get_model("consultations", "Deadline")
            .objects.filter(consultation=models.OuterRef("pk"))
            .order_by("-version")
        )
        return self.annotate(binding_deadline=models.Subquery(last.values("at")[:1]))

    def receiving(self, *, now: datetime) -> Self:
        """Published, and the deadline has not passed."""
        return self.public().with_deadline().filter(binding_deadline__gte=now)

    def closing(self, *, now: datetime, within: timedelta) -> Self:
        """Receiving, and closing soon."""
        return self.receiving(now=now).filter(binding_deadline__lte=now + within)

    def withheld(self, *, now: datetime) -> Self:
        """Those whose journal entries are not shown to the public yet: being prepared, or receiving bids.

        A draft that nobody published within a year received nothing, and holds its neighbours back no more.
        """
        since = now - _ABANDONED
        still = models.Q(published_at=None, created_at__gte=since) | models.Q(binding_deadline__gte=now)
        preparing = models.Q(twin_of__published_at=None, twin_of__created_at__gte=since)
        real = models.Q(twin_of=None) & still
        return self.real().with_deadline().filter(real | preparing)

    def soonest_first(self) -> Self:
        """The soonest deadline first."""
        return self.with_deadline().order_by("binding_deadline", "pk")

    def held_by(self, user: User) -> Self:
        """Those of which this person holds a share, while a member of that buyer's committee."""
        return self.filter(
            ceremony__holders__user=user, buyer__memberships__user=user, buyer__memberships__role="member"
        ).distinct()

    def of_buyer(self, buyer: Organisation) -> Self:
        return self.filter(buyer=buyer)

    def of_user(self, user: User) -> Self:
        """What this person may see as a buyer's agent, validator or committee member."""
        return self.filter(
            buyer__memberships__user=user, buyer__memberships__role__in=["agent", "validator", "member"]
        ).distinct()

    def search(self, *, words: str = "", cpv: str = "", buyer: str = "") -> Self:
        """Every word is in the reference, the title, the object, the buyer's name, or begins the CPV code."""
        found = self
        buyers = dict(Organisation.objects.filter(kind="buyer").order_by("pk").values_list("pk", "name"))
        for word in words_of(words):
            text = searched(word)
            named = [pk for pk, name in buyers.items() if text in searched(name)]
            of = models.Q(folded__contains=text) | models.Q(buyer__in=named)
            if code := _CPV.fullmatch(word):
                of |= models.Q(cpv__startswith=code[1].rstrip("0"))
            found = found.filter(of)
        if cpv := cpv.strip().split("-")[0]:
            found = found.filter(cpv__startswith=cpv.rstrip("0") or cpv)
        if buyer:
            found = found.filter(buyer__uuid=buyer)
        return found


class RealOnly(models.Manager["Consultation"]):
    """Every consultation but the twins, which exist for the rehearsal of an opening and nowhere else."""

    def get_queryset(self) -> ConsultationQuerySet:
        return ConsultationQuerySet(self.model, using=self._db).filter(twin_of=None)
