"""The room « offres »."""

from django.apps import AppConfig


class BidsConfig(AppConfig):
    name = "dematmp.bids"
    verbose_name = "offres"

    def ready(self) -> None:
        from dematmp.audit.verifying import also
        from dematmp.bids import checks  # noqa: F401  (registers them)
        from dematmp.bids.postponing import judge_again
        from dematmp.bids.services import depositors
        from dematmp.bids.verification import check_bids
        from dematmp.consultations.exchanges import concerned
        from dematmp.consultations.services import postponed

        also(check_bids)
        concerned(depositors)
        postponed(judge_again)
