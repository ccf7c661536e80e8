"""What stands behind the platform: the embedded default, and the real services that are installed."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def backing(state: Path, *, services: bool, say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Environment of the platform. Says in one line what is not shown."""
    extra = {"DEMATMP_ANTIVIRUS_URL": "none", "DEMATMP_SIGNATURE_TRUST": str(state / "signataires.pem")}
    say(
        "Sans ClamAV, PostgreSQL ni Ceph : aucun fichier n'est analysé (« non analysé »), base SQLite et dossier local."
    )
    yield extra
