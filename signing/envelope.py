"""Seal files into an envelope (pli/1) and open it: one pass, constant memory.

>>> sealed = seal(files, ids=ids, committee=pk_c, platform=pk_p, ceremony=ceremony_sha256, out=directory)
>>> ek = open_ek(sealed.header, sealed.keys, committee_seed=seed_c, platform_seed=seed_p)
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from signing.background import Background
from signing.digests import CompositeDigest, part_bytes_for
from signing.errors import HeaderRefused, ManifestRefused, ObjectRefused, StanzaRefused
from signing.header import Header, build_header, header_hash, parse_header
from signing.keys import key_hash, open_with, seal_to
from signing.manifest import (
    LIMIT,
    FileDigest,
    FileEntry,
    build_closing,
    build_manifest,
    parse_closing,
    parse_manifest,
)

STANZA_BYTES = 1168
KEYS_BYTES = 2 * STANZA_BYTES
BLOCK_BYTES = 64 * 1024  # larger buffers leave the allocator's fast path: measured six times slower
_CHUNK = 16384


@dataclass(frozen=True)
class Ids:
    """The ids that an envelope is bound to; the opener rebuilds them from its own database."""

    consultation: str
    lot: str
    bidder: str
    kind: str
    deposit: str
    envelope: str


@dataclass(frozen=True)
class Source:
    """A file to seal: where it is, and the name under which the committee will see it."""

    path: Path
    name: str
    type: str = ""


@dataclass(frozen=True)
class SealedObject:
    """A sealed object as written: composite SHA-256 in lower hex, and the SHA-256 of each part."""

    name: str
    size: int
    sha256: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class SealedEnvelope:
    header: bytes
    keys: bytes
    objects: tuple[SealedObject, ...]


def sealed_size(size: int) -> int:
    """Bytes of a sealed object for `size` bytes of plaintext."""
    return 56 + size + 16 * (size // _CHUNK + 1)


def _stanza_info(recipient: str, hh: bytes) -> bytes:
    return b"pli/1 " + recipient.encode() + b"\x00" + hh


def _ek(hh: bytes, k_c: bytes, k_p: bytes) -> bytes:
    return hmac.digest(hh, k_c + k_p, hashlib.sha256)


def file_key(ek: bytes, index: int) -> bytes:
    """FK_i = HKDF-Expand-SHA-512(EK, "pli/1 file-key" 0x00 || u32be(i), 32)."""
    info = b"pli/1 file-key\x00" + index.to_bytes(4, "big")
    return HKDFExpand(algorithm=SHA512(), length=32, info=info).derive(ek)


def _context(hh: bytes, index: int) -> bytes:
    return b"pli/1 file\x00" + hh + index.to_bytes(4, "big")


def blocks(path: Path) -> Iterator[bytes]:
    """A file in blocks of 64 KiB."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _write_sealed(
    path: Path, ek: bytes, hh: bytes, index: int, plaintext: Iterable[bytes], size: int
) -> SealedObject:
    """Seal a stream into a file that appears whole or not at all."""
    digest = CompositeDigest(part_bytes_for(sealed_size(size)))
    encryptor = Cobblestone256Encryptor(file_key(ek, index), _context(hh, index))
    draft = path.with_suffix(".part")
    with draft.open("wb", buffering=BLOCK_BYTES * 16) as file, Background(digest.update) as background:
        for block in plaintext:
            sealed = encryptor.update(block)
            background.add(sealed)
            file.write(sealed)
        last = encryptor.finalize()
        background.add(last)
        file.write(last)
    draft.replace(path)
    return SealedObject(
        path.name, digest.size, digest.hexdigest(), tuple(part.hex() for part in digest.parts)
    )


def seal(
    files: Sequence[Source],
    *,
    ids: Ids,
    committee: bytes,
    platform: bytes,
    ceremony: str,
    out: Path,
    progress: Callable[[int], None] | None = None,
) -> SealedEnvelope:
    """Write header.json, keys.bin, 0.cob … n.cob, t.cob into `out`.

    `progress` is told of plaintext bytes sealed.

    Raises NameRefused, KeyRefused, HeaderRefused; ManifestRefused when a file changes while it is read.
    """
    entries = [
        FileEntry(index, source.name, source.path.stat().st_size, source.type)
        for index, source in enumerate(files, start=1)
    ]
    manifest = build_manifest(entries)
    header = build_header(
        Header(
            files=len(entries),
            manifest=hashlib.sha256(manifest).hexdigest(),
            committee=key_hash(committee),
            platform=key_hash(platform),
            ceremony=ceremony,
            **vars(ids),
        )
    )
    hh = header_hash(header)
    k_c, k_p = os.urandom(32), os.urandom(32)
    keys = seal_to(committee, k_c, _stanza_info("committee", hh)) + seal_to(
        platform, k_p, _stanza_info("platform", hh)
    )
    ek = _ek(hh, k_c, k_p)
    out.mkdir(parents=True, exist_ok=True)
    (out / "header.json").write_bytes(header)
    (out / "keys.bin").write_bytes(keys)
    objects = [_write_sealed(out / "0.cob", ek, hh, 0, [manifest], len(manifest))]
    digests = []
    for entry, source in zip(entries, files, strict=True):
        plain = _Hashed(blocks(source.path), entry, progress)
        objects.append(_write_sealed(out / f"{entry.index}.cob", ek, hh, entry.index, plain, entry.size))
        if plain.size != entry.size:
            raise _changed(entry)
        digests.append(FileDigest(entry.index, plain.size, plain.digest.hexdigest()))
    closing = build_closing(digests)
    objects.append(_write_sealed(out / "t.cob", ek, hh, len(entries) + 1, [closing], len(closing)))
    return SealedEnvelope(header, keys, tuple(objects))


