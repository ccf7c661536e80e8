"""The room « attributions »."""

from django.apps import AppConfig


class AwardsConfig(AppConfig):
    name = "dematmp.awards"
    verbose_name = "attributions"
    holdings = "dematmp.awards.holdings.held"  # read by `storage fsck`
