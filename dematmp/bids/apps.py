"""The room « offres »."""

from django.apps import AppConfig


class BidsConfig(AppConfig):
    name = "dematmp.bids"
    verbose_name = "offres"

    def ready(self) -> None:
        from dematmp.audit.verifying import also
        from dematmp.bids import checks  # noqa: F401  (registers them)
        from dematmp.bids.services import depositors
        from dematmp.bids.verification import check_bids
        from dematmp.consultations.exchanges import concerned

        also(check_bids)
        concerned(depositors)
