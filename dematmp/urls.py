"""Where every address leads: pages by visitor, the JSON API, the timestamp authority, the read-only admin."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path

from dematmp.api.router import api

handler400 = "dematmp.web.errors.bad_request"
handler403 = "dematmp.web.errors.forbidden"
handler404 = "dematmp.web.errors.not_found"
handler500 = "dematmp.web.errors.server_error"

admin.site.site_header = admin.site.site_title = f"{settings.SITE_NAME}, administration"

urlpatterns = [path("api/", api.urls)]
if settings.BACKUP_DEPOSIT:
    handler404, handler500 = "dematmp.api.channel.unknown", "dematmp.api.channel.failed"
else:
    urlpatterns = [
        # Before « api/ » and « admin/ », whose prefixes it shares.
        # Clients join « https://…/ » and « /modules/… », which other servers take for one slash.
        re_path(r"^(?:/)*", include("dematmp.api.s2low.urls")),
        *urlpatterns,
        path("admin/", admin.site.urls),
        path("compte/", include("allauth.urls")),
        path("", include("dematmp.web.urls")),
    ]
