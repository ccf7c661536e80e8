"""Timestamps of the content, among what XAdES signs: they must be of this content (EN 319 132-1 §5.2.8).

They prove nothing of the signature, which came after; one of something else was put there to be believed.
"""

import base64
from collections.abc import Iterator, Sequence

from asn1crypto import cms
from lxml import etree

from signing.signers import digest_of
from signing.xml import DS, XADES, text_of
from signing.xmldsig import BASE64, transforms_of, uri_of

_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"  # what signxml writes where nothing is said


def is_of_other_content(
    properties: etree._Element,
    references: Sequence[etree._Element],
    signed: Sequence[bytes],
    *,
    properties_type: str,
) -> bool:
    """Whether one is not of `signed`, what each reference comes to. Raises BROKEN for one not read."""
    rows = [
        (reference, data)
        for reference, data in zip(references, signed, strict=True)
        if reference.get("Type") != properties_type
    ]
    every, some = f"{XADES}AllDataObjectsTimeStamp", f"{XADES}IndividualDataObjectsTimeStamp"
    for stamp in properties.iterfind(f"{XADES}SignedDataObjectProperties/*"):
        if stamp.tag not in (every, some):
            continue
        mine = rows if stamp.tag == every else list(_included(stamp, rows))
        if not mine or not all(_is_definite(reference, stamp) for reference, _ in mine):
            continue
        data = b"".join(each for _, each in mine)
        for token in stamp.iterfind(f"{XADES}EncapsulatedTimeStamp"):
            read = cms.ContentInfo.load(base64.b64decode(text_of(token)), strict=True)
            imprint = read["content"]["encap_content_info"]["content"].parsed["message_imprint"]
            name = imprint["hash_algorithm"]["algorithm"].native
            if digest_of(data)(name) != imprint["hashed_message"].native:
                return True
    return False


def _included(
    stamp: etree._Element, rows: Sequence[tuple[etree._Element, bytes]]
) -> Iterator[tuple[etree._Element, bytes]]:
    """The references that it includes, in its order."""
    for include in stamp.iterfind(f"{XADES}Include"):
        yield from (row for row in rows if f"#{row[0].get('Id')}" == include.get("URI"))


def _is_definite(reference: etree._Element, stamp: etree._Element) -> bool:
    """Whether what it comes to is bytes, or is written for the timestamp as for the digest."""
    names = transforms_of(reference)
    if any("c14n" in each for each in names) or BASE64 in names or uri_of(reference)[:1] not in ("", "#"):
        return True
    method = stamp.find(f"{DS}CanonicalizationMethod")
    return method is None or method.get("Algorithm") == _C14N
