"""`manage.py storage fsck` knows the objects of acts and contracts: all of them, and nothing else."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from pytest_django.fixtures import Settings

from dematmp.acts.models import Act, IncludedFile
from dematmp.opening.reconciliation import reconcile
from deploy.ministry import Ministry
from storage.stores import object_store, parse_object_store
from tests.acts.test_acts import awarded  # noqa: F401
from tests.acts.test_desk import act, courrier, written  # noqa: F401
from tests.world import World, page


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.OBJECT_STORE = parse_object_store(f"folder://{tmp_path}/store")


def test_every_object_of_an_act_is_known_and_a_strange_one_is_named(
    world: World,
    act: Act,  # noqa: F811
    ministry: Ministry,
) -> None:
    written(world, act)
    form = {"choice": "4", "documents": [courrier("rapport.pdf")]}
    answer = reverse("buyer-act-answer", args=[act.uuid, act.letters.get().pk])
    assert page(world.validator).post(answer, form).status_code == 302
    assert list(object_store().list("acts"))
    assert list(reconcile(digests=True)) == []
    object_store().put("contracts/inconnu/1", b"x")
    object_store().put("acts/inconnu/1", b"x")
    assert {(e.kind, e.key) for e in reconcile()} == {
        ("orphan", "contracts/inconnu/1"),
        ("orphan", "acts/inconnu/1"),
    }
    with pytest.raises(CommandError, match="2 différence"):
        call_command("storage", "fsck", stdout=io.StringIO())


def test_an_object_lost_or_changed_is_named(world: World, act: Act) -> None:  # noqa: F811
    store, included = object_store(), IncludedFile.objects.exclude(key="").filter(rank=1).first()
    assert included is not None
    data = store.read(included.key)
    store.delete(included.key)
    store.put(included.key, data[:-1] + b"\0")
    store.delete(act.document_key)
    assert {(e.kind, e.key) for e in reconcile(digests=True)} == {
        ("missing", act.document_key),
        ("different", included.key),
    }
