"""The journal of a consultation for its buyer: no bid is counted before the deadline, each line is proved."""

import base64
import csv
import hashlib
import io
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import settings as configured
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader

from dematmp.audit.checkpoints import publish
from dematmp.audit.models import Entry, EntryToken
from dematmp.audit.registers import REGISTERS
from dematmp.audit.services import append, canonical
from dematmp.audit.tokens import stamp_entries
from dematmp.bids.tasks import sweep as stamp_bids
from dematmp.consultations import documents, exchanges
from dematmp.consultations.models import Consultation
from dematmp.consultations.tasks import journal_withdrawals
from signing.tlog import verify_proof
from tests.opening.test_opening import opened
from tests.world import World, organisation, page, person


@pytest.fixture
def received(world: World, tmp_path: Path) -> Consultation:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path)
    publish(now=timezone.now())
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
        assert leaf["digest"] == line[5]
        assert leaf["digest"] == hashlib.sha256(bytes.fromhex(each["nonce"]) + record).hexdigest()
        assert leaf["type"] == each["type"]
        verify_proof(each["proof"], canonical(leaf), said["key"])
    drawn = PdfReader(io.BytesIO(pdf.content))
    (enclosed,) = drawn.attachments["registre.json"]
    assert [each["type"] for each in json.loads(enclosed)["entries"]] == [
        each["type"] for each in said["entries"] if each["type"] in REGISTERS["ouverture"][1]
    ]
    assert "Enveloppe ouverte" in drawn.pages[0].extract_text()


