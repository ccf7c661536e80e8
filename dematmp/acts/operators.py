"""The operator of transmission of a buyer, by one port: this platform's own service, or a S2LOW elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dematmp.accounts.models import Organisation
from dematmp.acts import follow_ups, posting, stamp, statuses, versions
from dematmp.acts.administration import authority_for
from dematmp.acts.bordereau import render_bordereau
from dematmp.acts.errors import ActError, GatewayRefused, OperatorUnset
from dematmp.acts.fields import PDF, Piece, Posting
from dematmp.acts.remote import NO_STAMP, Letter, Remote, Status
from dematmp.acts.subscribers import BOTH, Agent, Authority
from dematmp.acts.transactions import ACT, Transaction
from dematmp.audit.keys import unwrap

if TYPE_CHECKING:
    from dematmp.acts.models import Act


class Operator(Protocol):
    """Every call raises GatewayUnavailable (try again) or GatewayRefused (the same again would not help)."""

    is_remote: bool
    url: str  # empty for this platform's own service
    login: str

    def classification(self) -> bytes:
        """The codes in force, byte for byte."""

    def request_classification(self) -> int:
        """Ask the ministry for newer codes; the transaction."""

    def post(self, act: Posting) -> int:
        """Post an act once; the transaction."""

    def find(self, number: str) -> int | None:
        """The transaction of a number, when an earlier post was taken although its answer was lost."""

    def status(self, transaction: int) -> Status:
        """Where a transaction is."""

    def message(self, transaction: int) -> bytes:
        """The ACTES message that was sent, once acknowledged."""

    def receipt(self, transaction: int) -> bytes:
        """The acknowledgement's XML, of a transaction that is beyond it."""

    def letters(self, act: int) -> list[Letter]:
        """What the prefecture sent about an act."""

    def archive(self, letter: int) -> bytes:
        """Everything that came with a letter, as a tar.gz."""

    def stamped(self, transaction: int, rank: int, *, published: date | None) -> bytes:
        """A PDF of an acknowledged act with its stamp: the document is of rank 1, its annexes follow."""

    def bordereau(self, transaction: int) -> bytes:
        """The record of an acknowledged act, as a PDF."""

    def give_up(self, transaction: int) -> None:
        """Close a deposit that awaits its confirmation: it never leaves."""

    def cancel(self, act: int) -> int:
        """Ask for the cancellation of an acknowledged act."""

    def reply(self, letter: int, pieces: Sequence[Piece], *, choice: str) -> int:
        """Answer a letter; `choice` is 4 (send) or 3 (refuse)."""


@dataclass
class Local:
    """This platform's own service, called without a network: the same checks as through its doors."""

    agent: Agent
    is_remote: bool = False
    url: str = ""
    login: str = ""

    def classification(self) -> bytes:
        return versions.held(self.agent.authority)

    def request_classification(self) -> int:
        return _told(lambda: follow_ups.request_classification(self.agent, now=timezone.now()))

    def post(self, act: Posting) -> int:
        return _told(lambda: posting.post_act(self.agent, act, rgs=True, now=timezone.now()))

    def find(self, number: str) -> int | None:
        rows = Transaction.objects.of_number(self.agent.authority, number)
        found = rows.filter(type=ACT, holds_number=True).first()
        return found.pk if found else None

    def _one(self, pk: int) -> Transaction:
        found = (
            Transaction.objects.filter(pk=pk, authority=self.agent.authority)
            .select_related("authority", "agent")
            .first()
        )
        if found is None:
            raise GatewayRefused("Cette transaction n'est pas de cette collectivité.")
        return found

    def status(self, transaction: int) -> Status:
        found = self._one(transaction)
        step = found.last_step(found.status)
        flux = bytes(step.flux) if step is not None and step.flux is not None else b""
        if found.status == statuses.ERROR and step is not None:
            return Status(found.status, step.message.encode("latin-1"))
        return Status(found.status, flux)

    def message(self, transaction: int) -> bytes:
        return bytes(self._one(transaction).message or b"")

    def receipt(self, transaction: int) -> bytes:
        step = self._one(transaction).last_step(statuses.ACKNOWLEDGED)
        return bytes(step.flux) if step is not None and step.flux is not None else b""

    def letters(self, act: int) -> list[Letter]:
        rows = self._one(act).follow_ups.filter(type__in="2345", reply="").order_by("pk")
        return [Letter(each.type, each.status, each.pk) for each in rows if each.status >= 0]

    def archive(self, letter: int) -> bytes:
        from dematmp.acts.arrivals import ARCHIVE_TYPE
        from storage.stores import object_store

        came = self._one(letter).files.filter(media_type=ARCHIVE_TYPE).first()
        if came is None:
            raise GatewayRefused("Ce document n'a pas d'archive.")
        return b"".join(object_store().open(came.key))

    def stamped(self, transaction: int, rank: int, *, published: date | None) -> bytes:
        found = self._one(transaction)
        file = found.files.filter(rank=rank, media_type=PDF).first()
        if file is None:
            raise GatewayRefused(NO_STAMP)
        return stamp.stamped(file, published=published)

    def bordereau(self, transaction: int) -> bytes:
        return render_bordereau(self._one(transaction))

    def give_up(self, transaction: int) -> None:
        found = self._one(transaction)
        _told(lambda: follow_ups.give_up(found, by=self.agent, now=timezone.now()))

    def cancel(self, act: int) -> int:
        return _told(lambda: follow_ups.cancel(self._one(act), by=self.agent, now=timezone.now()))

    def reply(self, letter: int, pieces: Sequence[Piece], *, choice: str) -> int:
        found = self._one(letter)
        return _told(
            lambda: follow_ups.reply(
                found, pieces, choice=choice, by=self.agent, rgs=True, now=timezone.now()
            )
        )


