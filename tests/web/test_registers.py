"""The journal of a consultation for its buyer: no bid is counted before the deadline, each line is proved."""

import base64
import csv
import hashlib
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.checkpoints import publish
from dematmp.audit.services import canonical
from dematmp.consultations.models import Consultation
from signing.tlog import verify_proof
from tests.opening.test_opening import opened
from tests.world import World, organisation, page, person


@pytest.fixture
def received(world: World, tmp_path: Path) -> Consultation:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path)
    return made


def rows(client: Client, made: Consultation, **asked: str) -> list[list[str]]:
    where = reverse("buyer-journal-export", kwargs={"consultation": made.uuid, "form": "csv"})
    said = b"".join(client.get(where, asked)).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(said), delimiter=";"))[1:]


def test_nobody_counts_bids_there_before_the_deadline(world: World, received: Consultation) -> None:
    client, address = page(world.agent), reverse("buyer-journal", args=[received.uuid])
    for asked in ({}, {"registre": "depots"}, {"registre": "incidents"}, {"registre": "n'importe quoi"}):
        said = client.get(address, asked).content.decode()
        assert "Consultation publiée" in said
        assert "Offre déposée" not in said
        assert not {"deposit", "timestamp", "withdrawal"} & {
            row[2] for row in rows(client, received, **asked)
        }
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(seconds=1)):
        client = page(world.agent)
        assert "Offre déposée" in client.get(address, {"registre": "depots"}).content.decode()
        kinds = {row[2] for row in rows(client, received, registre="depots")}
    assert "deposit" in kinds
    assert "consultation-published" not in kinds


def test_a_proof_of_a_bid_is_refused_before_the_deadline(world: World, received: Consultation) -> None:
    client = page(world.agent)
    bid = received.bids.get()
    where = reverse("buyer-journal-proof", args=[received.uuid, bid.journal_index])
    assert client.get(where).status_code == 404
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(seconds=1)):
        assert page(world.agent).get(where).status_code == 200


def test_each_line_is_proved_without_the_platform(world: World, received: Consultation) -> None:
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(seconds=1)):
        opened(world, received)
        publish(now=timezone.now())
        client = page(world.members[0])
        where = reverse("buyer-journal-export", args=[received.uuid, "json"])
        said = json.loads(b"".join(client.get(where)))
        lines = rows(client, received)
        one = client.get(reverse("buyer-journal-proof", args=[received.uuid, lines[0][0]])).json()
        pdf = client.get(
            reverse("buyer-journal-export", args=[received.uuid, "pdf"]), {"registre": "ouverture"}
        )
    assert len(said["entries"]) == len(lines) > 15
    assert {"deposit", "opened", "minutes", "keys", "deadline"} <= {each["type"] for each in said["entries"]}
    assert one.items() <= (said["entries"][0] | {"key": said["key"]}).items()
    for each, line in zip(said["entries"], lines, strict=True):
        record = base64.b64decode(each["record"])
        leaf = json.loads(each["leaf"])
        assert leaf["digest"] == line[4]
        assert leaf["digest"] == hashlib.sha256(bytes.fromhex(each["nonce"]) + record).hexdigest()
        assert leaf["type"] == each["type"]
        verify_proof(each["proof"], canonical(leaf), said["key"])
    assert pdf.content.startswith(b"%PDF")


def test_what_was_opened_is_read_by_the_committee_alone(world: World, received: Consultation) -> None:
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(seconds=1)):
        opened(world, received)
        publish(now=timezone.now())
        where = reverse("buyer-journal-export", args=[received.uuid, "json"])
        member, agent = (
            json.loads(b"".join(page(user).get(where)))["entries"] for user in (world.members[0], world.agent)
        )
        index = next(each["index"] for each in member if each["type"] == "minutes")
        one = page(world.agent).get(reverse("buyer-journal-proof", args=[received.uuid, index])).json()
    assert all(each["record"] for each in member)
    hidden = {each["type"] for each in agent if each["record"] is None}
    assert {"minutes", "opened", "scan-verdict"} <= hidden
    assert not hidden & {"deposit", "deadline", "keys"}
    assert (one["record"], one["nonce"]) == (None, None)
    assert [each["leaf"] for each in agent] == [each["leaf"] for each in member]
    assert all(each["proof"] for each in agent)


def test_only_the_buyer_s_people_read_it(world: World, received: Consultation) -> None:
    other = person("autre", organisation("buyer", 21300017), "agent")
    index = rows(page(world.agent), received)[0][0]
    for user in (world.bidder, world.controller, other):
        for name, args in (
            ("buyer-journal", []),
            ("buyer-journal-export", ["json"]),
            ("buyer-journal-proof", [index]),
        ):
            assert page(user).get(reverse(name, args=[received.uuid, *args])).status_code == 404
