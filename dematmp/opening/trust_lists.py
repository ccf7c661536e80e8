"""The trusted lists by which signatures are judged: an alarm once they should have been replaced."""

import logging
from datetime import datetime
from pathlib import Path

from django.conf import settings

from signing import lists
from signing.trust import is_stale

log = logging.getLogger(__name__)


def shortcomings(now: datetime) -> list[str]:
    """What is wrong with the lists of the settings, in French; nothing where there is no folder of lists."""
    said = []
    for store in (path for each in settings.SIGNATURE_TRUST if (path := Path(each)).is_dir()):
        rows = lists.read_state(store)
        if not rows:
            said.append(f"{store} ne contient aucune liste de confiance.")
        for row in rows:
            if not row.sha256:
                said.append(f"La liste de confiance {row.territory} manque : {row.error}")
            elif is_stale(row, now):
                said.append(f"La liste de confiance {row.territory} est périmée depuis le {row.next_update}.")
            elif row.error:
                said.append(
                    f"La liste de confiance {row.territory} n'a pas pu être mise à jour : {row.error}"
                )
    return said


def alarm(now: datetime) -> None:
    """Say it in the log: signatures are judged all the same, each report with its warning."""
    for each in shortcomings(now):
        log.error("%s Lancez « python -m signing lists-update ».", each)
