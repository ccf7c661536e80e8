"""What must hold whoever was killed: database, buckets and journal, read by no code of the platform."""

import base64
import contextlib
import functools
import hashlib
import json
import re
import runpy
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
from botocore.config import Config
from psycopg.rows import dict_row

from deploy.services.ceph import Ceph
from tests.conftest import ROOT

_EXPERT = runpy.run_path(str(ROOT / "docs" / "expert" / "verify_journal.py"))
Row = dict[str, object]

_BIDS = (
    "SELECT b.*, c.uuid AS of FROM bids_bid b JOIN consultations_consultation c ON c.id = b.consultation_id"
)
_RECORDING = (
    "SELECT a.uuid FROM bids_attempt a LEFT JOIN bids_bid b ON b.attempt_id = a.id "
    "WHERE a.finalised_at IS NOT NULL AND b.id IS NULL"
)
_OBJECTS = """
SELECT o.*, e.uuid AS envelope, c.uuid AS consultation, b.id AS bid,
    CASE WHEN c.trial OR c.twin_of_id IS NOT NULL THEN 'trial' ELSE 'sealed' END AS top
FROM bids_sealedobject o
JOIN bids_envelope e ON e.id = o.envelope_id
JOIN bids_attempt a ON a.id = e.attempt_id
JOIN consultations_consultation c ON c.id = a.consultation_id
LEFT JOIN bids_bid b ON b.attempt_id = a.id
"""


@dataclass
class Stores:
    """The database and the buckets of one platform."""

    database: str
    ceph: Ceph | None
    bucket: str
    files: Mapping[str, bytes] = field(default_factory=dict)  # name → what companies sealed under that name
    verdict = "clean"  # what the antivirus says of them

    @property
    def deposits(self) -> str:
        return f"{self.bucket}-plis"

    def rows(self, *queries: str) -> list[list[Row]]:
        """Answers of one snapshot."""
        with psycopg.connect(self.database, row_factory=dict_row) as link:
            link.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return [list(link.execute(query)) for query in queries]

    @functools.cached_property
    def s3(self) -> Any:  # boto3 has no types
        assert self.ceph is not None
        return boto3.client(
            "s3",
            endpoint_url=self.ceph.endpoint,
            aws_access_key_id=self.ceph.key,
            aws_secret_access_key=self.ceph.secret,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 10}, s3={"addressing_style": "path"}),
        )

    def read(self, bucket: str, key: str) -> bytes | None:
        try:
            data: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return data

    def keys(self) -> set[str]:
        """Every object of both buckets."""
        pages = [
            page
            for bucket in (self.bucket, self.deposits)
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        ]
        return {row["Key"] for page in pages for row in page.get("Contents", [])}

    def uploads(self) -> set[tuple[str, str]]:
        """(key, id) of every upload that was begun and neither completed nor aborted."""
        pages = [
            page
            for bucket in (self.bucket, self.deposits)
            for page in self.s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
        ]
        return {(row["Key"], row["UploadId"]) for page in pages for row in page.get("Uploads", [])}


@dataclass
class EmbeddedStores(Stores):
    """SQLite and a folder: what the platform writes when nothing is installed. No antivirus."""

    folder: Path = Path()
    verdict = "not_scanned"

    def rows(self, *queries: str) -> list[list[Row]]:
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as link:
            link.row_factory = sqlite3.Row
            link.execute("BEGIN")
            return [
                [{name: _dashed(row[name]) for name in row.keys()} for row in link.execute(query)]  # noqa: SIM118
                for query in queries
            ]

    def read(self, bucket: str, key: str) -> bytes | None:
        try:
            return (self.folder / "objects" / key).read_bytes()
        except FileNotFoundError:
            return None

    def _all(self) -> set[str]:
        here = self.folder / "objects"
        return {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}

    def keys(self) -> set[str]:
        return {key for key in self._all() if not key.rpartition("/")[2].startswith(".")}

    def uploads(self) -> set[tuple[str, str]]:
        """Folders of parts, and the drafts of writers that were killed."""
        begun = {(f"uploads/{path.name}", path.name) for path in (self.folder / "uploads").glob("*")}
        return begun | {(f"objects/{key}", "") for key in self._all() - self.keys()}


