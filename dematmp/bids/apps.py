"""The room « offres »."""

from django.apps import AppConfig


class BidsConfig(AppConfig):
    name = "dematmp.bids"
    verbose_name = "offres"
