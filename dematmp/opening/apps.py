"""The room « ouverture »."""

from django.apps import AppConfig


class OpeningConfig(AppConfig):
    name = "dematmp.opening"
    verbose_name = "ouverture"

    def ready(self) -> None:
        from dematmp.opening import checks  # noqa: F401  (registers them)
