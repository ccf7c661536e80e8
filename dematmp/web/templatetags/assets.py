"""Scripts with their digest (Subresource Integrity): a script that was changed on its way does not run."""

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


def built(name: str) -> Path:
    """The file that set-up built under this name."""
    found = finders.find(name)
    if not isinstance(found, str):
        raise FileNotFoundError(f"{name} manque : lancez deploy/setup.")
    return Path(found)


@lru_cache(maxsize=32)
def _digests(path: Path, changed: int) -> tuple[str, str]:
    data = path.read_bytes()
    integrity = base64.b64encode(hashlib.sha384(data).digest()).decode()
    return f"sha384-{integrity}", hashlib.sha256(data).hexdigest()


def sha256_of(name: str) -> str:
    """Lower-hex SHA-256 of a built script, as the journal and the page say it."""
    path = built(name)
    return _digests(path, path.stat().st_mtime_ns)[1]


@register.simple_tag
def script(name: str) -> SafeString:
    """A deferred script of ours, with its integrity."""
    path = built(name)
    integrity = _digests(path, path.stat().st_mtime_ns)[0]
    return format_html('<script src="{}" integrity="{}" defer></script>', static(name), integrity)
