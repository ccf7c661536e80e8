"""The admin only reads bids, and of a sealed bid there is nothing to read."""

from django.contrib import admin

from dematmp.audit.admin import ReadOnlyAdmin
from dematmp.bids.models import Bid


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
