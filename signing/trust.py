"""Who is trusted: authorities given as PEM (settings) and those of a store of EU trusted lists."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from asn1crypto import crl, ocsp, pem, x509

from signing import lists
from signing.errors import TrustRefused

_PEM_LIMIT = 4 * 1024 * 1024  # bytes


@dataclass
class Trust:
    """Authorities, and revocation data at hand: nothing here was taken from what is judged."""

    anchors: list[x509.Certificate] = field(default_factory=list)  # given by the settings
    crls: list[crl.CertificateList] = field(default_factory=list)
    ocsps: list[ocsp.OCSPResponse] = field(default_factory=list)
    store: Path | None = None
    listed: dict[str, str] = field(default_factory=dict)  # SHA-256 of a certificate → of its list
    authorities: list[x509.Certificate] = field(default_factory=list)  # CA/QC of the lists
    stampers: list[x509.Certificate] = field(default_factory=list)  # TSA/QTST of the lists
    parts: dict[str, str] = field(default_factory=dict)  # parts of lists kept with a report, by SHA-256
    hosts: frozenset[str] = frozenset()  # where revocation may be asked

    def signing_anchors(self) -> list[x509.Certificate]:
        return [*self.anchors, *self.authorities]

    def stamping_anchors(self) -> list[x509.Certificate]:
        return [*self.anchors, *self.stampers]

    def is_given(self, certificate: x509.Certificate) -> bool:
        """Whether the settings themselves trust this certificate."""
        return any(each.sha256 == certificate.sha256 for each in self.anchors)


def from_pems(texts: Iterable[bytes]) -> Trust:
    """Raises TrustRefused for what is not PEM certificates."""
    return Trust(anchors=[each for text in texts for each in certificates_in(text)])


def from_paths(paths: Sequence[Path]) -> Trust:
    """Files of certificates, and at most one folder of trusted lists. Raises TrustRefused, OSError."""
    folders = [path for path in paths if path.is_dir()]
    if len(folders) > 1:
        raise TrustRefused("Un seul dossier de listes de confiance est attendu.")
    trust = from_pems(path.read_bytes() for path in paths if not path.is_dir())
    if folders:
        _add_lists(trust, folders[0])
    return trust


def vouched(kept: Trust, given: Trust) -> Trust:
    """What a report kept, without the authorities that the reader does not trust.

    A list in a report may be anybody's: « qualified » is said only of what the reader's own lists hold.
    """
    known = {each.sha256 for each in (*given.anchors, *given.authorities, *given.stampers)}
    for own in (kept.anchors, kept.authorities, kept.stampers):
        own[:] = [each for each in own if each.sha256 in known]
    kept.listed = {digest: row for digest, row in kept.listed.items() if digest in given.listed}
    return kept


def _add_lists(trust: Trust, store: Path) -> None:
    if not lists.read_state(store):
        raise TrustRefused("Ce dossier ne contient aucune liste de confiance : mettez-les à jour.")
    try:
        body = json.loads((store / "anchors.json").read_text())
        for digest, row in body["anchors"].items():
            certificate = x509.Certificate.load(base64.b64decode(row["certificate"]))
            trust.listed[digest] = row["list"]
            for kind, into in ((lists.CA_QC, trust.authorities), (lists.QTST, trust.stampers)):
                if kind in row["kinds"]:
                    into.append(certificate)
        trust.hosts = frozenset(body["hosts"])
    except (OSError, ValueError, KeyError, TypeError) as bad:
        raise TrustRefused("Les listes de confiance gardées sont illisibles : mettez-les à jour.") from bad
    trust.store = store


def hosts_of(paths: Sequence[Path]) -> tuple[frozenset[str], Path | None]:
    """The hosts that the lists of a store name, and the store; none without a store. Raises TrustRefused."""
    store = next((path for path in paths if path.is_dir()), None)
    if store is None:
        return frozenset(), None
    try:
        return frozenset(json.loads((store / "anchors.json").read_text())["hosts"]), store
    except (OSError, ValueError, KeyError, TypeError) as bad:
        raise TrustRefused("Les listes de confiance gardées sont illisibles : mettez-les à jour.") from bad


def add_revocation(trust: Trust, answers: Iterable[bytes]) -> None:
    """DER certificate lists and OCSP responses; what is neither is left out."""
    for der in answers:
        for kind, into in ((ocsp.OCSPResponse, trust.ocsps), (crl.CertificateList, trust.crls)):
            try:
                value = kind.load(der, strict=True)
                _ = value.native
            except (ValueError, TypeError, KeyError):
                continue
            into.append(value)
            break


def certificates_in(text: bytes) -> list[x509.Certificate]:
    """PEM, several, or one DER. Raises TrustRefused."""
    if len(text) > _PEM_LIMIT:
        raise TrustRefused("Ce fichier de certificats est trop long.")
    try:
        if not pem.detect(text):
            return [_loaded(text)]
        return [_loaded(der) for _, _, der in pem.unarmor(text, multiple=True)]
    except (ValueError, TypeError) as bad:
        raise TrustRefused("Ce fichier ne contient pas de certificat lisible.") from bad


def _loaded(der: bytes) -> x509.Certificate:
    certificate = x509.Certificate.load(der, strict=True)
    _ = certificate.native
    return certificate


def is_stale(row: lists.TrustedList, at: datetime) -> bool:
    """Whether a list should have been replaced by then (TS 119 612 §5.3.15)."""
    try:
        return bool(row.next_update) and datetime.fromisoformat(row.next_update) < at
    except (ValueError, TypeError):
        return True