def _dashed(value: object) -> object:
    """SQLite has no UUID: Django writes 32 digits."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value):
        return str(uuid.UUID(value))
    return value


def composite(data: bytes, part_bytes: int) -> str:
    """SHA-256 of the parts' SHA-256, as the receipt says it."""
    parts = [data[start : start + part_bytes] for start in range(0, len(data), part_bytes)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def broken(stores: Stores, *, receipts: Sequence[Mapping[str, object]], of: str) -> Iterator[str]:
    """Sentences: what does not hold, at any instant, for the deposits on one consultation.

    A receipt has its bid, a bid its entry in the journal and an entry its bid; what a bid's record says is in
    the store, byte for byte, is there.
    """
    bids, entries, head = stores.rows(
        _BIDS, 'SELECT * FROM audit_entry ORDER BY "index"', "SELECT * FROM audit_head"
    )
    yield from _journal(entries, str(head[0]["note"]), key=_key(receipts))
    known = {str(bid["uuid"]): bid for bid in bids if str(bid["of"]) == of}
    for receipt in receipts:
        bid = known.get(str(receipt["deposit"]))
        if bid is None:
            yield f"receipt {receipt['number']} without bid"
        elif (bid["number"], base64.b64encode(bid["record"])) != (  # type: ignore[arg-type]
            receipt["number"],
            str(receipt["record"]).encode(),
        ):
            yield f"receipt {receipt['number']} of another bid"
    entered = [entry for entry in entries if entry["kind"] == "deposit" and str(entry["consultation"]) == of]
    if sorted(str(entry["subject"]) for entry in entered) != sorted(known):
        yield f"{len(entered)} deposit entries for {len(known)} bids"
    by_index = {entry["index"]: entry for entry in entries}
    for bid in known.values():
        if by_index[bid["journal_index"]]["record"] != bid["record"]:
            yield f"bid {bid['number']}: the journal has another record"
        yield from _stored(stores, bid)


def _key(receipts: Sequence[Mapping[str, object]]) -> str:
    for receipt in receipts:
        journal = receipt["journal"]
        if isinstance(journal, dict):
            return str(journal["key"])
    return ""


def _journal(entries: list[Row], note: str, *, key: str) -> Iterator[str]:
    """Each entry is the next one, its leaf commits to its record, the signed root is that of the leaves."""
    hashes = []
    for number, entry in enumerate(entries):
        leaf, nonce, record = (bytes(entry[name]) for name in ("leaf", "nonce", "record"))  # type: ignore[call-overload]
        if (
            entry["index"] != number
            or json.loads(leaf)["digest"] != hashlib.sha256(nonce + record).hexdigest()
        ):
            yield f"journal entry {number} is not what it was"
        hashes.append(hashlib.sha256(b"\0" + leaf).digest())
    if key:
        size, root = _EXPERT["checkpoint"](note, key)
    else:
        lines = note.splitlines()
        size, root = int(lines[1]), base64.b64decode(lines[2])
    if (size, root) != (len(hashes), _EXPERT["root"](hashes)):
        yield "the signed root is not that of the entries"


def _stored(stores: Stores, bid: Row) -> Iterator[str]:
    for envelope in json.loads(bytes(bid["record"]))["envelopes"]:  # type: ignore[call-overload]
        prefix = f"sealed/{bid['of']}/{envelope['envelope']}"
        keys = stores.read(stores.deposits, f"{prefix}/keys.bin")
        if keys is None or hashlib.sha256(keys).hexdigest() != envelope["keys"]:
            yield f"bid {bid['number']}: keys.bin is not in the store"
        header = stores.read(stores.deposits, f"{prefix}/header.json") or b""
        if hashlib.sha256(b"pli/1 header\0" + header).hexdigest() != envelope["header"]:
            yield f"bid {bid['number']}: header.json is not in the store"
        for each in envelope["objects"]:
            data = stores.read(stores.deposits, f"{prefix}/{each['name']}")
            if data is None or composite(data, each["part_bytes"]) != each["sha256"]:
                yield f"bid {bid['number']}: {each['name']} is not in the store"


def unfinished(stores: Stores, *, of: str) -> Iterator[str]:
    """Sentences: what does not hold once everything is quiet. Every bid has its token, once, its receipt in
    PDF and its mail; what was opened is what was sealed, scanned once and stored. Every finalisation that was
    received, a dummy bid's too, has become a bid."""
    recording, bids, entries, opened = stores.rows(
        _RECORDING,
        _BIDS,
        'SELECT * FROM audit_entry ORDER BY "index"',
        "SELECT f.*, e.state FROM opening_openedfile f JOIN opening_openedenvelope e ON e.id = f.opened_id "
        "JOIN opening_openingsession s ON s.id = e.session_id "
        f"JOIN consultations_consultation c ON c.id = s.consultation_id "
        f"WHERE c.uuid IN ('{of}', '{of.replace('-', '')}')",
    )
    for attempt in recording:
        yield f"attempt {attempt['uuid']} finalised, and no bid"
    for bid in (bid for bid in bids if str(bid["of"]) == of):
        said = [
            e["kind"]
            for e in entries
            if e["subject"] == bid["uuid"] and e["kind"] in ("timestamp", "deposit")
        ]
        if sorted(map(str, said)) != ["deposit", "timestamp"]:
            yield f"bid {bid['number']}: the journal has {said}"
        if not (bid["token"] and bid["receipt_pdf"] and bid["receipt_stamped"]):
            yield f"bid {bid['number']} without token or receipt in PDF"
    verdicts = [
        entry for entry in entries if entry["kind"] == "scan-verdict" and str(entry["consultation"]) == of
    ]
    if not opened or len(verdicts) < len(opened):
        yield f"{len(opened)} opened files, {len(verdicts)} verdicts"
    for file in opened:
        data = stores.read(stores.bucket, str(file["key"]))
        if data is None or data != stores.files.get(str(file["name"])):
            yield f"opened file {file['name']} is not what was sealed"
        if (file["state"], file["verdict"]) != ("opened", stores.verdict):
            yield f"opened file {file['name']}: {file['state']}, {file['verdict']}"


def strangers(stores: Stores) -> set[str]:
    """Keys of objects and uploads that no row of the database explains: fsck is to name each of them."""
    objects, documents, files = stores.rows(
        _OBJECTS, "SELECT key FROM consultations_documentversion", "SELECT key FROM opening_openedfile"
    )
    explained = {"sealed/presence", *(str(row["key"]) for row in [*documents, *files])}
    uploads = set()
    for each in objects:
        prefix = f"{each['top']}/{each['consultation']}/{each['envelope']}"
        if each["completed_at"]:
            explained.add(f"{prefix}/{each['name']}")
        elif each["upload_id"]:
            uploads.add(str(each["upload_id"]).replace("-", ""))
        if each["bid"]:
            explained |= {f"{prefix}/header.json", f"{prefix}/keys.bin"}
    prefixes = ("sealed/", "opened/", "documents/", "trial/")
    unknown = {key for key in stores.keys() - explained if key.startswith(prefixes)}
    return unknown | {key for key, upload in stores.uploads() if upload.replace("-", "") not in uploads}
