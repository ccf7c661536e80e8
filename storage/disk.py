"""The folder of objects, looked at: it is there, it keeps what it is given, and says what room it has."""

import shutil
import uuid
from collections.abc import Iterator

from storage.errors import StorageError
from storage.findings import Finding
from storage.folder import FolderStore

FREE_SHARE = 0.1  # of the disk, under which one adds to it before the next deposits
_MIB = 1024**2


def check(store: FolderStore) -> Iterator[Finding]:
    """What the folder really does. Writes one small object, and removes it."""
    root = store.root
    if not root.is_dir():
        yield Finding(f"le dossier {root} existe", good=False, advice="montez son disque, ou créez-le")
        return
    yield Finding(
        f"le dossier {root} garde ce qu'on y écrit, le relit et l'efface",
        _keeps(store),
        "donnez-le à l'utilisateur qui fait tourner la plateforme ; vérifiez le disque et ses droits",
    )
    disk = shutil.disk_usage(root)
    share = disk.free / disk.total if disk.total else 0.0
    what = f"il reste {disk.free // _MIB} Mio sur {disk.total // _MIB} Mio ({share:.0%})"
    yield Finding(what, share >= FREE_SHARE, "agrandissez ce disque avant les prochains dépôts")


def _keeps(store: FolderStore) -> bool:
    """Whether bytes are written to the disk, read again, and gone once deleted."""
    key, data = f"sealed/probe/{uuid.uuid4()}", uuid.uuid4().bytes
    try:
        store.put(key, data)
        same = store.read(key) == data
        store.delete(key)
    except (StorageError, OSError):
        return False
    return same and not store.exists(key)
