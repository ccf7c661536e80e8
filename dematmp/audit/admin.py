"""The admin only reads; what it reads of bids, openings and the journal is itself journalled (annexe 8)."""

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from dematmp.audit.services import append


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """An admin that shows rows, changes none, and says in the journal who looked."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        self._journal(request, None)
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        self._journal(request, object_id)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _journal(self, request: HttpRequest, object_id: str | None) -> None:
        with transaction.atomic():
            append(
                "admin-read",
                {"by": str(getattr(request.user, "uuid", "")), "model": self.opts.label, "row": object_id},
                now=timezone.now(),
            )
