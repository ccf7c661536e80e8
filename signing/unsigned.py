"""What stands in an XML signature without being signed: keys, proofs, their names, and nothing else to read.

A browser shows, or runs, whatever element it knows wherever it stands: « Prix : 1 euro » over the whole page.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property

from asn1crypto import x509
from cryptography import x509 as pyca
from cryptography.exceptions import InvalidSignature
from lxml import etree

from signing.covering import by_id
from signing.once import same_name
from signing.signers import BROKEN
from signing.xml import DS, XADES, XADES_141, XmlRefused
from signing.xmldsig import decoded, uri_of

_DSIG11 = "{http://www.w3.org/2009/xmldsig11#}"
_MORE = "{http://www.w3.org/2001/04/xmldsig-more#}"  # RFC 4050, as was written before XMLDSig 1.1
_PREFIXES = "{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces"


def _tags(namespace: str, names: str) -> set[str]:
    return {namespace + name for name in names.split()}


# XMLDSig §4.5, XMLDSig 1.1 §4.5, EN 319 132-1 §5.3 to §5.5: what holds others, and no text.
_HOLDERS = {
    *_tags(DS, "KeyInfo KeyValue RSAKeyValue DSAKeyValue RetrievalMethod X509Data X509IssuerSerial"),
    *_tags(DS, "CanonicalizationMethod DigestMethod Transforms Transform"),
    *_tags(_DSIG11, "ECKeyValue NamedCurve KeyInfoReference"),
    *_tags(XADES, "UnsignedSignatureProperties CounterSignature SignatureTimeStamp SigAndRefsTimeStamp"),
    *_tags(
        XADES, "RefsOnlyTimeStamp ArchiveTimeStamp Include CompleteCertificateRefs CompleteRevocationRefs"
    ),
    *_tags(XADES, "AttributeCertificateRefs AttributeRevocationRefs CertRefs Cert CertDigest IssuerSerial"),
    *_tags(XADES, "CRLRefs CRLRef CRLIdentifier OCSPRefs OCSPRef OCSPIdentifier ResponderID"),
    *_tags(XADES, "DigestAlgAndValue CertificateValues AttrAuthoritiesCertValues RevocationValues"),
    *_tags(XADES, "AttributeRevocationValues CRLValues OCSPValues"),
    *_tags(XADES_141, "TimeStampValidationData ArchiveTimeStamp ArchiveTimeStampV2 SigAndRefsTimeStampV2"),
    *_tags(
        XADES_141, "RefsOnlyTimeStampV2 CompleteCertificateRefsV2 AttributeCertificateRefsV2 CertRefs Cert"
    ),
    *_tags(XADES_141, "RenewedDigests SignaturePolicyStore SPDocSpecification"),
    *_tags(_MORE, "ECDSAKeyValue DomainParameters NamedCurve PublicKey X Y"),
    _PREFIXES,
}
_BASE64 = {
    *_tags(DS, "Modulus Exponent P Q G Y J Seed PgenCounter X509SKI X509Certificate X509CRL DigestValue"),
    *_tags(_DSIG11, "PublicKey DEREncodedKeyValue X509Digest"),
    *_tags(XADES, "EncapsulatedTimeStamp EncapsulatedX509Certificate EncapsulatedCRLValue ByKey"),
    *_tags(XADES, "EncapsulatedOCSPValue EncapsulatedPKIData"),
    *_tags(XADES, "IssuerSerialV2"),
    *_tags(XADES_141, "RecomputedDigestValue SignaturePolicyDocument"),
}
_NAMES = {*_tags(DS, "KeyName X509SubjectName X509IssuerName"), *_tags(XADES, "Issuer ByName")}
_ADDRESSES = {*_tags(XADES_141, "SigPolDocLocalURI"), *_tags(XADES, "Identifier")}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}:[!-~]{1,2000}")
_NUMBERS = {f"{DS}X509SerialNumber", f"{XADES}Number"}
_TIMES = {f"{XADES}IssueTime", f"{XADES}ProducedAt"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?")
_SERIAL = re.compile(r"\d{10,50}")  # of a certificate that is not carried along
_LINE = 40  # characters: shorter lines of base64 could be words
# What precedes « = » in a name, whoever writes it; a value that is not written as a text.
_KEYS = re.compile(
    r"(?:(?:OID\.)?(?:2\.5\.4|1\.2\.840\.113549\.1\.9|0\.9\.2342\.19200300\.100\.1|1\.3\.6\.1\.4\.1\.311\.60\.2\.1)"
    r"[.\d]{0,40}|CN|C|O|OU|L|ST?|SP|STREET|DC|UID|SN|SERIALNUMBER|SURNAME|GN?|GIVENNAME|T|TITLE|E|EMAIL|EMAILADDRESS"
    r"|ORGANIZATIONIDENTIFIER|POSTALCODE|DNQ|DNQUALIFIER|PSEUDONYM|INITIALS|GENERATION|DESCRIPTION|BUSINESSCATEGORY)"
    r"\s{0,3}=(?:\s{0,3}#[0-9a-f]{6,1000}\b)?",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2}[:\s]?){20,64}")  # of a key
# A distinguished name, as many write it: what references to long-term data designate is not always carried.
_DISTINGUISHED = re.compile(
    r"/?\s{0,3}[\w.\- ]{1,60}=[^=<>]{0,300}(?:[,;+/]\s{0,3}[\w.\- ]{1,60}=[^=<>]{0,300}){0,20}"
)
_REFERENCES = {
    f"{namespace}{name}"
    for namespace in (XADES, XADES_141)
    for name in (
        *("CompleteCertificateRefs", "CompleteRevocationRefs", "CompleteCertificateRefsV2"),
        *("AttributeCertificateRefs", "AttributeRevocationRefs", "AttributeCertificateRefsV2"),
    )
}
_DRAWN = ("{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}")  # by a browser, where they stand
_MAX_ABOVE = 8
_NO = (*BROKEN, InvalidSignature)


def stray(
    root: etree._Element,
    signature: etree._Element,
    references: Sequence[etree._Element],
    certificate: x509.Certificate,
    carried: Sequence[x509.Certificate],
) -> str:
    """The first thing to read that nothing signs, where it stands; the empty string for none."""
    signed = [by_id(root, uri_of(each)[1:]) for each in references if uri_of(each)[:1] == "#"]
    places = [each for each in signature.iterfind(f"{DS}KeyInfo") if each not in signed]
    properties = f"{DS}Object/{XADES}QualifyingProperties/{XADES}UnsignedProperties"
    for each in signature.iterfind(properties):
        above = [each, *each.iterancestors()]
        if not any(held in signed for held in above[: above.index(signature)]):
            places += list(each)
    known = _Known(certificate, carried, drawn=_is_drawn(root))
    for node in (node for place in places for node in _nodes(place)):
        if not known.foresees(node):
            is_order = isinstance(node, etree._ProcessingInstruction)
            return "instruction" if is_order else str(etree.QName(node).localname)
    return ""


def _nodes(place: etree._Element) -> Iterator[etree._Element]:
    """Every node but comments; a counter-signature is judged in its own place."""
    if isinstance(place, etree._Comment):
        return
    yield place
    for child in place:
        if not (child.tag == f"{DS}Signature" and place.tag == f"{XADES}CounterSignature"):
            yield from _nodes(child)


class _Known:
    """The names and numbers of a signer's certificate and of those that issued it: no stranger's."""

    def __init__(
        self, certificate: x509.Certificate, carried: Sequence[x509.Certificate], *, drawn: bool
    ) -> None:
        self._drawn, self._certificate, self._carried = drawn, certificate, carried

    @cached_property
    def _every(self) -> list[x509.Certificate]:
        line = _line(self._certificate, self._carried)
        return [*line, *(each for each in self._carried if any(_issued(each, above) for above in line[1:]))]

    @cached_property
    def _serials(self) -> set[int]:
        return {each.serial_number for each in self._every}

    @cached_property
    def _known_words(self) -> set[str]:
        names = (name for each in self._every for name in (each.subject, each.issuer))
        return {word for name in names for word in _words(_said(name))}

    def foresees(self, node: etree._Element) -> bool:
        tag, text = node.tag, "".join([node.text or "", *(each.tail or "" for each in node)]).strip()
        if isinstance(node, etree._ProcessingInstruction):
            return False
        if tag in _HOLDERS:
            return not text
        if any(not isinstance(each, etree._Comment) for each in node):
            return False
        if tag in _BASE64:
            return _is_base64(text)
        if not self._drawn and any(each.tag in _REFERENCES for each in node.iterancestors()):
            # In a document that nobody draws, the name and the number of an authority are only that.
            if tag in _NAMES and _DISTINGUISHED.fullmatch(text):
                return True
            if tag in _NUMBERS and text.isdecimal():
                return True
        if tag in _NAMES:
            return self._is_name(text) or (tag == f"{DS}KeyName" and bool(_HEXADECIMAL.fullmatch(text)))
        if tag in _NUMBERS:
            return text.isdecimal() and (int(text) in self._serials or bool(_SERIAL.fullmatch(text)))
        if tag in _ADDRESSES:
            return not self._drawn and bool(_ADDRESS.fullmatch(text))
        return tag in _TIMES and bool(_TIME.fullmatch(text))

    def _is_name(self, text: str) -> bool:
        plain = _ESCAPED.sub(
            lambda found: bytes.fromhex(found[0].replace("\\", "")).decode(errors="replace"), text
        )
        return _words(_KEYS.sub(" ", plain)) <= self._known_words


def _is_drawn(root: etree._Element) -> bool:
    """Whether a browser draws this document: one of pages or pictures, or with a style sheet."""
    around = [*root.itersiblings(preceding=True), *root.itersiblings()]
    if any(isinstance(each, etree._ProcessingInstruction) for each in around):
        return True
    return any(str(each.tag).startswith(_DRAWN) for each in root.iter(etree.Element))


def _is_base64(text: str) -> bool:
    """Whether it is base64 in lines that a program cut, not words."""
    lines = text.split()
    try:
        decoded(text.encode())
    except (XmlRefused, ValueError):
        return False
    return len(lines) < 2 or (len(lines[0]) >= _LINE and len({len(each) for each in lines[:-1]}) == 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _said(name: x509.Name) -> str:
    return " ".join(str(each["value"].native) for row in name.chosen for each in row)


def _line(certificate: x509.Certificate, carried: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The certificate and those above it that are carried along: each really issued the one below."""
    line = [certificate]
    while len(line) < _MAX_ABOVE and not same_name(line[-1].subject, line[-1].issuer):
        above = next((each for each in carried if _issued(line[-1], each)), None)
        if above is None:
            break
        line.append(above)
    return line


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        if not same_name(below.issuer, above.subject):
            return False
        issuer = pyca.load_der_x509_certificate(above.dump())
        pyca.load_der_x509_certificate(below.dump()).verify_directly_issued_by(issuer)
    except _NO:
        return False
    return True
