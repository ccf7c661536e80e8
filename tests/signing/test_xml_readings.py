"""XML signed whole, and read otherwise by another program: as HTML, or with other prefixes."""

import time
from pathlib import Path

import pytest

from tests.signing.authority import World
from tests.signing.judged import judge
from tests.signing.test_xml_interop import C14N, EXC, offer, reference, signature, transform, whole, xmlsec1
from tests.signing.test_xml_interop import WORLD as SIGNED_BY
from tests.signing.test_xml_interop import _signed as sign_by_xmlsec1
from tests.signing.test_xml_interop import _verified as verified_by_xmlsec1
from tests.signing.xml_cases import xades

__all__ = ["xmlsec1"]  # a fixture, for every test here
PASSED, UNSURE = "TOTAL_PASSED", "INDETERMINATE"
WORLD = World()
_PAGE = (
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Offre</title><style></style></head>'
    "<body><p>Prix : 12000 euros</p><br/><p>Remise : 1 euro</p>{}</body></html>"
)
# what is changed without changing what is signed, the name of the file, and the verdict
PAGES: dict[str, tuple[str, str, str, str]] = {
    "as it was signed": ("", "", "offre.html", PASSED),
    "a price that is a comment": ("Prix", "<![CDATA[Prix]]>", "offre.html", UNSURE),
    "the same, of no known name": ("Prix", "<![CDATA[Prix]]>", "offre", UNSURE),
    "the same, read as XML": ("Prix", "<![CDATA[Prix]]>", "offre.xhtml", PASSED),
    "a style that is a comment": (
        "<style></style>", "<style><!-- p { display: none } --></style>", "offre.htm", UNSURE
    ),
    "a comment that ends at once": ("<body>", "<body><!--><p>1 euro</p>-->", "offre.html", UNSURE),
    "a style that does not end": ("<style></style>", "<style/>", "offre.html", UNSURE),
    "a line that closes itself": ("<br/>", "<br></br>", "offre.html", PASSED),
}  # fmt: skip


@pytest.mark.parametrize("case", PAGES)
def test_a_page_that_a_browser_reads_otherwise_is_not_called_whole(case: str, tmp_path: Path) -> None:
    old, new, name, expected = PAGES[case]
    written = sign_by_xmlsec1(_PAGE.format(whole(transform(EXC))), {}, tmp_path)
    data = written.replace(b"<style/>", b"<style></style>")  # as a browser wants it
    assert old.encode() in data
    changed = data.replace(old.encode(), new.encode(), 1)
    assert verified_by_xmlsec1(changed, tmp_path)
    report = judge(changed, tmp_path, SIGNED_BY.trust, name=name)
    assert report.indication == expected, report.signatures


@pytest.mark.parametrize(("change", "expected"), [("", PASSED), ("<![CDATA[Prix]]>", UNSURE)])
def test_a_page_beside_its_signature_too(change: str, expected: str, tmp_path: Path) -> None:
    page = _PAGE.format("").encode()
    data = sign_by_xmlsec1(
        signature(reference("offre.html", transform(C14N))), {"offre.html": page}, tmp_path
    )
    given = page.replace(b"Prix", change.encode()) if change else page
    report = judge(data, tmp_path, SIGNED_BY.trust, detached={"offre.html": given})
    assert report.indication == expected, report.signatures


_NAMED = '<o:offre xmlns:o="urn:offre" xmlns:p="urn:final">{}<prix xmlns="urn:final">12000</prix>{}</o:offre>'
_LISTED = f'<ec:InclusiveNamespaces xmlns:ec="{EXC}" PrefixList="p"/>'
# content, canonicalisation, verdict
PREFIXES: dict[str, tuple[str, str, str]] = {
    "in an attribute": ('<o:total select="p:prix"/>', transform(EXC), UNSURE),
    "in a path": ('<o:total select="//p:prix"/>', transform(EXC), UNSURE),
    "in a text": ("<o:total>p:prix</o:total>", transform(EXC), UNSURE),
    "used by a name around": ('<p:total select="p:prix"/>', transform(EXC), PASSED),
    "used by a name elsewhere": ('<p:prix/><o:total select="p:prix"/>', transform(EXC), UNSURE),
    "listed": ('<o:total select="p:prix"/>', transform(EXC, _LISTED), PASSED),
    "signed by inclusive canonicalisation": ('<o:total select="p:prix"/>', transform(C14N), PASSED),
    "a colon of a text": ("<o:total>p : 12000, http://p.fr:80/</o:total>", transform(EXC), PASSED),
    "a type of XML Schema": (
        '<o:total xmlns:xs="http://www.w3.org/2001/XMLSchema" t="xs:string"/>', transform(EXC), PASSED
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PREFIXES)
def test_a_prefix_that_nothing_signs_names_nothing(case: str, tmp_path: Path) -> None:
    content, canonical, expected = PREFIXES[case]
    data = sign_by_xmlsec1(_NAMED.format(content, whole(canonical)), {}, tmp_path)
    report = judge(data, tmp_path, SIGNED_BY.trust)
    assert report.indication == expected, report.signatures


def test_an_offer_full_of_comments_is_read_in_a_moment(tmp_path: Path) -> None:
    data = xades(WORLD.signer).replace(b"<offre>", b"<offre>" + b"<!---->" * 20_000, 1)
    start = time.monotonic()
    assert judge(data, tmp_path, WORLD.trust).indication == PASSED
    assert time.monotonic() - start < 5


def test_an_offer_is_no_page(tmp_path: Path) -> None:
    data = sign_by_xmlsec1(offer("<vide/><!-- c -->" + whole(transform(EXC))), {}, tmp_path)
    assert judge(data, tmp_path, SIGNED_BY.trust, name="offre.xml").indication == PASSED
