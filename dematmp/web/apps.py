"""The HTML door."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "dematmp.web"
