"""The journal."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "dematmp.audit"
    verbose_name = "journal"

    def ready(self) -> None:
        from dematmp.audit import checks  # noqa: F401  (registers the system checks)
