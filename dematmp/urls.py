"""Where every address leads: pages by visitor, the JSON API, the timestamp authority, the read-only admin."""

from django.contrib import admin
from django.urls import include, path

from dematmp.api.router import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
    path("compte/", include("allauth.urls")),
    path("", include("dematmp.web.urls")),
]
