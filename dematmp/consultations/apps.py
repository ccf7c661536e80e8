"""The room « consultations »."""

from django.apps import AppConfig


class ConsultationsConfig(AppConfig):
    name = "dematmp.consultations"
    verbose_name = "consultations"

    def ready(self) -> None:
        from dematmp.audit.verifying import also
        from dematmp.consultations.verification import check_deadlines

        also(check_deadlines)
