"""The admin only reads bids, and of a sealed bid there is nothing to read."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from dematmp.audit.admin import ReadOnlyAdmin
from dematmp.bids.models import Bid, RefusedImport
from dematmp.consultations.models import Consultation


@admin.register(Bid)
class BidAdmin(ReadOnlyAdmin):
    list_display = ("number", "consultation", "received_at", "late")
    fields = (
        "number",
        "consultation",
        "bidder",
        "received_at",
        "deadline",
        "late",
        "journal_index",
        "token_authority",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Bid]:
        """Nothing of a consultation that still receives bids: neither their number nor their authors."""
        real = Bid.objects.filter(consultation__twin_of=None)
        return real.exclude(consultation__in=Consultation.objects.withheld(now=timezone.now()))


@admin.register(RefusedImport)
class RefusedImportAdmin(ReadOnlyAdmin):
    list_display = ("number", "consultation", "bidder", "why", "holds_back", "refused_at", "settled_at")
    fields = ("deposit", "received_at", *list_display)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RefusedImport]:
        """As of bids: nothing of a consultation that still receives them."""
        return RefusedImport.objects.exclude(
            consultation__in=Consultation.objects.withheld(now=timezone.now())
        )
