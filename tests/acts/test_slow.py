"""A slow ministry holds one worker, never the reading of its answers nor the others' work."""

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from dematmp.acts import sending, statuses
from dematmp.acts.ministry import HttpMinistry
from dematmp.acts.models import ReturnMail, Transaction
from dematmp.acts.tasks import check_transaction, collect_returns, sweep_service
from deploy.ministry import Ministry
from deploy.services.nginx import Nginx
from deploy.transmission import Stack
from tests.acts.returned import mail, receipt, sent, status_of
from tests.acts.service import Caller, posted, until
from tests.acts.stack import Running
from tests.acts.test_faults import _post, _state
from tests.conftest import absent, whole_matrix
from tests.migrated import lay_sqlite


@pytest.fixture
def slow(service: Any, ministry: Ministry) -> Ministry:
    """It answers each archive after a second, where half a one is long."""
    service.ACTES = {**service.ACTES, "slow_seconds": 0.5}
    ministry.mode, ministry.slow = "slow", 1.0
    return ministry


def test_what_is_posted_while_the_ministry_is_slow_waits_for_the_sweep(lea: Caller, slow: Ministry) -> None:
    first, second = posted(lea, "LENT_1"), posted(lea, "LENT_2")
    assert not sending.is_slow(timezone.now())
    check_transaction(first)
    assert Transaction.objects.get(pk=first).status == statuses.SENT
    assert sending.is_slow(timezone.now()), "it took a second"
    check_transaction(second)
    assert Transaction.objects.get(pk=second).status == statuses.WAITING
    until(lambda: Transaction.objects.get(pk=second).status >= statuses.SENT)
    assert not sending.is_slow(timezone.now() + timedelta(minutes=11)), "of long ago"


def test_one_worker_waits_for_a_slow_ministry_and_the_others_read_its_answers(
    lea: Caller, slow: Ministry, tmp_path: Any
) -> None:
    """Another worker claimed the first act half a minute ago, and waits."""
    done = sent(posted(lea, "LENT_3"))
    now = timezone.now()
    held, ready = posted(lea, "LENT_4"), posted(lea, "LENT_5")
    for pk in (held, ready):
        Transaction.objects.filter(pk=pk).update(status=statuses.WAITING)
    Transaction.objects.filter(pk=held).update(
        tried_at=now - timedelta(seconds=30), uncertain=True, tries=1, due_at=now + timedelta(minutes=30)
    )
    (tmp_path / "Maildir" / "new" / "0001").write_bytes(mail(receipt(done)).raw)
    sweep_service()
    assert status_of(done) == statuses.ACKNOWLEDGED
    assert Transaction.objects.get(pk=ready).status == statuses.WAITING
    assert slow.received() == {}
    # It was never heard of again, by its time-out: the next one goes.
    Transaction.objects.filter(pk=held).update(problem="Le ministère n'a pas répondu à l'envoi.")
    sweep_service()
    assert Transaction.objects.get(pk=ready).status == statuses.SENT


def test_a_claim_says_that_a_worker_is_sending(lea: Caller, slow: Ministry) -> None:
    pk, seen = posted(lea, "LENT_6"), list[bool]()
    Transaction.objects.filter(pk=pk).update(status=statuses.WAITING, problem="Le ministère ne répond pas.")

    class Watched(HttpMinistry):
        def send(self, name: str, key: str) -> None:
            seen.append(sending.is_busy(timezone.now()))
            super().send(name, key)

    assert not sending.is_busy(timezone.now())
    sending.send(pk, Watched(), now=timezone.now())
    assert (seen, sending.is_busy(timezone.now())) == ([True], False)


def test_the_box_is_read_by_a_task_of_its_own(lea: Caller, ministry: Ministry, tmp_path: Any) -> None:
    made = sent(posted(lea, "SEULE"))
    (tmp_path / "Maildir" / "new" / "0001").write_bytes(mail(receipt(made)).raw)
    collect_returns()
    assert status_of(made) == statuses.ACKNOWLEDGED
    assert ReturnMail.objects.get().done_at is not None


@whole_matrix
@pytest.mark.services
def test_the_sendings_may_have_a_worker_of_their_own(tmp_path: Path) -> None:
    if reason := Nginx.missing():
        absent(reason)
    lay_sqlite(tmp_path / "state" / "dematmp.sqlite3")
    stack = Stack(tmp_path, delay=0.2, worker=False, DEMATMP_ACTES_QUEUE="ministere")
    lea = stack.pki.client("lea")
    speaker = Running.__new__(Running)
    speaker.stack = stack

    def worker(queue: str, *more: str) -> None:
        stack._platform(
            f"worker-{queue}", sys.executable, "-m", "celery", "-A", "dematmp", "worker", "-Q", queue,
            "-c", "1", "-n", f"{queue}@%h", "-l", "warning", "--without-gossip", "--without-mingle", *more,
        )  # fmt: skip

    try:
        stack.start()
        stack.account(lea)
        worker("celery", "-B", "-s", str(tmp_path / "beat"))
        with speaker.client(lea) as client:
            pk = _post(client, "A_PART")
            time.sleep(8)  # the sweeps come twice a second
            assert _state(client, pk) == statuses.POSTED, "the other tasks' worker takes none of them"
            worker("ministere")
            end = time.monotonic() + 60
            while _state(client, pk) != statuses.ACKNOWLEDGED:
                assert time.monotonic() < end, _state(client, pk)
                time.sleep(0.3)
    finally:
        stack.stop()