def _told(verb: Callable[[], Transaction]) -> int:
    """The transaction's number; a refusal of the service is the operator's."""
    try:
        return verb().pk
    except GatewayRefused:
        raise
    except ActError as refused:
        raise GatewayRefused(str(refused)) from refused


def operator_of(buyer: Organisation, *, now: datetime) -> Operator | None:
    """The operator of a buyer: its own, else that of the platform's settings, else this very platform.

    None where none is set. Raises ActRefused when the buyer's ACTES identity is incomplete.
    """
    elsewhere = _elsewhere(buyer)
    if elsewhere:
        return elsewhere[0]
    if not settings.ACTES["ministry_url"]:
        return None
    return Local(_robot(authority_for(buyer, now=now), now))


def _elsewhere(buyer: Organisation) -> list[Remote]:
    """The S2LOW that are set for a buyer: its own, then that of the platform's settings."""
    from dematmp.acts.models import OperatorAccount

    found, known = [], settings.S2LOW
    own = OperatorAccount.objects.filter(buyer=buyer).first()
    if own is not None:
        found.append(
            Remote(
                url=own.url,
                login=own.login,
                password=_opened(own.password, buyer, "password"),
                p12=unwrap(bytes(own.p12), context=f"operator-p12:{buyer.uuid}") if own.p12 else b"",
                p12_password=_opened(own.p12_password, buyer, "p12-password"),
                authority=own.authority,
                timeout=known["timeout"],
            )
        )
    if known["url"]:
        found.append(
            Remote(
                url=known["url"], login=known["login"], password=known["password"], timeout=known["timeout"]
            )
        )
    return found


def operator_for(act: "Act", *, now: datetime) -> Operator | None:
    """Where an act is: this very service when it came by its doors, else where its buyer sent it.

    What has not left goes by the operator that the buyer has now. Raises OperatorUnset, ActRefused.
    """
    if act.authority is None:
        return _of_prepared(act, act.buyer, now) if act.buyer is not None else None
    if act.buyer is not None:
        return Local(_robot(act.authority, now))
    # Nobody of this platform transmits for it: its accounts stay those that it has.
    sent = Transaction.objects.select_related("agent__authority").filter(
        pk=act.transmission.remote_id or 0, authority=act.authority
    )
    found = sent.first()
    return Local(found.agent) if found else None


def _of_prepared(act: "Act", buyer: Organisation, now: datetime) -> Operator | None:
    sent = act.transmission
    if sent.operator_url is None and sent.remote_id is None:
        return operator_of(buyer, now=now)
    if sent.operator_url == "" or _is_here(act):
        return Local(_robot(authority_for(buyer, now=now), now))
    if reason := unset(act):
        raise OperatorUnset(reason)
    there = _elsewhere(buyer)
    return next((each for each in there if each.url.rstrip("/") == sent.operator_url), there[0])


def _is_here(act: "Act") -> bool:
    """Whether this service has the act under that very number."""
    rows = Transaction.objects.filter(pk=act.transmission.remote_id or 0, type=ACT)
    return act.transmission.operator_url is None and rows.filter(unique_id=act.identifier).exists()


def unset(act: "Act") -> str:
    """What to say of an act whose operator is no longer set; the empty string when it is."""
    from dematmp.acts.models import OperatorAccount

    sent = act.transmission
    if act.authority is not None or sent.operator_url == "" or _is_here(act):
        return ""
    if sent.operator_url is None and sent.remote_id is None:
        return ""
    owned = OperatorAccount.objects.filter(buyer=act.buyer).values_list("url", flat=True)
    known = {each.rstrip("/") for each in (*owned, settings.S2LOW["url"]) if each}
    if sent.operator_url in known or (sent.operator_url is None and known):
        return ""
    account = f" (compte {sent.operator_login})" if sent.operator_login else ""
    where = f"par {sent.operator_url}{account}, qui" if sent.operator_url else "par un opérateur qui"
    return (
        f"Cet acte a été transmis {where} n'est plus réglé pour cet acheteur : la plateforme n'y lit et n'y "
        "demande plus rien."
    )


def _opened(wrapped: "bytes | memoryview[int] | None", buyer: Organisation, what: str) -> str:
    return unwrap(bytes(wrapped), context=f"operator-{what}:{buyer.uuid}").decode() if wrapped else ""


def is_robot(agent: Agent) -> bool:
    """Whether an account is the one by which the platform transmits for its own buyers."""
    return not agent.login and not agent.fingerprint


def _robot(authority: Authority, now: datetime) -> Agent:
    """The account by which the platform transmits for a buyer: no certificate opens it from outside."""
    mine = Agent.objects.filter(authority=authority, login="", fingerprint="").order_by("pk")
    if (known := mine.first()) is not None:
        return known
    with transaction.atomic():  # two workers may come at once: no constraint of the database says one
        Authority.objects.select_for_update(no_key=True).get(pk=authority.pk)
        return mine.first() or Agent.objects.create(
            authority=authority,
            name=settings.SITE_NAME[:100],
            email=authority.email or settings.ACTES["return_mail"],
            permission=BOTH,
            created_at=now,
        )
