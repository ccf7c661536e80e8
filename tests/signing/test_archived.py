"""Archive timestamps (CAdES, XAdES): they prove that all they are over was there, or make doubtful."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import algos, cms, core
from lxml import etree

from signing.authority import Authority
from signing.xml import DS, XADES, XADES_141
from tests.signing.authority import NOW, World
from tests.signing.cms_cases import cades, make_cms, signer_info, stamp
from tests.signing.judged import judge, verdict
from tests.signing.xml_cases import OFFER as XML_OFFER
from tests.signing.xml_cases import xades

WORLD = World()
OFFER, OTHER = b"Acte d'engagement : 12 000 euros HT", b"Acte d'engagement : 1 euro HT"
DAY = timedelta(days=1)
PASSED, GENERIC = ("TOTAL_PASSED", ""), ("INDETERMINATE", "GENERIC")
FALSE, LATE = ("INDETERMINATE", "SIG_CONSTRAINTS_FAILURE"), ("INDETERMINATE", "OUT_OF_BOUNDS_NO_POE")


class _Digests(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.OctetString


class _Index(core.Sequence):  # type: ignore[misc]
    _fields = [
        ("how", algos.DigestAlgorithm),
        ("certificates", _Digests),
        ("crls", _Digests),
        ("rest", _Digests),
    ]


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _archive(
    data: bytes,
    authority: Authority,
    at: datetime,
    *,
    content: bytes = OFFER,
    stray: str = "",
    index_type: str = "0.4.0.19122.1.5",
) -> bytes:
    """The CMS with an archive timestamp, as EN 319 122-1 §5.5.3 says; `stray`: a digest of nothing there."""
    whole = cms.ContentInfo.load(data)
    signed = whole["content"]
    info = signed["signer_infos"][0]
    before = list(info["unsigned_attrs"]) if not isinstance(info["unsigned_attrs"], core.Void) else []
    digests = {
        "certificates": [_sha256(each.dump()) for each in signed["certificates"]],
        "crls": [],
        "rest": [_sha256(each["type"].dump() + value.dump()) for each in before for value in each["values"]],
    }
    if stray:
        digests[stray].append(_sha256(b"rien"))
    index = _Index({"how": {"algorithm": "sha256"}, **digests})
    names = ("version", "sid", "digest_algorithm", "signed_attrs", "signature_algorithm", "signature")
    fields = b"".join(info[name].dump() for name in names)
    kind = signed["encap_content_info"]["content_type"].dump()
    token = stamp(authority, kind + _sha256(content) + fields + index.dump(), at)
    signer = token["content"]["signer_infos"][0]
    signer["unsigned_attrs"] = cms.CMSAttributes([{"type": index_type, "values": [index]}])
    row = cms.CMSAttribute(
        {"type": "0.4.0.1733.2.4", "values": [cms.ContentInfo.load(token.dump(force=True))]}
    )
    return _with_unsigned(whole, [*before, row])


def _with_unsigned(whole: cms.ContentInfo, rows: Sequence[cms.CMSAttribute]) -> bytes:
    """The CMS with these unsigned attributes, each part written once: whole, that takes a minute."""
    signed, signer = whole["content"], whole["content"]["signer_infos"][0]
    attributes = cms.CMSAttributes.load(cms.CMSAttributes(list(rows)).dump())
    fields = {name: signer[name] for name in signer if name != "unsigned_attrs"}
    made = cms.SignerInfo.load(cms.SignerInfo({**fields, "unsigned_attrs": attributes}).dump())
    parts = {name: signed[name] for name in signed if not isinstance(signed[name], core.Void)}
    body = cms.SignedData({**parts, "signer_infos": [made]})
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": body}).dump())


def _short() -> Any:
    return WORLD.issuer.issue("Éphémère", start=NOW - 20 * DAY, days=10)


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize(("at", "expected"), [(-15, PASSED), (-5, LATE)])
def test_an_archive_timestamp_proves_that_a_cms_was_there(
    attached: bool, at: int, expected: tuple[str, str], tmp_path: Path
) -> None:
    authority = WORLD.issuer.authority(tmp_path)
    data = _archive(cades(_short(), OFFER, attached=attached), authority, NOW + at * DAY)
    files = {} if attached else {"acte.txt": OFFER}
    report = judge(data, tmp_path, WORLD.trust, detached=files, name="acte.txt.p7s")
    assert verdict(report) == expected
    assert report.signatures[0].level == "B-LTA"


def _renewed(tmp_path: Path, *, archive: bool) -> bytes:
    """Stamped by an authority whose own certificate ended five days ago, archived the day before."""
    ended = WORLD.issuer.authority(tmp_path, "Ancienne", start=NOW - 30 * DAY, days=25)
    data = cades(_short(), OFFER, attached=True, authority=ended, stamped=NOW - 15 * DAY)
    return _archive(data, WORLD.issuer.authority(tmp_path), NOW - 6 * DAY) if archive else data


@pytest.mark.parametrize("archive", [True, False])
def test_an_archive_timestamp_keeps_the_one_before_it_alive(archive: bool, tmp_path: Path) -> None:
    report = judge(_renewed(tmp_path, archive=archive), tmp_path, WORLD.trust)
    assert verdict(report) == (PASSED if archive else LATE)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"content": OTHER}, FALSE),
        ({"stray": "certificates"}, GENERIC),
        ({"stray": "crls"}, GENERIC),
        ({"stray": "rest"}, GENERIC),
        ({"index_type": "0.4.0.1733.2.5"}, GENERIC),  # of a former version: not computed again
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_one_over_something_else_is_doubtful(
    how: dict[str, Any], expected: tuple[str, str], tmp_path: Path
) -> None:
    signed = cades(WORLD.signer, OFFER, attached=True)
    data = _archive(signed, WORLD.issuer.authority(tmp_path), NOW, **how)
    assert verdict(judge(data, tmp_path, WORLD.trust)) == expected


def test_what_an_archive_timestamp_covers_is_not_taken_away(tmp_path: Path) -> None:
    authority = WORLD.issuer.authority(tmp_path)
    info = signer_info(WORLD.signer, OFFER, authority=authority, stamped=NOW - DAY)
    whole = cms.ContentInfo.load(_archive(make_cms([info], [WORLD.signer], content=OFFER), authority, NOW))
    left = list(whole["content"]["signer_infos"][0]["unsigned_attrs"])[1:]
    assert verdict(judge(_with_unsigned(whole, left), tmp_path, WORLD.trust)) == GENERIC


def _xml_archive(
    data: bytes, authority: Authority, at: datetime, *, change: Callable[[etree._Element], None] | None = None
) -> bytes:
    """XAdES 1.4.1 (EN 319 132-1 §5.5.2.2): its references are the whole, the properties, the key."""
    root = etree.fromstring(data)
    signature = root.find(f".//{DS}Signature")
    qualifying = signature.find(f"{DS}Object/{XADES}QualifyingProperties")
    rows = qualifying.find(f"{XADES}UnsignedProperties/{XADES}UnsignedSignatureProperties")
    if rows is None:
        rows = etree.SubElement(
            etree.SubElement(qualifying, f"{XADES}UnsignedProperties"), f"{XADES}UnsignedSignatureProperties"
        )

    def canonical(element: etree._Element) -> bytes:
        alone = etree.fromstring(etree.tostring(element, with_tail=False))
        return etree.tostring(alone, method="c14n")

    bare = etree.fromstring(data)
    bare.remove(bare.find(f"{DS}Signature"))
    parts = [canonical(bare), canonical(qualifying.find(f"{XADES}SignedProperties"))]
    parts.append(canonical(signature.find(f"{DS}KeyInfo")))  # it is signed, too
    parts += [
        canonical(signature.find(f"{DS}{name}")) for name in ("SignedInfo", "SignatureValue", "KeyInfo")
    ]
    parts += [canonical(each) for each in rows]
    token = stamp(authority, b"".join(parts), at)
    row = etree.SubElement(rows, f"{XADES_141}ArchiveTimeStamp")
    etree.SubElement(row, f"{XADES}EncapsulatedTimeStamp").text = base64.b64encode(token.dump()).decode()
    if change is not None:
        change(rows)
    return etree.tostring(root)


@pytest.mark.parametrize(("at", "expected"), [(-15, PASSED), (-5, LATE)])
def test_an_archive_timestamp_proves_that_an_xml_was_there(
    at: int, expected: tuple[str, str], tmp_path: Path
) -> None:
    data = _xml_archive(xades(_short(), XML_OFFER), WORLD.issuer.authority(tmp_path), NOW + at * DAY)
    report = judge(data, tmp_path, WORLD.trust)
    assert verdict(report) == expected
    assert report.signatures[0].level == "B-LTA"


def test_two_archive_timestamps_of_an_xml_follow_each_other(tmp_path: Path) -> None:
    authority = WORLD.issuer.authority(tmp_path)
    once = _xml_archive(xades(_short(), XML_OFFER), authority, NOW - 15 * DAY)
    assert verdict(judge(_xml_archive(once, authority, NOW - DAY), tmp_path, WORLD.trust)) == PASSED


def _without_first(rows: etree._Element) -> None:
    rows.remove(rows[0])


def _distributed(rows: etree._Element) -> None:
    rows[-1].insert(0, etree.Element(f"{XADES}Include", URI="#x"))


def _empty(rows: etree._Element) -> None:
    rows[-1].clear()


@pytest.mark.parametrize("change", [_without_first, _distributed, _empty])
def test_an_archive_timestamp_of_an_xml_that_changed_is_doubtful(
    change: Callable[[etree._Element], None], tmp_path: Path
) -> None:
    authority = WORLD.issuer.authority(tmp_path)
    signed = xades(WORLD.signer, XML_OFFER, authority=authority, stamped=NOW - DAY)
    data = _xml_archive(signed, authority, NOW, change=change)
    assert verdict(judge(data, tmp_path, WORLD.trust)) == GENERIC
