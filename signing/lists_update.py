"""Fetch or read EU trusted lists, verify them, keep them for ever in a store (`signing.lists` reads it).

    update(store, fetch=from_folder(Path("listes")), now=now)

The list of lists is verified with the certificates that pyHanko carries, or by its chain of pivots from those
of the Official Journal (decision (EU) 2015/1505).
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from asn1crypto import x509
from cryptography import x509 as pyca
from lxml import etree
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.qualified.eutl_fetch import EU_LOTL_LOCATION
from pyhanko.sign.validation.qualified.eutl_parse import (
    LOTL_RULE,
    LOTLParseResult,
    TLReference,
    latest_known_lotl_tlso_certs,
    ojeu_bootstrap_lotl_tlso_certs,
    parse_lotl_unsafe,
    trust_list_to_registry,
    validate_and_parse_lotl,
)

from signing.errors import TrustRefused
from signing.found import Problem
from signing.lists import TSL, VERSION, TrustedList, describe, read_list, read_state, services
from signing.signers import BROKEN
from signing.xml import DS, XML_LIMIT, parse, text_of
from signing.xmldsig import verify

LOTL_URL: str = EU_LOTL_LOCATION
_TIMEOUT = 20.0  # seconds for a list
_BROKEN_LIST = (SignatureValidationError, etree.LxmlError, *BROKEN)
Fetch = Callable[[str], bytes]


def from_network(url: str) -> bytes:
    """The bytes at this address. Raises TrustRefused."""
    try:
        with httpx.stream("GET", url, timeout=_TIMEOUT, follow_redirects=True) as answer:
            answer.raise_for_status()
            data = b""
            for block in answer.iter_bytes():
                data += block
                if len(data) > XML_LIMIT:
                    raise TrustRefused(f"La liste « {url} » est trop longue.")
    except (httpx.HTTPError, httpx.InvalidURL) as failed:
        raise TrustRefused(f"La liste « {url} » n'a pas pu être lue ({type(failed).__name__}).") from failed
    return data


def from_folder(folder: Path) -> Fetch:
    """Lists copied by hand: each is the file of the last part of its address."""

    def fetch(url: str) -> bytes:
        path = folder / (urlsplit(url).path.rsplit("/", 1)[-1] or "index.xml")
        if not path.is_file():
            raise TrustRefused(f"« {path.name} » n'est pas dans le dossier des listes.")
        return path.read_bytes()

    return fetch


def update(
    store: Path,
    *,
    fetch: Fetch,
    now: datetime,
    lotl_url: str = LOTL_URL,
    signers: Sequence[x509.Certificate] = (),
    territories: Sequence[str] = (),
) -> list[TrustedList]:
    """Verify and keep the list of lists and the national lists; what cannot be verified changes nothing.

    Those of other `territories` than these stay as they were. `signers` replace the certificates that sign
    the list of lists. Raises TrustRefused when the list of lists
    itself cannot be verified; a national list that cannot keeps its former version, with its error.
    """
    known = read_state(store)
    before = {each.territory: each for each in known}
    text = _text(fetch(lotl_url))
    parsed, by = _verified_lotl(text, fetch, signers)
    lotl = _kept(store, "EU", lotl_url, text, by, before.get("EU"))
    if lotl.error:
        raise TrustRefused(lotl.error)
    rows = [lotl]
    national = [each for each in parsed.references if LOTL_RULE not in each.scheme_rules]
    wanted = {each.casefold() for each in territories}
    if unknown := wanted - {each.territory.casefold() for each in national}:
        raise TrustRefused(f"La liste des listes n'a pas de territoire {', '.join(sorted(unknown)).upper()}.")
    for reference in national:
        former = before.get(reference.territory)
        if not wanted or reference.territory.casefold() in wanted:
            rows.append(_national(store, reference, fetch, former))
        elif former is not None:
            rows.append(former)  # not asked for today: neither forgotten, nor open to an older one
    _write(store, rows, now)
    return rows


def _national(store: Path, reference: TLReference, fetch: Fetch, before: TrustedList | None) -> TrustedList:
    try:
        text = _text(fetch(reference.location_uri))
        trust_list_to_registry(text, reference.tlso_certs)
        return _kept(store, reference.territory, reference.location_uri, text, reference.tlso_certs, before)
    except TrustRefused as refused:
        error = str(refused)
    except _BROKEN_LIST as broken:
        error = f"Liste illisible ou mal signée ({type(broken).__name__})."
    former = before or TrustedList(reference.territory, reference.location_uri)
    return TrustedList(**{**asdict(former), "error": error})


def _numbers(url: str) -> list[int]:
    """Pivots in the order of their numbers: 1000 comes after 999."""
    return [int(each) for each in re.findall(r"[0-9]+", url)]


def _verified_lotl(
    text: str, fetch: Fetch, signers: Sequence[x509.Certificate]
) -> tuple[LOTLParseResult, Sequence[x509.Certificate]]:
    """The list of lists and the certificates of which one signed it. Raises TrustRefused."""
    direct = list(signers) or latest_known_lotl_tlso_certs()
    try:
        return validate_and_parse_lotl(text, direct), direct
    except _BROKEN_LIST:
        pass
    try:
        current = list(signers) or ojeu_bootstrap_lotl_tlso_certs()
        for pivot in sorted(parse_lotl_unsafe(text).pivot_urls, key=_numbers):
            xml = _text(fetch(pivot))
            issued = parse_lotl_unsafe(xml).claimed_date_issued
            parsed = validate_and_parse_lotl(xml, current, validation_time=issued)
            itself = next(each for each in parsed.references if LOTL_RULE in each.scheme_rules)
            current = itself.tlso_certs
        return validate_and_parse_lotl(text, current), current
    except (StopIteration, *_BROKEN_LIST) as broken:
        raise TrustRefused(
            "La liste des listes n'est pas signée par un certificat reconnu : elle n'est pas prise en compte."
        ) from broken


def _text(data: bytes) -> str:
    """Raises TrustRefused for what has a DTD, is too long or is not UTF-8 XML."""
    try:
        parse(data)
        return data.decode("utf-8-sig")
    except (ValueError, UnicodeDecodeError) as bad:
        raise TrustRefused("Cette liste n'est pas un XML lisible.") from bad


def _kept(
    store: Path,
    territory: str,
    url: str,
    text: str,
    signers: Sequence[x509.Certificate],
    before: TrustedList | None,
) -> TrustedList:
    """Write what was signed of a verified list; an older one than the last is refused (rollback)."""
    data = _signed_part(text.encode(), signers)
    sha256 = hashlib.sha256(data).hexdigest()
    row = describe(parse(data), territory, url=url, sha256=sha256)
    if before is not None and before.sha256 and row.sequence < before.sequence:
        error = f"La liste reçue (n° {row.sequence}) est plus ancienne que la nôtre."
        return TrustedList(**{**asdict(before), "error": error})
    folder = store / "lists"
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{sha256}.xml", data)
    return row


def _signed_part(data: bytes, signers: Sequence[x509.Certificate]) -> bytes:
    """The bytes that the list's own signature covers, of the list itself. Raises TrustRefused."""
    root = parse(data)
    ranks = len(list(root.iter(f"{DS}Signature")))
    for certificate in signers:
        for rank in range(ranks):
            results = verify(root, rank, pyca.load_der_x509_certificate(certificate.dump()), lambda _: None)
            if isinstance(results, Problem):
                continue
            for result in results:
                if result.signed_xml is not None and result.signed_xml.tag == f"{TSL}TrustServiceStatusList":
                    return result.signed_data
    raise TrustRefused("La signature de cette liste ne porte pas sur elle.")