def _changed(entry: FileEntry) -> ManifestRefused:
    return ManifestRefused(f"Le fichier « {entry.name} » a changé pendant le scellement.")


class _Hashed:
    """Hashes and counts a stream while it passes; a file that grows is refused, not followed for ever."""

    def __init__(
        self, source: Iterable[bytes], entry: FileEntry, progress: Callable[[int], None] | None
    ) -> None:
        self._source, self._entry, self._progress = source, entry, progress
        self.digest, self.size = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        with Background(self.digest.update) as background:
            for block in self._source:
                background.add(block)
                self.size += len(block)
                if self.size > self._entry.size:
                    raise _changed(self._entry)
                if self._progress:
                    self._progress(len(block))
                yield block


def check_ids(header: bytes, expected: Ids) -> Header:
    """The parsed header, whose ids are those the opener expects from its own rows. Raises HeaderRefused."""
    parsed = parse_header(header)
    for name, value in vars(expected).items():
        if getattr(parsed, name) != value:
            raise HeaderRefused(f"Ce pli n'est pas celui attendu : {name} diffère.")
    return parsed


def open_half(header: bytes, keys: bytes, *, recipient: str, seed: bytes) -> bytes:
    """k_c or k_p: `recipient` is "committee" or "platform". Raises StanzaRefused."""
    if len(keys) != KEYS_BYTES:
        raise StanzaRefused(f"Les clés scellées comptent {len(keys)} octets au lieu de {KEYS_BYTES}.")
    stanza = keys[:STANZA_BYTES] if recipient == "committee" else keys[STANZA_BYTES:]
    return open_with(seed, stanza, _stanza_info(recipient, header_hash(header)))


def open_ek(header: bytes, keys: bytes, *, committee_seed: bytes, platform_seed: bytes) -> bytes:
    """EK, for which both halves are needed. Raises StanzaRefused, HeaderRefused."""
    parse_header(header)
    return _ek(
        header_hash(header),
        open_half(header, keys, recipient="committee", seed=committee_seed),
        open_half(header, keys, recipient="platform", seed=platform_seed),
    )


def unseal_blocks(ek: bytes, header: bytes, index: int, source: Iterable[bytes]) -> Iterator[bytes]:
    """Plaintext blocks of object `index`.

    Raises ObjectRefused; what was yielded before must then be thrown away.
    """
    hh = header_hash(header)
    decryptor = Cobblestone256Decryptor(file_key(ek, index), _context(hh, index))
    try:
        for block in source:
            if plain := decryptor.update(block):
                yield plain
        if last := decryptor.finalize():
            yield last
    except (InvalidTag, ValueError) as refused:
        raise ObjectRefused(f"L'objet {index} du pli a été altéré, tronqué ou déplacé.") from refused


def _whole(ek: bytes, header: bytes, index: int, source: Iterable[bytes]) -> bytes:
    parts, size = [], 0
    for block in unseal_blocks(ek, header, index, source):
        size += len(block)
        if size > LIMIT:
            raise ManifestRefused("Le manifeste dépasse la limite.")
        parts.append(block)
    return b"".join(parts)


def unseal_manifest(ek: bytes, header: bytes, source: Iterable[bytes]) -> list[FileEntry]:
    """The files of the envelope. Raises ObjectRefused, ManifestRefused, NameRefused."""
    parsed = parse_header(header)
    manifest = _whole(ek, header, 0, source)
    if hashlib.sha256(manifest).hexdigest() != parsed.manifest:
        raise ManifestRefused("Le manifeste n'est pas celui de l'en-tête.")
    entries = parse_manifest(manifest)
    if len(entries) != parsed.files:
        raise ManifestRefused("Le nombre de fichiers n'est pas celui de l'en-tête.")
    return entries


def unseal_closing(
    ek: bytes, header: bytes, entries: Sequence[FileEntry], source: Iterable[bytes]
) -> list[FileDigest]:
    """The plaintexts' digests, consistent with the manifest. Raises ObjectRefused, ManifestRefused."""
    digests = parse_closing(_whole(ek, header, len(entries) + 1, source))
    if [(each.index, each.size) for each in digests] != [(each.index, each.size) for each in entries]:
        raise ManifestRefused("L'enregistrement final ne correspond pas au manifeste.")
    return digests


def unseal(directory: Path, ek: bytes, out: Path) -> list[FileEntry]:
    """Open a whole envelope directory with its EK into `out`.

    A file appears only once its digest is verified.
    """
    header = (directory / "header.json").read_bytes()
    entries = unseal_manifest(ek, header, blocks(directory / "0.cob"))
    digests = unseal_closing(ek, header, entries, blocks(directory / "t.cob"))
    for entry, expected in zip(entries, digests, strict=True):
        target = out / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{entry.index}.part")
        digest, size = hashlib.sha256(), 0
        try:
            with draft.open("wb") as file:
                for block in unseal_blocks(ek, header, entry.index, blocks(directory / f"{entry.index}.cob")):
                    digest.update(block)
                    size += len(block)
                    file.write(block)
            if (size, digest.hexdigest()) != (expected.size, expected.sha256):
                raise ManifestRefused(f"Le fichier {entry.index} n'a pas l'empreinte annoncée.")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return entries
