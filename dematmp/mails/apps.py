"""Mails stored, then sent."""

from django.apps import AppConfig


class MailsConfig(AppConfig):
    name = "dematmp.mails"
    verbose_name = "courriels"
