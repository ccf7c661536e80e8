"""Acts and their transmission to the control authority."""

from django.apps import AppConfig


class ActsConfig(AppConfig):
    name = "dematmp.acts"
    verbose_name = "Actes télétransmis"
    holdings = "dematmp.acts.holdings.held"  # read by `storage fsck`
    enclosures = "dematmp.acts.enclosing.of"  # what mails about acts carry
