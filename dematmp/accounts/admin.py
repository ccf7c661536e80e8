"""Organisations and roles in the admin."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from dematmp.accounts.models import Membership, Organisation, User
from dematmp.accounts.services import give_role, take_role


@admin.register(Organisation)
class OrganisationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "kind", "siret", "country")
    search_fields = ("name", "siret")


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("email", "first_name", "last_name", "is_active")
    search_fields = ("email", "last_name")
    exclude = ("password",)


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Roles are given and taken by the same verbs as on the site, hence journalled; never edited."""

    list_display = ("user", "organisation", "role")

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Membership, form: object, change: bool) -> None:
        made = give_role(obj.user, obj.organisation, obj.role, by=_user(request), now=timezone.now())
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        take_role(obj, by=_user(request), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for membership in queryset:
            self.delete_model(request, membership)


def _user(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
