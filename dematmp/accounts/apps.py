"""The room « comptes »."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "dematmp.accounts"
    verbose_name = "comptes"
