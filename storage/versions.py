"""The versions that an object lock keeps under what was written, or deleted, over them."""

from collections.abc import Iterator
from typing import Protocol


class Versioned(Protocol):
    def bucket_of(self, key: str) -> str: ...

    def call(self, operation: str, *, bucket: str, **arguments: object) -> dict[str, object]: ...


def locked_versions(store: Versioned, key: str, *, size: int | None = None) -> Iterator[str]:
    """Ids of the earlier versions of this object that nobody can delete, the first that was written first.

    Of this size (bytes) alone, when it is known: what is written over an object later is tried after it, and
    costs one row of a listing. Raises StoreUnavailable.
    """
    earlier = [
        str(each["VersionId"])
        for each in _versions(store, key)
        if not each["IsLatest"] and (size is None or each["Size"] == size)
    ]
    for version in reversed(earlier):
        said = store.call("head_object", bucket=store.bucket_of(key), Key=key, VersionId=version)
        if said.get("ObjectLockMode") == "COMPLIANCE":
            yield version


def _versions(store: Versioned, key: str) -> Iterator[dict[str, object]]:
    """All of one key, the last one first; those of longer keys come after it, and are not asked for."""
    marker: dict[str, object] = {}
    while True:
        answer = store.call("list_object_versions", bucket=store.bucket_of(key), Prefix=key, **marker)
        rows = answer.get("Versions", [])
        yield from (each for each in (rows if isinstance(rows, list) else []) if each["Key"] == key)
        if not answer.get("IsTruncated") or answer.get("NextKeyMarker") != key:
            return
        marker = {"KeyMarker": key, "VersionIdMarker": answer["NextVersionIdMarker"]}
