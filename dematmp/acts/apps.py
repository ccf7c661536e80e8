"""Acts and their transmission to the control authority."""

from django.apps import AppConfig


class ActsConfig(AppConfig):
    name = "dematmp.acts"
    verbose_name = "Actes télétransmis"
    holdings, prefix = "dematmp.acts.holdings.held", "acts"  # read by `storage fsck`
    enclosures = "dematmp.acts.enclosing.of"  # what mails about acts carry
