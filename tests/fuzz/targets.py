"""What is fuzzed: each target takes any bytes and breaks only when a promise does.

The promise: nothing but its declared refusal leaves a parser, and what is accepted is what was signed.
"""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dematmp.acts import messages as m
from dematmp.acts.errors import ActRefused, MessageRefused
from dematmp.acts.package import pack, unpack
from dematmp.acts.reading import read
from dematmp.acts.writing import write
from signing import tlog
from signing.errors import SigningError
from signing.header import Header, build_header, parse_header
from signing.manifest import (
    FileDigest,
    FileEntry,
    build_closing,
    build_manifest,
    parse_closing,
    parse_manifest,
)
from signing.notes import Signer
from signing.receipt import verify_receipt
from signing.report import PASSED
from signing.timestamps import make_request, verify_token
from signing.validation import validate
from storage.unpack import Stop, Unpacker
from tests.signing.authority import NOW, Identity, World
from tests.signing.cms_cases import cades
from tests.signing.pdf_cases import signed
from tests.signing.test_asic import container
from tests.signing.test_tlog import Log
from tests.signing.xml_cases import xades

OFFER = b"Acte d'engagement"
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


@dataclass(frozen=True)
class Target:
    """What is run on any bytes, and good examples to start from."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _validated(seeds: tuple[bytes, ...], world: World, said: Callable[[bytes], object]) -> Target:
    """Validation reports, and what passes says (`said`) what a signed example said."""
    known = {said(each) for each in seeds}
    path = _FOLDER / "signed"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        if validate(path, at=NOW, trust=world.trust).indication == PASSED:
            assert said(data) in known, "another document passes"

    return Target(run, seeds)


def _outside_the_hole(data: bytes) -> bytes:
    """What a PDF's signature covers: all but the signature itself."""
    start = data.index(b"/Contents <") + len(b"/Contents <")
    return data[:start] + data[data.index(b">", start) :]


def _signers(world: World) -> tuple[Identity, Identity]:
    return world.signer, world.issuer.issue(kind="rsa2048")


def _cms(world: World) -> Target:
    made = tuple(cades(each, OFFER, attached=True) for each in _signers(world))
    return _validated(made, world, lambda data: OFFER in data)


def _xml(world: World) -> Target:
    made = tuple(xades(each) for each in _signers(world))
    return _validated(made, world, lambda data: b"<prix>12000</prix>" in data)


def _zip(world: World) -> Target:
    made = container("s", {"a.txt": OFFER, "META-INF/signature.p7s": cades(world.signer, OFFER)})
    return _validated((made,), world, lambda data: OFFER in data)


def _pdf(world: World) -> Target:
    return _validated((signed(world.signer),), world, _outside_the_hole)


def _token(world: World) -> Target:
    digest = hashlib.sha256(OFFER).digest()
    made = world.issuer.authority(_FOLDER).respond(make_request(digest, 7), now=NOW)
    pem = b"".join(world.trust)

    def run(data: bytes) -> None:
        with contextlib.suppress(SigningError):
            token = verify_token(data, digest=digest, ca_pem=pem)
            assert token.gen_time.replace(microsecond=0) == NOW, "another time passes"

    return Target(run, (made,))


def _proof() -> Target:
    log, signer = Log(), Signer("essai.example/journal", os.urandom(32))
    root = log.append(*(str(number).encode() for number in range(9)))
    note = signer.sign(tlog.Checkpoint(signer.name, 9, root).text())
    made = tlog.format_proof(4, tlog.inclusion_proof(4, 9, log.read), note).encode()

    def run(data: bytes) -> None:
        with contextlib.suppress(SigningError):
            text = data.decode(errors="surrogateescape")
            assert tlog.verify_proof(text, b"4", signer.verifier_key)[0] == 4, "another entry is proven"

    return Target(run, (made,))


