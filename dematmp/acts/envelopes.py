"""The envelope and the archive of a message of ours.

Built once and kept: what is sent again is the same bytes.
"""

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction

from dematmp.acts import messages as m
from dematmp.acts import names
from dematmp.acts.package import Member, blocks_of, packed
from dematmp.acts.subscribers import Agent, Authority, new_key
from dematmp.acts.transactions import Transaction, today_serial
from dematmp.acts.writing import EMAIL, write_envelope
from storage.stores import object_store


def wrap(
    made: Transaction, documents: Sequence[Member], *, now: datetime, only_service: bool = False
) -> None:
    """Build and store the archive of a message whose name and bytes are set; the row is filled, not saved.

    `only_service` names no other return address than ours (receipts 3-2 and 4-2). Raises ActRefused.
    """
    authority = made.authority
    day = now.astimezone(ZoneInfo(settings.TIME_ZONE)).date()
    made.envelope_name = _new_name(authority, day)
    carrier = envelope_of(made, only_service=only_service)
    message = bytes(made.message or b"")
    everything = [
        Member(made.envelope_name, len(carrier), [carrier]),
        Member(made.message_name, len(message), [message]),
        *documents,
    ]
    name = names.archive(made.envelope_name, trigram=settings.ACTES["trigram"])
    made.archive_key = f"acts/{new_key()}/{name}"
    with packed(everything) as archive:
        made.archive_size = object_store().put_stream(made.archive_key, blocks_of(archive)).size


def _new_name(authority: Authority, day: date) -> str:
    """The authority's next envelope of the day, whose name no archive of its own software took before."""
    while True:
        with transaction.atomic():
            serial = today_serial(authority, day)
        name = names.envelope(
            application=settings.ACTES["application"], siren=authority.siren, day=day, serial=serial
        )
        if not Transaction.objects.filter(envelope_name=name).exists():
            return name


def envelope_of(made: Transaction, *, only_service: bool = False) -> bytes:
    """The `EnveloppeCLMISILL` of a message."""
    authority, agent = made.authority, made.agent
    addresses = [settings.ACTES["return_mail"]]
    if not only_service:
        addresses += [each for each in (agent.email, authority.email) if EMAIL.fullmatch(each)]
    return write_envelope(
        m.Envelope(
            siren=authority.siren,
            department=authority.department,
            district=authority.district,
            nature=authority.nature,
            referent=referent(agent, authority),
            return_addresses=tuple(dict.fromkeys(addresses)),
            messages=(m.File(made.message_name),),
        )
    )


def referent(agent: Agent, authority: Authority) -> m.Referent:
    return m.Referent(str(agent)[:60], agent.telephone or authority.telephone, agent.email)


def from_store(name: str, size: int, key: str) -> Member:
    """A member whose bytes are an object of the store."""
    return Member(name, size, object_store().open(key))
