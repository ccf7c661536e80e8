"""The act of award: prepared, posted by the worker, acknowledged; and its evidence."""

import time
from pathlib import Path

from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.acts.models import Transmission
from dematmp.acts.services import prepare_award_act
from dematmp.awards.models import Award
from storage.stores import object_store


def transmit(award: Award, *, by: User) -> Transmission:
    """Prepare the act; the worker posts it and fetches its acknowledgement."""
    act = prepare_award_act(award, by=by, now=timezone.now())
    until = time.monotonic() + 60
    while True:
        transmission = Transmission.objects.get(act=act)
        if transmission.acknowledged_at:
            return transmission
        if transmission.problem or time.monotonic() > until:
            raise TimeoutError(transmission.problem or "l'acte n'est pas acquitté")
        time.sleep(0.1)


def evidence(out: Path, transmission: Transmission) -> None:
    """The exact bytes sent and received."""
    folder = out / "act"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "envelope.xml").write_bytes(bytes(transmission.envelope or b""))
    (folder / "message.xml").write_bytes(bytes(transmission.message or b""))
    (folder / "archive.tar.gz").write_bytes(b"".join(object_store().open(transmission.archive_key)))
    (folder / "ar.xml").write_bytes(bytes(transmission.acknowledgement or b""))