def _receipt() -> Target:
    """The three files of a receipt, a NUL between them."""
    folder = _FOLDER / "receipt"
    folder.mkdir()
    names = ("receipt.json", "record", "proof.tlog-proof")
    record = json.dumps({"deposit": "d", "received": "r", "deadline": "e", "late": False, "envelopes": [],
                         "bidder": "b", "consultation": "c"}).encode()  # fmt: skip
    receipt = {
        **json.loads(record), "state": "", "bidder": {"uuid": "b"}, "journal": {"nonce": "00"},
        "record": base64.b64encode(record).decode(),
    }  # fmt: skip
    digest = hashlib.sha256(b"\x00" + record).hexdigest()
    leaf = {"consultation": "c", "digest": digest, "time": "r", "type": "deposit"}
    log, signer = Log(), Signer("essai.example/journal", os.urandom(32))
    root = log.append(json.dumps(leaf, sort_keys=True, separators=(",", ":")).encode())
    note = signer.sign(tlog.Checkpoint(signer.name, 1, root).text())
    made = (json.dumps(receipt).encode(), record, tlog.format_proof(0, [], note).encode())

    def run(data: bytes) -> None:
        for name, part in zip(names, (data + b"\x00\x00").split(b"\x00", 2), strict=True):
            (folder / name).write_bytes(part)
        with contextlib.suppress(SigningError):
            found = verify_receipt(folder, journal_key=signer.verifier_key, ca_pem=None)
            assert (found.deposit, found.received, found.late) == ("d", "r", False), "another deposit passes"

    return Target(run, (b"\x00".join(made),))


def _records() -> Target:
    """Header, manifest and closing record: strict, so that what is read is written back the same."""
    ids = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]
    hashes = ["ab" * 32, "cd" * 32, "ef" * 32, "01" * 32]
    header = build_header(Header(ids[0], "1", ids[1], "offre", ids[2], ids[3], 1, *hashes))
    manifest = build_manifest([FileEntry(1, "Prix/DPGF été.xlsx", 12, "")])
    closing = build_closing([FileDigest(1, 12, hashes[0])])

    def run(data: bytes) -> None:
        with contextlib.suppress(SigningError):
            assert parse_header(build_header(parse_header(data))) == parse_header(data)
        for parse in (parse_manifest, parse_closing):
            with contextlib.suppress(SigningError):
                parse(data)

    return Target(run, (header, manifest, closing))


def _message() -> Target:
    """A message that we write again, with what ISO-8859-1 says of it, is the same message."""
    day, number = date(2026, 1, 2), "034-213401724-20260102-N1-DE"
    act = m.Act("N1", "1", day, (1, 1), "Marché d'été", day, m.File("a.pdf"), (m.File("b.pdf"),))
    examples: tuple[m.Message, ...] = (
        act,
        m.ActReceipt(number, day, act, day),
        m.ActAnomaly(day, "005", "Objet illisible", act, day),
        m.Letter("2-1", number, day, (m.File("c.pdf"),)),
        m.Letter("4-1", number, day, (m.File("c.pdf"),), "L'avis manque."),
        m.Cancellation(number),
        m.Referral(number, day, "Incompétence", (m.File("d.pdf"),)),
    )

    def run(data: bytes) -> None:
        with contextlib.suppress(MessageRefused):
            found = read(data)
            with contextlib.suppress(ActRefused):
                said = read(write(found))
                assert read(write(said)) == said, "another message is written"

    return Target(run, tuple(write(each) for each in examples))


def _archive() -> Target:
    name = "034-213401724-20260102-N1-DE-1-1_0.xml"
    made = pack({name: b"<a/>"})

    def run(data: bytes) -> None:
        for given in (data, gzip.compress(data, 1, mtime=0)):
            with contextlib.suppress(MessageRefused):
                unpack(given)

    return Target(run, (made, gzip.decompress(made)))


def _unpacker() -> Target:
    inner = container("s", {"a.txt": OFFER})
    made = container("s", {"lot 1.zip": inner, "b.txt": OFFER})

    def run(data: bytes) -> None:
        unpacker = Unpacker(io.BytesIO())
        unpacker.packed = len(data)
        with contextlib.suppress(Stop):
            unpacker.walk(io.BytesIO(data), 1, emit=True)

    return Target(run, (made, gzip.compress(made, mtime=0)))


def target(name: str) -> Target:
    """The target of that name, its examples made on the spot."""
    if name in _SIGNED:
        return _SIGNED[name](World())
    return _PLAIN[name]()


_SIGNED = {"cms": _cms, "xml": _xml, "zip": _zip, "pdf": _pdf, "token": _token}
_PLAIN = {
    "proof": _proof,
    "receipt": _receipt,
    "records": _records,
    "message": _message,
    "archive": _archive,
    "unpack": _unpacker,
}
NAMES = (*_SIGNED, *_PLAIN)