def test_each_line_says_what_it_is_about(
    world: World, received: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The company, the file, the person; what was opened, to the committee alone."""
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(seconds=1)):
        opened(world, received)
        record = {"lot": "1", "company": str(world.company.uuid), "amount": "1312500.00"}
        append("award", record, consultation=received.uuid, now=timezone.now())
        publish(now=timezone.now())
        about = {row[2]: row[4] for row in rows(page(world.members[0]), received)}
        others = {row[2]: row[4] for row in rows(page(world.agent), received)}
        monkeypatch.setattr("dematmp.web.registers._PDF_LINES", 3)
        where = reverse("buyer-journal-export", args=[received.uuid, "pdf"])
        drawn = PdfReader(io.BytesIO(page(world.agent).get(where).content))
        shown = page(world.agent).get(reverse("buyer-journal", args=[received.uuid])).content.decode()
        monkeypatch.setattr("dematmp.web.registers._ATTACHED_LINES", 3)
        bare = PdfReader(io.BytesIO(page(world.agent).get(where).content))
    assert world.company.name in about["deposit"]
    assert f"par {world.bidder}" in about["deposit"]
    assert f"titre : {received.title}" in about["consultation-published"]
    assert about["scan-verdict"].startswith("verdict : non analysé")
    assert about["award"] == f"{world.company} ; lot : 1 ; montant : 1 312 500,00 €"
    assert others["scan-verdict"] == ""
    assert others["deposit"] == about["deposit"]
    assert world.company.name in shown
    # What the pages of the PDF cut is in the file that it carries.
    text = "".join(each.extract_text() for each in drawn.pages)
    assert "3 premières lignes" in text
    (enclosed,) = drawn.attachments["registre.json"]
    assert {each["type"] for each in json.loads(enclosed)["entries"]} == set(others)
    assert "joint à ce PDF" in text
    # Of a very long register nothing is enclosed, and its pages do not say so.
    assert not bare.attachments
    text = "".join(each.extract_text() for each in bare.pages)
    assert "toutes sont dans les exports" in " ".join(text.split())
    assert "joint à ce PDF" not in text


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


def test_questions_answers_and_messages_are_lines_with_their_proofs(world: World) -> None:
    made = world.publish()
    exchanges.follow(made, email="curieux@example.fr", now=timezone.now())
    said = {"text": "Le hangar est-il amianté ?", "email": "autre@example.fr"}
    asked = exchanges.ask(made, **said, now=timezone.now())
    exchanges.answer(asked, text="Oui, le diagnostic est joint.", by=world.agent, now=timezone.now())
    digest = hashlib.sha256("Le hangar est-il amianté ?".encode()).hexdigest()
    assert rows(page(world.agent), made, registre="questions") == []  # not yet in the public journal
    last = Entry.objects.filter(consultation=made.uuid, kind="answer").get().index
    assert page(world.agent).get(reverse("buyer-journal-proof", args=[made.uuid, last])).status_code == 404
    publish(now=timezone.now())
    lines = [
        row for each in ("questions", "echanges") for row in rows(page(world.agent), made, registre=each)
    ]
    assert [row[2] for row in lines] == ["answer", "notified"]
    for row, words in zip(lines, (digest, "reçu une réponse"), strict=True):
        where = reverse("buyer-journal-proof", args=[made.uuid, int(row[0])])
        record = base64.b64decode(json.loads(page(world.agent).get(where).content)["record"]).decode()
        assert words in record
        assert "example.fr" not in record  # no address enters what nobody can erase


def test_the_register_of_downloads_enters_the_journal_line_by_line(world: World) -> None:
    made = world.publish()
    version = made.documents.get().served
    assert version is not None
    b"".join(documents.read(version, email="curieux@example.fr", now=timezone.now()))
    b"".join(documents.read_all(documents.whole_file(made), now=timezone.now()))
    before = page(world.agent).get(reverse("buyer-registers", args=[made.uuid])).content.decode()
    assert before.count("dans la minute") == 2
    for _ in range(2):
        journal_withdrawals()
    # Its rank, read at once, would count what was written just before it.
    early = page(world.agent).get(reverse("buyer-registers", args=[made.uuid])).content.decode()
    assert early.count("dans la minute") == 2
    assert b";;" in b"".join(page(world.agent).get(reverse("buyer-register-csv", args=[made.uuid])))
    publish(now=timezone.now())
    assert [row[2] for row in rows(page(world.agent), made, registre="retraits")] == ["withdrawals"]
    entry = Entry.objects.get(kind="withdrawals")
    assert set(made.withdrawals.values_list("entry", flat=True)) == {entry.index}
    told = json.loads(bytes(entry.record))["withdrawals"]
    assert [row[1] for row in told] == [str(version.uuid), None]
    assert "example.fr" not in bytes(entry.record).decode()
    shown = page(world.agent).get(reverse("buyer-registers", args=[made.uuid])).content.decode()
    assert reverse("buyer-journal-proof", args=[made.uuid, entry.index]) in shown
    line = b"".join(page(world.agent).get(reverse("buyer-register-csv", args=[made.uuid]))).decode()
    assert f";{entry.index}" in line


def test_a_ceremony_and_an_opening_have_their_tokens(
    world: World, received: Consultation, tmp_path: Path
) -> None:
    """Each token is checked by openssl over the record of the proof that a member downloads."""
    made = received
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1)):
        opened(world, made)
        _check_tokens(world, made, tmp_path)


def _check_tokens(world: World, made: Consultation, tmp_path: Path) -> None:
    stamp_bids()
    assert stamp_entries(timezone.now) >= 3
    assert stamp_entries(timezone.now) == 0
    kinds = set(EntryToken.objects.values_list("entry__kind", flat=True))
    assert {"ceremony", "session-key", "deposit"} <= kinds
    member = page(world.members[0])
    shown = member.get(reverse("buyer-journal", args=[made.uuid])).content.decode()
    assert "Horodaté à" in shown
    ca = configured.SECRETS_DIR / "pki" / "ca.pem"
    for token in EntryToken.objects.filter(entry__consultation=made.uuid):
        where = reverse("buyer-journal-proof", args=[made.uuid, token.entry.index])
        proof = json.loads(member.get(where).content)
        (tmp_path / "record").write_bytes(base64.b64decode(proof["record"]))
        (tmp_path / "token.tsr").write_bytes(base64.b64decode(proof["token"]))
        command = ["openssl", "ts", "-verify", "-data", str(tmp_path / "record")]
        command += ["-in", str(tmp_path / "token.tsr"), "-CAfile", str(ca)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Verification: OK" in done.stdout + done.stderr
    agent = page(world.agent)  # not of the committee: the line and its proof, without what it says
    line = EntryToken.objects.get(entry__kind="session-key", entry__consultation=made.uuid).entry.index
    told = json.loads(agent.get(reverse("buyer-journal-proof", args=[made.uuid, line])).content)
    assert (told["record"], told["token"]) == (None, None)


def test_no_authority_delays_anything_and_the_token_comes_later(world: World, settings: Any) -> None:
    settings.TSA_URLS = ["http://127.0.0.1:9/tsa"]
    made = world.publish()
    assert stamp_entries(timezone.now) == 0
    assert not EntryToken.objects.exists()
    settings.TSA_URLS = ["embedded"]
    assert stamp_entries(timezone.now) >= 1
    token = EntryToken.objects.get(entry__kind="ceremony", entry__consultation=made.uuid)
    assert Entry.objects.filter(kind="entry-timestamp", consultation=made.uuid).count() >= 1
    assert token.authority
