"""The platform's seal on its own PDFs: PAdES B-T where an authority of time answers, B-B else."""

import functools
from collections.abc import Sequence
from datetime import datetime

from dematmp.audit.keys import seal_material
from dematmp.audit.stamping import answer
from signing.pdf import Attachment, seal_pdf


def seal(pdf: bytes, *, reason: str, now: datetime, attachments: Sequence[Attachment] = ()) -> bytes:
    """The PDF with its attachments, sealed. Raises KeysMissing, SignatureRefused."""
    material = seal_material()
    return seal_pdf(
        pdf,
        certificate_pem=material.certificate,
        key_pem=material.key,
        ca_pem=material.authority,
        reason=reason,
        now=now,
        attachments=attachments,
        ask=functools.partial(answer, now=now),
    )
