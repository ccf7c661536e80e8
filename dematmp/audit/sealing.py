"""The platform's seal on its own PDFs: PAdES B-T where an authority of time answers, B-B else.

The key is the platform's own (secrets folder), one bought from an authority (PKCS#12), or that of an HSM
(PKCS#11); never in the database.
"""

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from pyhanko.sign.signers import Signer

from dematmp.audit.errors import KeysMissing
from dematmp.audit.keys import seal_material
from dematmp.audit.stamping import answer
from signing.errors import SigningError
from signing.pdf import Attachment, seal_pdf
from signing.pki import Credential
from signing.signatories import from_card, from_pkcs12

_ONE_CARD = threading.Lock()


def seal(pdf: bytes, *, reason: str, now: datetime, attachments: Sequence[Attachment] = ()) -> bytes:
    """The PDF with its attachments, sealed. Raises KeysMissing, SignatureRefused."""
    ask = functools.partial(answer, now=now)
    with _sealer() as credential:
        return seal_pdf(pdf, credential, reason=reason, now=now, attachments=attachments, ask=ask)


@contextmanager
def _sealer() -> Iterator[Credential | Signer]:
    where = urlsplit(settings.SEAL["url"])
    if not where.scheme:
        material = seal_material()
        yield Credential(material.certificate, material.key, material.authority)
        return
    try:
        secret = Path(settings.SEAL["secret_file"]).read_text().strip()
        if where.scheme == "pkcs12":
            yield from_pkcs12(Path(unquote(where.path)).read_bytes(), secret)
            return
        label = parse_qs(where.query).get("label", [""])[0]
        with _ONE_CARD, from_card(Path(unquote(where.path)), secret, label=label) as signer:
            yield signer
    except (OSError, SigningError) as missing:
        raise KeysMissing(
            f"Le cachet de la plateforme (DEMATMP_SEAL) ne s'ouvre pas : {missing}"
        ) from missing
