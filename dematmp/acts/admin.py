"""Acts and the transmission service in the admin: read only."""

from django.contrib import admin

from dematmp.acts.models import (
    Act,
    Agent,
    Authority,
    ClassificationVersion,
    PrefectureLetter,
    ReturnMail,
    Transaction,
    Transmission,
    Window,
)
from dematmp.audit.admin import ReadOnlyAdmin


@admin.register(Act)
class ActAdmin(ReadOnlyAdmin):
    list_display = ("number", "subject", "buyer", "decided_on")


@admin.register(Transmission)
class TransmissionAdmin(ReadOnlyAdmin):
    list_display = ("act", "remote_id", "submitted_at", "acknowledged_at", "problem")


@admin.register(PrefectureLetter)
class PrefectureLetterAdmin(ReadOnlyAdmin):
    list_display = ("act", "kind", "written_on", "reply_id")


@admin.register(Authority)
class AuthorityAdmin(ReadOnlyAdmin):
    list_display = ("siren", "name", "department", "district", "nature", "active")


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    list_display = ("name", "given_name", "authority", "login", "role", "permission", "active")
    exclude = ("password", "certificate")


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    list_display = ("pk", "type", "number", "authority", "status", "created_at", "problem")
    list_filter = ("status", "type")
    exclude = ("message",)


@admin.register(ReturnMail)
class ReturnMailAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "received_at", "done_at", "error")


@admin.register(ClassificationVersion)
class ClassificationVersionAdmin(ReadOnlyAdmin):
    list_display = ("authority", "on", "received_at", "sha256")
    exclude = ("bytes",)


@admin.register(Window)
class WindowAdmin(ReadOnlyAdmin):
    list_display = ("begins_at", "ends_at", "rate_limit", "consumed")
