"""`journal verify` reads the tokens too: one that was changed, swapped or lost is seen."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from dematmp.audit.models import EntryToken, PublicCheckpoint
from dematmp.audit.stamping import ask_token
from dematmp.audit.tasks import copy_journal
from tests.audit.test_checkpoints import alone
from tests.world import World

__all__ = ["alone"]


def _verify() -> str:
    out = io.StringIO()
    call_command("journal", "verify", stdout=out)
    return out.getvalue()


@pytest.fixture
def stamped(world: World) -> EntryToken:
    """A ceremony's token, among others."""
    world.publish()
    copy_journal()
    return EntryToken.objects.filter(entry__kind="ceremony").earliest("pk")


def test_every_token_is_verified(stamped: EntryToken) -> None:
    assert f"{EntryToken.objects.count()} jetons d'horodatage" in _verify()


@pytest.mark.parametrize("change", ["garbage", "another one", "its hour", "its authority", "deleted"])
def test_a_token_over_an_entry_that_is_not_the_noted_one_is_seen(stamped: EntryToken, change: str) -> None:
    kept = EntryToken.objects.filter(pk=stamped.pk)
    if change == "garbage":
        kept.update(response=b"garbage")
    elif change == "another one":  # a true one, over the same record, of today
        made, _ = ask_token(bytes(stamped.entry.record), now=timezone.now())
        kept.update(response=made.response, at=made.token.gen_time)
    elif change == "its hour":
        kept.update(at=stamped.at - timedelta(days=900))
    elif change == "its authority":
        kept.update(authority="Autorité qualifiée")
    else:
        kept.delete()
    with pytest.raises(CommandError, match=f"jeton de l'entrée {stamped.entry.index} "):
        _verify()


@pytest.mark.parametrize("change", ["garbage", "its hour", "of another checkpoint"])
def test_a_token_over_a_public_checkpoint_is_verified(stamped: EntryToken, change: str) -> None:
    kept = PublicCheckpoint.objects.earliest("size")
    if change == "garbage":
        PublicCheckpoint.objects.update(token=b"garbage")
    elif change == "its hour":
        PublicCheckpoint.objects.update(token_at=timezone.now() - timedelta(days=900))
    else:
        made, _ = ask_token(b"autre", now=timezone.now())
        PublicCheckpoint.objects.update(token=made.response, token_at=made.token.gen_time)
    with pytest.raises(CommandError, match=f"publié à {kept.size} entrées"):
        _verify()
