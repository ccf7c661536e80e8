"""Which store the settings name."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from storage.errors import StorageError
from storage.folder import FolderStore
from storage.objects import ObjectStore
from storage.s3 import S3Store


def parse_object_store(url: str) -> dict[str, str]:
    """Settings from folder:///path or s3://key:secret@host:port/bucket?tls=0&region=…&deposits=…&public=….

    `deposits` is the locked bucket of sealed objects, `public` the origin that clients reach, `direct=0` says
    that they reach none, `ca` a PEM file when the store's certificate comes from one's own authority, `sse`
    AES256 or the name of a KMS key. Raises StorageError.
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
            "deposits": options.get("deposits", [""])[0],
            "public": options.get("public", [""])[0],
            "ca": options.get("ca", [""])[0],
            "sse": options.get("sse", [""])[0],
            "direct": options.get("direct", ["1"])[0],
        }
    raise StorageError(
        "DEMATMP_OBJECT_STORE s'écrit folder:///chemin ou s3://clé:secret@hôte:port/compartiment."
    )


@functools.lru_cache(maxsize=8)
def _build(text: str) -> ObjectStore:
    options = json.loads(text)
    if options.pop("kind") == "folder":
        return FolderStore(Path(options["root"]))
    return s3_store(options)


def s3_store(options: Mapping[str, str]) -> S3Store:
    """A store from parsed settings, without their kind."""
    named = {name: value for name, value in options.items() if name not in ("kind", "direct")}
    return S3Store(**named, direct=options.get("direct", "1") != "0")


def object_store() -> ObjectStore:
    """The store of settings.OBJECT_STORE, one client per process."""
    from django.conf import settings

    return _build(json.dumps(settings.OBJECT_STORE, sort_keys=True))
