"""Played by test_packet_loss.py alone, in a network of its own: it drops packets."""

import io
import json
import os
import subprocess
import uuid
from pathlib import Path

from django.core.management import call_command
from pytest_django.fixtures import Settings

from dematmp.bids.models import Bid
from deploy.services.ceph import Ceph
from storage.stores import parse_object_store
from tests.world import World


def test_a_deposit_is_whole(world: World, ceph: Ceph, settings: Settings, tmp_path: Path) -> None:
    name = uuid.uuid4().hex[:12]
    settings.DEPOSIT_RETENTION_DAYS = 1
    settings.OBJECT_STORE = parse_object_store(f"{ceph.store_url(name)}&deposits={name}-plis")
    call_command("storage", "setup", stdout=io.StringIO())
    rules = (
        "table inet loss { chain in { type filter hook input priority 0; "
        f"tcp dport {ceph.port} numgen random mod 100 < 5 counter drop; "
        f"tcp sport {ceph.port} numgen random mod 100 < 5 counter drop; }}; }};"
    )
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    consultation = world.publish()
    files = {"grand.bin": os.urandom(40 * 1024**2), "petit.txt": b"x"}
    receipt = world.deposit(consultation, tmp_path, files=files)
    assert receipt["state"] == "in-time"
    call_command("storage", "fsck", "--digests", stdout=io.StringIO())
    assert Bid.objects.filter(consultation=consultation).count() == 1
    said = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, check=True).stdout
    dropped = [
        part["counter"]["packets"]
        for each in json.loads(said)["nftables"]
        for part in each.get("rule", {}).get("expr", [])
        if "counter" in part
    ]
    assert len(dropped) == 2
    assert sum(dropped) > 20
