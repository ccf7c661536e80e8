"""The versions that an object lock keeps under what was written, or deleted, over them."""

from typing import Protocol


class Versioned(Protocol):
    def bucket_of(self, key: str) -> str: ...

    def call(self, operation: str, *, bucket: str, **arguments: object) -> dict[str, object]: ...


def locked_versions(store: Versioned, key: str) -> list[str]:
    """Ids of the earlier versions of this object that nobody can delete, the last one first.

    Raises StoreUnavailable.
    """
    bucket, found = store.bucket_of(key), []
    rows = store.call("list_object_versions", bucket=bucket, Prefix=key).get("Versions", [])
    for each in rows if isinstance(rows, list) else []:
        if each["Key"] == key and not each["IsLatest"]:
            said = store.call("head_object", bucket=bucket, Key=key, VersionId=each["VersionId"])
            if said.get("ObjectLockMode") == "COMPLIANCE":
                found.append(str(each["VersionId"]))
    return found
