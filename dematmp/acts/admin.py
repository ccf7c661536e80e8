"""Acts in the admin: read only."""

from django.contrib import admin

from dematmp.acts.models import Act, Transmission
from dematmp.audit.admin import ReadOnlyAdmin


@admin.register(Act)
class ActAdmin(ReadOnlyAdmin):
    list_display = ("number", "subject", "buyer", "decided_on")


@admin.register(Transmission)
class TransmissionAdmin(ReadOnlyAdmin):
    list_display = ("act", "envelope_name", "submitted_at", "acknowledged_at", "problem")
