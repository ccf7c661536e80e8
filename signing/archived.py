"""Archive timestamps of CAdES (ETSI EN 319 122-1 §5.5.3) and XAdES (EN 319 132-1 §5.5.2.2).

Each is over the content, the signature and what was added to it before: a proof of existence for all of it.
Those of former versions (archive-time-stamp v1 and v2, XAdES 1.3.2, distributed ones) are not computed again.
"""

from collections.abc import Callable, Sequence

from asn1crypto import algos, cms, core, parser
from lxml import etree

from signing.found import Stamped
from signing.signers import digest_of
from signing.xml import DS, XADES, XADES_141

FORMER = (
    "Signature à archivage (niveau LTA) : ses horodatages d'archive sont d'une forme qui n'est pas "
    "recalculée ici, et le reste ne suffit pas à conclure."
)
DIFFERENT = (
    "Un horodatage d'archive de cette signature ne correspond pas à ce qu'elle porte : des éléments ont "
    "changé depuis, ou il a été calculé autrement."
)
_MAX_INDEXED = 2000
_HASH_INDEX = "0.4.0.19122.1.5"  # ats-hash-index-v3
_UNSIGNED = (2, 1)  # context class, number: the unsigned attributes of a SignerInfo


class Different(ValueError):
    """An archive timestamp is over something else than what is there."""


class _Digests(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.OctetString


class _HashIndex(core.Sequence):  # type: ignore[misc]
    """ATSHashIndexV3 (EN 319 122-1 annex D)."""

    _fields = [
        ("algorithm", algos.DigestAlgorithm),
        ("certificates", _Digests),
        ("revocation", _Digests),
        ("attributes", _Digests),
    ]


def cms_archive(
    token: cms.ContentInfo,
    signed: cms.SignedData,
    signer: bytes,
    content_type: bytes,
    digest: Callable[[str], bytes],
) -> Stamped:
    """The stamp, with the bytes that it must be the digest of.

    `signer` and `content_type` are as received (DER or BER); `digest` gives that of the signed content.
    Raises Different for one whose list names what is not there, and as what cannot be read does.
    """
    info = token["content"]["encap_content_info"]["content"].parsed
    imprint = str(info["message_imprint"]["hash_algorithm"]["algorithm"].native)
    fields, attributes = _split(signer)
    index = _index_of(token)
    _check(_HashIndex.load(index, strict=True), signed, attributes)
    return Stamped(token, content_type + digest(imprint) + fields + index, of="archive")


def _split(signer: bytes) -> tuple[bytes, list[bytes]]:
    """The fields of a SignerInfo up to its signature, and its unsigned attributes (type, then value)."""
    fields, attributes = b"", []
    for kind, number, whole, content in _children(signer):
        if (kind, number) != _UNSIGNED:
            fields += whole
            continue
        for attribute in _elements(content):
            (_, _, oid, _), (_, _, _, values) = _children(attribute)
            attributes += [oid + value for value in _elements(values)]
            if len(attributes) > _MAX_INDEXED:
                raise ValueError("too many unsigned attributes")
    return fields, attributes


def _children(whole: bytes) -> list[tuple[int, int, bytes, bytes]]:
    """(class, number, whole, content) of each element of a constructed one."""
    _, _, _, _, content, _ = parser.parse(whole, strict=True)
    found = []
    for each in _elements(content):
        kind, _, number, _, inner, _ = parser.parse(each, strict=True)
        found.append((kind, number, each, inner))
    return found


def _elements(content: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(content):
        _, _, _, header, inner, trailer = parser.parse(content[position:])
        size = len(header) + len(inner) + len(trailer)
        found.append(content[position : position + size])
        position += size
    return found


def _index_of(token: cms.ContentInfo) -> bytes:
    (signer,) = token["content"]["signer_infos"]
    for attribute in signer["unsigned_attrs"]:
        if attribute["type"].dotted == _HASH_INDEX:
            (value,) = attribute["values"]
            return bytes(value.dump())
    raise ValueError("no index")


def _check(index: _HashIndex, signed: cms.SignedData, attributes: Sequence[bytes]) -> None:
    """Each digest of the list is that of something there (§5.5.2). Raises Different."""
    name = str(index["algorithm"]["algorithm"].native)

    def rows(field: str) -> list[bytes]:
        held = signed[field]
        return [] if isinstance(held, core.Void) else [bytes(each.dump()) for each in held]

    there = {"certificates": rows("certificates"), "revocation": rows("crls"), "attributes": attributes}
    for field, values in there.items():
        if len(values) > _MAX_INDEXED or len(index[field]) > _MAX_INDEXED:
            raise ValueError("too many values")
        known = {digest_of(each)(name) for each in values}
        if any(each.native not in known for each in index[field]):
            raise Different(field)


def xml_archive(
    stamp: etree._Element,
    signature: etree._Element,
    signed: Sequence[bytes],
    canonical: Callable[[etree._Element], bytes],
) -> bytes:
    """The bytes that an archive timestamp of XAdES 1.4.1 is over.

    `signed` are what each reference of SignedInfo comes to; `canonical` writes an element where it stands.
    """
    parts = [signature.find(f"{DS}{name}") for name in ("SignedInfo", "SignatureValue", "KeyInfo")]
    for each in stamp.itersiblings(preceding=True, tag=etree.Element):
        parts.insert(3, each)
    qualifying = f"{XADES}QualifyingProperties"
    parts += [each for each in signature.iterfind(f"{DS}Object") if each.find(qualifying) is None]
    return b"".join(signed) + b"".join(canonical(each) for each in parts if each is not None)


def is_computed(stamp: etree._Element) -> bool:
    """Whether an archive timestamp of XML is of the form that is computed again here."""
    kinds = {each.tag for each in stamp.iterchildren(tag=etree.Element)} - {f"{DS}CanonicalizationMethod"}
    return stamp.tag == f"{XADES_141}ArchiveTimeStamp" and kinds == {f"{XADES}EncapsulatedTimeStamp"}
