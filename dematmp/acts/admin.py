"""Acts and the transmission service in the admin: read only, but the sending windows."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from dematmp.acts import aside, windows
from dematmp.acts.errors import ActRefused
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
from storage.errors import StorageError

_MO = 1024**2


def _mo(size: int) -> str:
    return f"{size / _MO:.7f}".rstrip("0").rstrip(".")


class Mebibytes(forms.DecimalField):
    """Bytes, written in Mo as by the command; to the byte."""

    def prepare_value(self, value: object) -> object:
        return _mo(value) if isinstance(value, int) else value

    def clean(self, value: object) -> Any:
        said = super().clean(value)
        return None if said is None else round(said * _MO)


class WindowForm(forms.ModelForm):  # type: ignore[type-arg]
    """What the verb refuses is said beside the fields."""

    rate_limit = Mebibytes(
        label="Mo permis",
        min_value=0,
        max_digits=14,
        decimal_places=7,
        help_text="Tant de Mo au plus partent du début à la fin. Hors des fenêtres, l'envoi est libre.",
    )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        if {"begins_at", "ends_at", "rate_limit"} <= said.keys():
            try:
                windows.check(said["ends_at"], said["rate_limit"], now=timezone.now())
            except ActRefused as refused:
                raise forms.ValidationError(str(refused)) from refused
        return said


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
    ordering = ("-pk",)
    list_filter = ("status", "type")
    exclude = ("message",)


@admin.register(ReturnMail)
class ReturnMailAdmin(ReadOnlyAdmin):
    """What was put aside may be analysed again, once its cause is mended."""

    list_display = ("pk", "received_at", "done_at", "error")
    ordering = ("-pk",)
    list_filter = (("done_at", admin.EmptyFieldListFilter), "received_at")
    actions = ("analyse_again",)

    @admin.action(description="Analyser de nouveau", permissions=["view"])
    def analyse_again(self, request: HttpRequest, queryset: QuerySet[ReturnMail]) -> None:
        rows = list(queryset.filter(done_at=None).exclude(error="").order_by("pk"))
        try:
            still = aside.again(rows, by=str(request.user), now=timezone.now())
        except StorageError as failed:
            self.message_user(request, f"Rien n'a pu être lu : {failed}", messages.ERROR)
            return
        said = f"{len(rows) - len(still)} traité(s), {len(still)} encore de côté."
        self.message_user(request, said, messages.WARNING if still else messages.SUCCESS)


@admin.register(ClassificationVersion)
class ClassificationVersionAdmin(ReadOnlyAdmin):
    list_display = ("authority", "on", "received_at", "sha256")
    exclude = ("bytes",)


@admin.register(Window)
class WindowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Windows are set, changed and removed by the same verbs as by the command, hence journalled."""

    list_display = ("begins_at", "ends_at", "most", "sent")
    fields = ("begins_at", "ends_at", "rate_limit", "sent")
    readonly_fields = ("sent",)
    form = WindowForm

    @admin.display(description="Mo permis")
    def most(self, obj: Window) -> str:
        return _mo(obj.rate_limit)

    @admin.display(description="Mo envoyés")
    def sent(self, obj: Window) -> str:
        return _mo(obj.consumed)

    def save_model(self, request: HttpRequest, obj: Window, form: object, change: bool) -> None:
        windows.save(obj, by=str(request.user), now=timezone.now())

    def delete_model(self, request: HttpRequest, obj: Window) -> None:
        windows.remove(obj, by=str(request.user), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Window]) -> None:
        for each in queryset:
            self.delete_model(request, each)
