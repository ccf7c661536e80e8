"""The admin only reads the journal."""

from django.contrib import admin
from django.http import HttpRequest

from dematmp.audit.models import Entry


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """An admin that shows rows and changes none."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("index", "kind", "consultation", "at")
    list_filter = ("kind",)
    fields = ("index", "kind", "consultation", "at")
