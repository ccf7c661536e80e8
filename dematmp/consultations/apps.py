"""The room « consultations »."""

from django.apps import AppConfig


class ConsultationsConfig(AppConfig):
    name = "dematmp.consultations"
    verbose_name = "consultations"
