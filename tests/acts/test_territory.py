"""Whose acts a control authority sees: an arrondissement's, a whole department's, a region's own."""

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from dematmp.accounts.models import Organisation, User
from dematmp.acts.models import Act, Transaction
from dematmp.acts.package import members
from dematmp.acts.rules import DEPARTMENTS
from dematmp.acts.tasks import sweep
from dematmp.acts.territory import REGIONS
from deploy.ministry import Ministry
from storage.stores import object_store
from tests.acts.service import acknowledged
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.world import World, organisation, page, pdf, person


@pytest.fixture
def act(world: World, awarded: Any, ministry: Ministry) -> Act:  # noqa: F811
    """Of a town of the first arrondissement of the Hérault."""
    made = prepared(world, awarded)
    acknowledged(made)
    return Act.objects.get(pk=made.pk)


def controller(number: int, department: str, district: str) -> User:
    held = organisation("prefecture", 17340000 + number, department=department, district=district)
    return person(f"controle{number}", held, "controller")


@pytest.mark.parametrize(
    ("department", "district", "sees"),
    [
        ("034", "", True),
        ("034", "0", True),
        ("034", "1", True),
        ("034", "2", False),
        ("030", "", False),
        ("", "", False),
        ("R76", "", False),
    ],
)
def test_a_prefecture_sees_its_department_and_a_sous_prefecture_its_arrondissement(
    world: World, act: Act, department: str, district: str, sees: bool
) -> None:
    held = controller(5, department, district)
    found = page(held).get(reverse("prefecture-act", args=[act.uuid]))
    assert found.status_code == (200 if sees else 404)
    listed = page(held).get(reverse("prefecture")).content.decode()
    assert (act.identifier in listed or str(act.uuid) in listed) is sees
    assert (held in act.controllers) is sees


def test_the_prefect_of_a_region_sees_the_acts_of_the_region_alone(world: World, act: Act) -> None:
    """Of its councils and establishments, in whichever of its departments (CGCT L4142-1)."""
    sgar, other = controller(6, "R76", ""), controller(7, "R93", "")
    Organisation.objects.filter(pk=act.sender.pk).update(authority_nature="11")
    again = Act.objects.get(pk=act.pk)
    assert Act.objects.received_by(sgar).get() == again
    assert sgar in again.controllers
    assert not Act.objects.received_by(other).exists()
    assert other not in again.controllers


@pytest.mark.parametrize(
    ("department", "district", "nature", "name", "office"),
    [
        ("034", "1", "31", "SPREF0341", b"IDSousPref"),
        ("034", "", "31", "PREF034", b"IDPref"),
        ("R76", "", "11", "SGAR034", b"IDSGAR"),
    ],
)
def test_a_letter_is_from_who_wrote_it(
    world: World, act: Act, department: str, district: str, nature: str, name: str, office: bytes
) -> None:
    Organisation.objects.filter(pk=act.sender.pk).update(authority_nature=nature)
    held = controller(8, department, district)
    form = {"kind": "2-1", "text": "", "document": SimpleUploadedFile("lettre.pdf", pdf())}
    assert page(held).post(reverse("prefecture-letter", args=[act.uuid]), form).status_code == 302
    sweep()
    letter = Transaction.objects.get(type="2")
    archive = letter.files.order_by("-rank").first()
    assert archive is not None
    assert f"--{name}-" in archive.name
    whole = io.BytesIO(b"".join(object_store().open(archive.key)))
    inside = {each: content.read() for each, _, content in members(whole, strict=False)}
    assert any(office in data for each, data in inside.items() if name in each)
    assert act.letters.get().kind == "2-1"


def test_each_department_of_a_region_is_one() -> None:
    held = [each for departments in REGIONS.values() for each in departments.split()]
    assert len(held) == len(set(held)) == 101
    assert set(held) <= DEPARTMENTS