def _write(store: Path, rows: Sequence[TrustedList], now: datetime) -> None:
    """Lists are already there: the anchors, then the state that names them, each in one rename."""
    anchors: dict[str, dict[str, object]] = {}
    hosts: set[str] = set()
    for row in rows[1:]:
        if not row.sha256:
            continue
        root = parse(read_list(store, row.sha256))
        hosts |= _hosts(root)
        for der, kind in services(root):
            named = anchors.setdefault(hashlib.sha256(der).hexdigest(), {"kinds": []})
            kinds = named["kinds"]
            named |= {
                "list": row.sha256,
                "kinds": sorted({*(kinds if isinstance(kinds, list) else []), kind}),
                "certificate": base64.b64encode(der).decode(),
            }
    state = {"v": VERSION, "updated": now.astimezone(UTC).isoformat(), "lists": [asdict(row) for row in rows]}
    body = {"v": VERSION, "anchors": anchors, "hosts": sorted(hosts)}
    _replace(store / "anchors.json", json.dumps(body).encode())
    _replace(store / "state.json", json.dumps(state, ensure_ascii=False).encode())


def _hosts(root: etree._Element) -> set[str]:
    """Where the authorities of a list say that they answer, and what their own certificates declare."""
    urls = [text_of(each) for each in root.iter(f"{TSL}ServiceSupplyPoint")]
    for der, _ in services(root):
        try:
            certificate = x509.Certificate.load(der)
            urls += certificate.ocsp_urls + [
                url for point in certificate.crl_distribution_points for url in [point.url] if url
            ]
        except BROKEN:
            continue
    return {place for url in urls if (place := urlsplit(url).netloc)}


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
