"""The store of EU trusted lists (ETSI TS 119 612): what was verified and kept, read without any network.

`lists/<sha256>.xml` (what was signed of each list, never deleted), `state.json` (which is current) and
`anchors.json` (which certificate is in which list). `signing.lists_update` writes it.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from signing.errors import TrustRefused
from signing.xml import text_of

TSL = "{http://uri.etsi.org/02231/v2#}"
VERSION = "lists/1"
CA_QC, QTST = "CA/QC", "TSA/QTST"


@dataclass(frozen=True)
class TrustedList:
    """One list as kept; times are ISO 8601 UTC; `error` says why a newer one was not taken."""

    territory: str
    url: str
    sha256: str = ""
    sequence: int = 0
    issued: str = ""
    next_update: str = ""
    error: str = ""


def describe(root: etree._Element, territory: str = "", *, url: str = "", sha256: str = "") -> TrustedList:
    """What a list says of itself. Raises ValueError for a sequence number that is not one."""
    information = f"{TSL}SchemeInformation/{TSL}"
    return TrustedList(
        territory or text_of(root.find(f"{information}SchemeTerritory")),
        url,
        sha256,
        int(text_of(root.find(f"{information}TSLSequenceNumber")) or 0),
        text_of(root.find(f"{information}ListIssueDateTime")),
        text_of(root.find(f"{information}NextUpdate/{TSL}dateTime")),
    )


def read_state(store: Path) -> list[TrustedList]:
    """The lists as last kept, the list of lists first; none for an empty store. Raises TrustRefused."""
    try:
        state = json.loads((store / "state.json").read_text())
        if state["v"] != VERSION:
            raise TrustRefused("Ces listes ont été gardées par une autre version : mettez-les à jour.")
        return [TrustedList(**row) for row in state["lists"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as bad:
        raise TrustRefused("L'état des listes de confiance est illisible : mettez-les à jour.") from bad


def read_list(store: Path, sha256: str) -> bytes:
    """A list kept, as it was when verified. Raises TrustRefused when it was changed since or is missing."""
    try:
        data = (store / "lists" / f"{sha256}.xml").read_bytes()
    except OSError as missing:
        raise TrustRefused("Une liste de confiance gardée manque : mettez-les à jour.") from missing
    if hashlib.sha256(data).hexdigest() != sha256:
        raise TrustRefused("Une liste de confiance gardée a été modifiée : mettez-les à jour.")
    return data


def services(root: etree._Element) -> list[tuple[bytes, str]]:
    """(certificate, kind) of every service that is or was of one of the two kinds that matter here."""
    found = []
    for service in root.iter(f"{TSL}TSPService"):
        for kind in (CA_QC, QTST):
            types = service.iter(f"{TSL}ServiceTypeIdentifier")
            if any(text_of(each).endswith(f"/Svctype/{kind}") for each in types):
                rows = service.iter(f"{TSL}X509Certificate")
                found += [(der, kind) for der in {base64.b64decode(text_of(row)) for row in rows} if der]
    return found
