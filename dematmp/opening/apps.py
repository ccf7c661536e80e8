"""The room « ouverture »."""

from django.apps import AppConfig


class OpeningConfig(AppConfig):
    name = "dematmp.opening"
    verbose_name = "ouverture"
