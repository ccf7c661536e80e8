"""One tree of errors for this room."""

import contextlib
from collections.abc import Iterator
from typing import ClassVar

# What the operator does about a refusal.
_KEYS = " Vérifiez la clé et le secret de DEMATMP_OBJECT_STORE."
_CAUSES = {
    **dict.fromkeys(("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"), _KEYS),
    "NoSuchBucket": " Ce compartiment n'existe pas : manage.py storage setup le crée.",
    "RequestTimeTooSkewed": " L'heure de cette machine n'est pas celle du stockage.",
    **dict.fromkeys(
        ("InvalidBucketState", "ObjectLockConfigurationNotFoundError", "409"),
        " Un compartiment se crée avec son verrou : donnez-en un nouveau à deposits=…, puis storage setup.",
    ),
}


def advice(code: str) -> str:
    """What to do about a store's refusal, after a space; the empty string for one that says nothing more."""
    return _CAUSES.get(code, "")


class StorageError(Exception):
    """Root."""

    code: ClassVar[str] = "storage.error"


class KeyRefused(StorageError):
    """A key that could leave its store."""

    code = "storage.key-refused"


class ObjectMissing(StorageError):
    """No such object."""

    code = "storage.object-missing"


class ObjectTooLarge(StorageError):
    """More bytes than the reader accepts."""

    code = "storage.object-too-large"


class PartTruncated(StorageError):
    """Fewer bytes than announced; nothing was kept."""

    code = "storage.part-truncated"


class PartCorrupt(StorageError):
    """Other bytes than announced; nothing was kept."""

    code = "storage.part-corrupt"


class StoreUnavailable(StorageError):
    """The store did not answer."""

    code = "storage.unavailable"


class ScanFailed(StorageError):
    """The antivirus answers, but gave up on this file: never call it clean."""

    code = "storage.scan-failed"


class WorkspaceFull(ScanFailed):
    """The platform has no room to look inside: it is asked again for as long as that lasts."""

    code = "storage.workspace-full"


class AntivirusUnavailable(StorageError):
    """The antivirus did not answer: try again later, never call the file clean."""

    code = "storage.antivirus-unavailable"


@contextlib.contextmanager
def workspace() -> Iterator[None]:
    """Where files are laid aside to be scanned: full, nothing is said of the file. Raises WorkspaceFull."""
    try:
        yield
    except OSError as full:
        raise WorkspaceFull("l'espace de travail est plein ou ne répond plus") from full
