"""The sealed objects of an envelope, read as its receipt attests them (annexe 8)."""

import contextlib
from collections.abc import Iterator

from dematmp.bids.models import Envelope, SealedObject
from dematmp.opening.errors import OpeningError
from signing.digests import CompositeDigest
from signing.errors import SigningError
from storage.errors import ObjectMissing
from storage.s3 import S3Store
from storage.stores import object_store
from storage.versions import locked_versions


class NotAttested(SigningError):
    """Other bytes than those of the receipt, were they well sealed: who kept its key can seal again."""

    code = "envelope.not-attested"


class AttestedObjects:
    """What the store gives, or the version that its lock keeps where something else was written over it."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._objects = {
            each.name: each for each in SealedObject.objects.filter(envelope=envelope).order_by("pk")
        }
        self._versions: dict[str, str] = {}  # object name → id of its own version
        self._attested = set[str]()

    def open(self, name: str) -> Iterator[bytes]:
        """The bytes, compared with the receipt at their end. Raises NotAttested there."""
        sealed, self._attested = self._objects[name], self._attested - {name}
        digest = CompositeDigest(sealed.part_bytes)
        for block in self._read(name):
            digest.update(block)
            yield block
        if digest.hexdigest() != sealed.sha256:
            raise NotAttested(f"L'objet {name} n'est pas celui de l'accusé.")
        self._attested.add(name)

    def check(self, *names: str) -> None:
        """Raises NotAttested for what was not read to its end as it was received."""
        for name in names:
            if name not in self._attested:
                raise NotAttested(f"L'objet {name} n'a pas été comparé à l'accusé.")

    def _read(self, name: str) -> Iterator[bytes]:
        store, key = object_store(), f"{self._envelope.prefix}/{name}"
        if isinstance(store, S3Store) and name in self._versions:
            return store.open(key, version=self._versions[name])
        return store.open(key)

    def mend(self) -> bool:
        """Whether something else is read from now on. Raises OpeningError when received bytes are no more."""
        mended = False
        for sealed in self._objects.values():
            if _digest(self._read(sealed.name), sealed.part_bytes) == sealed.sha256:
                continue
            version = own_version(
                f"{self._envelope.prefix}/{sealed.name}",
                size=sealed.size,
                part_bytes=sealed.part_bytes,
                sha256=sealed.sha256,
            )
            if version is None:
                raise OpeningError(f"Le stockage ne rend pas les octets reçus de l'objet {sealed.name}.")
            self._versions[sealed.name], mended = version, True
        return mended


def own_version(key: str, *, size: int, part_bytes: int, sha256: str) -> str | None:
    """The locked version that has this size and composite digest, if the store keeps one."""
    store = object_store()
    if not isinstance(store, S3Store) or store.deposits == store.bucket:
        return None
    for version in locked_versions(store, key, size=size):
        with contextlib.suppress(ObjectMissing):  # its lock ended, and it was deleted since
            if _digest(store.open(key, version=version), part_bytes) == sha256:
                return version
    return None


def _digest(blocks: Iterator[bytes], part_bytes: int) -> str:
    digest = CompositeDigest(part_bytes)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
