"""Archive manifests: what they list was there when they were stamped, and they hold nothing to read."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tests.signing.authority import NOW, World
from tests.signing.cms_cases import cades, stamp
from tests.signing.judged import judge
from tests.signing.test_asic import FILES, container, manifest

WORLD = World()
DAY = timedelta(days=1)
SIGNER = WORLD.issuer.issue(days=40)  # ends in ten days
MANIFEST = manifest(FILES)
SIGNED = {**FILES, "META-INF/ASiCManifest.xml": MANIFEST, "META-INF/signature.p7s": cades(SIGNER, MANIFEST)}
TOKEN, ARCHIVE = "META-INF/timestamp001.tst", "META-INF/ASiCArchiveManifest.xml"
PASSED, ENDED = "", "OUT_OF_BOUNDS_NO_POE"


def _archived(
    folder: Path,
    entries: Mapping[str, bytes] = SIGNED,
    *,
    listed: Mapping[str, bytes] | None = None,
    change: Callable[[bytes], bytes] = bytes,
    stamped: bytes | None = None,
    name: str = ARCHIVE,
    token: str = TOKEN,
) -> dict[str, bytes]:
    """With a manifest of all that is there, and its timestamp."""
    said = change(manifest(entries if listed is None else listed, token))
    made = stamp(WORLD.issuer.authority(folder), said if stamped is None else stamped)
    return {**entries, name: said, token: made.dump()}


def _sub(entries: Mapping[str, bytes], folder: Path) -> tuple[str, str]:
    """(sub-indication, level), ten days after the end of the signer's certificate."""
    report = judge(container("e", entries), folder, WORLD.trust, at=NOW + 20 * DAY)
    return report.signatures[0].sub_indication, report.signatures[0].level


def test_an_archived_container_outlives_its_signer_s_certificate(tmp_path: Path) -> None:
    assert _sub(SIGNED, tmp_path) == (ENDED, "B-B")
    assert _sub(_archived(tmp_path), tmp_path) == (PASSED, "B-LTA")


def test_an_archive_is_archived_again(tmp_path: Path) -> None:
    first = _archived(tmp_path, name="META-INF/ASiCArchiveManifest1.xml")
    both = _archived(tmp_path, first, token="META-INF/timestamp002.tst")
    assert _sub(both, tmp_path) == (PASSED, "B-LTA")
    both[TOKEN] = both[TOKEN] + b"\x00"
    assert _sub(both, tmp_path)[0] == ENDED


def test_a_signature_that_a_manifest_does_not_list_is_not_proven(tmp_path: Path) -> None:
    assert _sub(_archived(tmp_path, listed=FILES), tmp_path)[0] == ENDED


def test_a_timestamp_of_something_else_is_false(tmp_path: Path) -> None:
    assert _sub(_archived(tmp_path, stamped=b"1 euro"), tmp_path)[0] == "SIG_CONSTRAINTS_FAILURE"


def _at_once(entries: Mapping[str, bytes], folder: Path) -> tuple[str, str]:
    """(sub-indication, reason) while the certificate is valid: the archive alone is in doubt."""
    report = judge(container("e", entries), folder, WORLD.trust)
    return report.signatures[0].sub_indication, report.signatures[0].reason


def test_what_changed_since_is_doubt(tmp_path: Path) -> None:
    entries = _archived(tmp_path)
    entries["META-INF/signature.p7s"] = cades(SIGNER, MANIFEST)  # another one, made since
    sub, reason = _at_once(entries, tmp_path)
    assert (sub, "ont changé depuis" in reason) == ("GENERIC", True)
    assert _at_once(_archived(tmp_path), tmp_path)[0] == PASSED


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "a comment": lambda said: said.replace(b"<asic:SigReference", b"<!--1 euro--><asic:SigReference"),
    "a text": lambda said: said.replace(b"<asic:SigReference", b"Prix : 1 euro<asic:SigReference"),
    "an element": lambda said: said.replace(b"<asic:SigReference", b"<asic:Prix/><asic:SigReference"),
    "an attribute": lambda said: said.replace(b"<asic:SigReference", b"<asic:SigReference prix='1'"),
    "an instruction": lambda said: b"<?xml-stylesheet href='x'?>" + said,
    "a namespace": lambda said: said.replace(
        b"<asic:SigReference", b"<asic:SigReference xmlns:p='urn:prix:1-euro'"
    ),
    "a prefix": lambda said: said.replace(b"asic:", b"prix.1.euro:").replace(b":asic=", b":prix.1.euro="),
    "a type": lambda said: said.replace(b"application/x-pkcs7-signature", b"Prix : 1 euro"),
    "words for a digest": lambda said: said.replace(b"<ds:DigestValue>", b"<ds:DigestValue>Prix 1 euro "),
    "a digest of nothing": lambda said: said.replace(
        b"<asic:SigReference", b"<ds:DigestValue>UHJpeCAxIGV1cm8=</ds:DigestValue><asic:SigReference"
    ),
    "words for a digest of nothing": lambda said: said.replace(
        b"<asic:SigReference", b"<ds:DigestValue>Prix : 1 euro</ds:DigestValue><asic:SigReference"
    ),
    "a reference in another": lambda said: said.replace(
        b"<ds:DigestMethod", b"<asic:DataObjectReference URI='Prix : 1 euro'/><ds:DigestMethod", 1
    ),
    "a digest in its method": lambda said: re.sub(
        rb"(<ds:DigestMethod [^>]*)/>", rb"\1><ds:DigestValue>MQ==</ds:DigestValue></ds:DigestMethod>", said
    ),
    "a weak digest": lambda said: said.replace(b"xmlenc#sha256", b"xmldsig-more#md5"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_manifest_that_says_more_is_not_computed(text: str, tmp_path: Path) -> None:
    assert _at_once(_archived(tmp_path, change=TEXTS[text]), tmp_path)[0] == "GENERIC"


@pytest.mark.parametrize("name", ["META-INF/timestamp002.tst", "META-INF/evidencerecord.xml"])
def test_what_no_manifest_explains_is_doubt(name: str, tmp_path: Path) -> None:
    assert _at_once({**_archived(tmp_path), name: b"1 euro"}, tmp_path)[0] == "GENERIC"
