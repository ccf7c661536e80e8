"""Which store the settings name."""

import functools
import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from storage.errors import StorageError
from storage.folder import FolderStore
from storage.objects import ObjectStore
from storage.s3 import S3Store


def parse_object_store(url: str) -> dict[str, str]:
    """Settings from folder:///path or s3://key:secret@host:port/bucket?tls=0&region=….

    Raises StorageError.
    """
    parts = urlsplit(url)
    if parts.scheme == "folder":
        return {"kind": "folder", "root": unquote(parts.path)}
    if parts.scheme == "s3" and parts.hostname and parts.path.strip("/"):
        options = parse_qs(parts.query)
        scheme = "http" if options.get("tls", ["1"])[0] == "0" else "https"
        port = f":{parts.port}" if parts.port else ""
        return {
            "kind": "s3",
            "endpoint": f"{scheme}://{parts.hostname}{port}",
            "bucket": parts.path.strip("/"),
            "access_key": unquote(parts.username or ""),
            "secret_key": unquote(parts.password or ""),
            "region": options.get("region", ["us-east-1"])[0],
        }
    raise StorageError(
        "DEMATMP_OBJECT_STORE s'écrit folder:///chemin ou s3://clé:secret@hôte:port/compartiment."
    )


@functools.lru_cache(maxsize=8)
def _build(text: str) -> ObjectStore:
    options = json.loads(text)
    kind = options.pop("kind")
    return FolderStore(Path(options["root"])) if kind == "folder" else S3Store(**options)


def object_store() -> ObjectStore:
    """The store of settings.OBJECT_STORE, one client per process."""
    from django.conf import settings

    return _build(json.dumps(settings.OBJECT_STORE, sort_keys=True))
