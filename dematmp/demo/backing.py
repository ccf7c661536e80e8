"""What stands behind the platform: the embedded default, and the real services that are installed."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.services.brokers import RabbitMQ
from deploy.services.ceph import Ceph
from deploy.services.clamd import Clamd
from deploy.services.postgres import Postgres
from deploy.services.process import Service

# service → (setting that points at it, what is not shown without it)
_SETTINGS: dict[type[Service], tuple[str, str]] = {
    Clamd: ("DEMATMP_ANTIVIRUS_URL", "aucun fichier n'est analysé, ils sont marqués « non analysé »"),
    Postgres: ("DEMATMP_DATABASE_URL", "base SQLite"),
    Ceph: ("DEMATMP_OBJECT_STORE", "fichiers dans un dossier local"),
    RabbitMQ: ("DEMATMP_BROKER_URL", "tâches par un dossier local"),
}
_MORE: dict[type[Service], str] = {Ceph: "&deposits=dematmp-plis"}  # the locked bucket


@contextlib.contextmanager
def backing(state: Path, *, services: bool, say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Environment of the platform; says in one line what really runs and what is therefore not shown."""
    extra = {"DEMATMP_ANTIVIRUS_URL": "none", "DEMATMP_SIGNATURE_TRUST": str(state / "signataires.pem")}
    wanted = list(_SETTINGS) if services else [Clamd]
    running, without = [], []
    with contextlib.ExitStack() as stack:
        for service, (setting, absence) in _SETTINGS.items():
            if service in wanted and service.missing() is None:
                extra[setting] = stack.enter_context(service()).url + _MORE.get(service, "")
                running.append(service.name)
            else:
                without.append(f"sans {service.name} : {absence}")
        say("; ".join([f"Avec {', '.join(running)}" if running else "Rien d'installé", *without]) + ".")
        yield extra
