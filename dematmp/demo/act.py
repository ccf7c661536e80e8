"""The act of award: prepared, posted by the worker, acknowledged; and its evidence."""

import time
from pathlib import Path

from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.acts.confirming import confirm
from dematmp.acts.models import Transaction, Transmission
from dematmp.acts.package import unpack
from dematmp.acts.services import prepare_award_act
from dematmp.awards.models import Award
from storage.stores import object_store


def transmit(award: Award, *, by: User) -> Transmission:
    """Prepare the act and confirm it; the worker posts it and fetches its acknowledgement."""
    act = prepare_award_act(award, by=by, now=timezone.now())
    confirm(act, by=by, now=timezone.now())
    until = time.monotonic() + 60
    while True:
        transmission = Transmission.objects.get(act=act)
        if transmission.acknowledged_at:
            return transmission
        if transmission.is_over or time.monotonic() > until:  # any other problem passes: it is tried again
            raise TimeoutError(transmission.problem or "l'acte n'est pas acquitté")
        time.sleep(0.1)


def evidence(out: Path, transmission: Transmission) -> None:
    """The exact bytes sent and received."""
    folder = out / "act"
    folder.mkdir(parents=True, exist_ok=True)
    sent = Transaction.objects.get(pk=transmission.remote_id or 0)
    archive = b"".join(object_store().open(sent.archive_key))
    files = unpack(archive)
    (folder / "envelope.xml").write_bytes(files[sent.envelope_name])
    (folder / "message.xml").write_bytes(files[sent.message_name])
    (folder / "archive.tar.gz").write_bytes(archive)
    (folder / "ar.xml").write_bytes(bytes(transmission.acknowledgement or b""))
