"""The room « attributions »."""

from django.apps import AppConfig


class AwardsConfig(AppConfig):
    name = "dematmp.awards"
    verbose_name = "attributions"
    holdings, prefix = "dematmp.awards.holdings.held", "contracts"  # read by `storage fsck`
