"""The journal in the admin: without the entries that would count the bids of an open consultation."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from dematmp.audit.admin import ReadOnlyAdmin
from dematmp.audit.models import Entry
from dematmp.consultations.models import Consultation


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("index", "kind", "consultation", "at")
    list_filter = ("kind",)
    fields = ("index", "kind", "consultation", "at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        withheld = Consultation.every.withheld(now=timezone.now()).values("uuid")
        return Entry.objects.exclude(consultation__in=withheld)
