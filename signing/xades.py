"""XAdES and plain XML signatures (ETSI EN 319 132-1): enveloped, enveloping or detached; B and T.

Only what a reference designates is signed: coverage is computed from the elements that the verified
references resolve to, never from where the signature stands.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from urllib.parse import unquote

from asn1crypto import cms, crl, ocsp, x509
from cryptography import x509 as pyca
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.verifier import VerifyResult

from signing.algorithms import KNOWN_HASHES, hash_weakness, key_weakness
from signing.contents import Content, only_one
from signing.found import (
    PARTIAL,
    UNCLEAR,
    WHOLE,
    Found,
    Problem,
    Stamped,
    malformed,
    no_content,
)
from signing.report import INDETERMINATE
from signing.signers import BROKEN
from signing.xml import ASIC, DS, XADES, XADES_141, XmlRefused, parse, text_of
from signing.xmldsig import MAX_REFERENCES, alone, transforms_of, verify

MAX_SIGNATURES = 50
_MAX_VALUES = 200  # lists and responses carried along
_CONTENT_LIMIT = 128 * 1024**2  # bytes of a detached content
_NAMESPACE = DS[1:-1]
_PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_MANIFEST_TYPE = "http://www.w3.org/2000/09/xmldsig#Manifest"
_IDS = frozenset({"Id", "ID", "id"})  # in any namespace: what signxml itself looks for
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
ARCHIVED = (
    "Signature à archivage (niveau LTA) : ses horodatages d'archive ne sont pas recalculés ici, et le reste "
    "ne suffit pas à conclure."
)


def read_xades(data: bytes, contents: Sequence[Content], *, container: bool = False) -> list[Found]:
    """Every signature of an XML; none for one without signature. `container`: inside an ASiC."""
    try:
        root = parse(data)
    except XmlRefused as refused:
        # Without a signature in it, a file that is not read has nothing to be judged.
        if not any(_NAMESPACE.encode(each) in data for each in ("utf-8", "utf-16-le", "utf-16-be")):
            return []
        return [Found("XML", problem=malformed(str(refused)), coverage=UNCLEAR)]
    signatures = list(root.iter(f"{DS}Signature"))
    if len(signatures) > MAX_SIGNATURES:
        return [Found("XML", problem=malformed(f"Plus de {MAX_SIGNATURES} signatures."), coverage=UNCLEAR)]
    repeated = _repeated_ids(root)
    found = []
    for rank, signature in enumerate(signatures):
        one = _read(root, rank, signature, contents, container=container)
        if repeated and one.problem is None:
            one.problem = malformed("Un identifiant est répété : la signature peut désigner deux éléments.")
        found.append(one)
    return found


def _repeated_ids(root: etree._Element) -> bool:
    seen: set[str] = set()
    for element in root.iter(etree.Element):
        for value in _ids(element):
            if value in seen:
                return True
            seen.add(value)
    return False


def _ids(element: etree._Element) -> set[str]:
    return {str(value) for name, value in element.attrib.items() if etree.QName(name).localname in _IDS}


def _read(
    root: etree._Element,
    rank: int,
    signature: etree._Element,
    contents: Sequence[Content],
    *,
    container: bool,
) -> Found:
    found = Found("XMLDSig", coverage=UNCLEAR)
    if signature.find(f"{DS}Object/{XADES}QualifyingProperties") is not None:
        found.format = "XAdES"
    try:
        found.others = _carried(signature)
        found.certificate = _chosen(signature, found.others)
        if found.certificate is None:
            found.problem = Problem(
                INDETERMINATE,
                "NO_SIGNING_CERTIFICATE_FOUND",
                "Le certificat du signataire n'est pas joint, ou n'est pas celui que la signature désigne.",
            )
            return found
        references = list(signature.iterfind(f"{DS}SignedInfo/{DS}Reference"))
        found.digest, found.weak = _algorithms(signature, references, found.certificate)
        if len(references) > MAX_REFERENCES:
            found.problem = malformed(f"Plus de {MAX_REFERENCES} références.")
            return found
        names = _external(references, contents, container=container)
        if isinstance(names, Problem):
            found.problem = names
            return found
        certificate = pyca.load_der_x509_certificate(found.certificate.dump())
        results = verify(root, rank, certificate, _resolver(names))
        if isinstance(results, Problem):
            found.problem = results
            return found
        _read_properties(found, signature, references, results)
        found.coverage, found.covers, found.role = _coverage(root, signature, references, names)
        _read_unsigned(found, signature)
        comments = list(root.iter(etree.Comment))
        if any(_splits(each) for each in comments):
            # « 1<!-- -->2000 »: one reader sees 12000, another one 1.
            found.coverage = PARTIAL
        if comments:
            found.warnings.append("La signature ne couvre pas toujours les commentaires de ce document XML.")
    except XmlRefused as refused:
        found.problem = malformed(str(refused))
    except (etree.LxmlError, binascii.Error, *BROKEN) as broken:
        found.problem = malformed(f"Signature XML illisible ({type(broken).__name__}).")
    return found


def _carried(signature: etree._Element) -> list[x509.Certificate]:
    rows = list(signature.iterfind(f"{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate"))
    unsigned = signature.iterfind(f"{DS}Object/{XADES}QualifyingProperties/{XADES}UnsignedProperties")
    for properties in unsigned:
        rows += list(properties.iter(f"{XADES}EncapsulatedX509Certificate"))
    return [x509.Certificate.load(base64.b64decode(text_of(row)), strict=True) for row in rows[:100]]


def _chosen(signature: etree._Element, carried: list[x509.Certificate]) -> x509.Certificate | None:
    """The certificate of the digest that the properties give (verified later), or the only one."""
    for properties in signature.iterfind(f"{DS}Object/{XADES}QualifyingProperties/{XADES}SignedProperties"):
        named = [each for each in carried if _is_named(properties, each)]
        if _digests(properties):
            return named[0] if named else None
    # Nothing designates it: the one that issued none of the others.
    issuers = {each.issuer.hashable for each in carried if each.issuer != each.subject}
    leaves = [each for each in carried if each.subject.hashable not in issuers]
    return leaves[0] if leaves else None


def _digests(properties: etree._Element) -> list[tuple[str, bytes]]:
    """(hash name, digest) of the signing certificate: the first of each list."""
    found = []
    for kind in ("SigningCertificate", "SigningCertificateV2"):
        path = f"{XADES}SignedSignatureProperties/{XADES}{kind}/{XADES}Cert/{XADES}CertDigest"
        node = properties.find(path)
        if node is not None:
            method = node.find(f"{DS}DigestMethod")
            uri = method.get("Algorithm") if method is not None else None
            found.append((hash_name(str(uri)), base64.b64decode(text_of(node.find(f"{DS}DigestValue")))))
    return found


def _is_named(properties: etree._Element, certificate: x509.Certificate) -> bool:
    digests = _digests(properties)
    der = certificate.dump()
    return bool(digests) and all(
        hashlib.new(name, der, usedforsecurity=False).digest() == value for name, value in digests
    )


def hash_name(uri: str) -> str:
    """hashlib's name of an XML digest algorithm. Raises ValueError for an unknown one."""
    if uri == "http://www.w3.org/2001/04/xmldsig-more#md5":
        return "md5"
    return DigestAlgorithm(uri).name.lower()


def _algorithms(
    signature: etree._Element, references: Sequence[etree._Element], certificate: x509.Certificate
) -> tuple[str, str]:
    method = signature.find(f"{DS}SignedInfo/{DS}SignatureMethod")
    name = SignatureMethod(method.get("Algorithm") if method is not None else "").name.lower()
    known = sorted(KNOWN_HASHES | {"sha1"}, key=len, reverse=True)
    signed = next((each for each in known if each in name), name)
    hashes = {signed}
    for reference in references:
        node = reference.find(f"{DS}DigestMethod")
        hashes.add(hash_name(str(node.get("Algorithm") if node is not None else "")))
    weak = [*map(hash_weakness, sorted(hashes)), key_weakness(certificate.public_key)]
    return signed, ", ".join(filter(None, weak))


def _external(
    references: Sequence[etree._Element], contents: Sequence[Content], *, container: bool
) -> dict[str, Content] | Problem:
    """The file that each outside reference is about: by its digest, else by its name."""
    found: dict[str, Content] = {}
    for reference in references:
        uri = reference.get("URI")
        if uri is None:
            return malformed("Une référence ne dit pas ce qu'elle signe.")
        if uri == "" or uri.startswith("#"):
            continue
        name = unquote(uri)
        if container:
            chosen = next((each for each in contents if each.name == name), None)
        else:
            chosen = _by_digest(reference, contents) or _by_name(name, contents)
        if chosen is None:
            return no_content(f"Le document signé « {name[:200]} » n'est pas parmi les fichiers fournis.")
        found[uri] = chosen
    return found


def _by_digest(reference: etree._Element, contents: Sequence[Content]) -> Content | None:
    node = reference.find(f"{DS}DigestMethod")
    name = hash_name(str(node.get("Algorithm") if node is not None else ""))
    wanted = base64.b64decode(text_of(reference.find(f"{DS}DigestValue")))
    return next((each for each in contents if each.digest(name) == wanted), None)


def _by_name(name: str, contents: Sequence[Content]) -> Content | None:
    base = name.rsplit("/", 1)[-1]
    same = [each for each in contents if each.name.rsplit("/", 1)[-1] == base]
    if len(same) == 1:
        return same[0]
    return only_one(contents)


class _resolver:
    """What an outside URI designates: a file at hand, never the network."""

    def __init__(self, names: dict[str, Content]) -> None:
        self._names = names

    def __call__(self, uri: str) -> bytes | None:
        content = self._names.get(uri)
        return None if content is None else content.read(_CONTENT_LIMIT)


def _read_properties(
    found: Found,
    signature: etree._Element,
    references: Sequence[etree._Element],
    results: Sequence[VerifyResult],
) -> None:
    """From the signed bytes alone: the certificate that is named and the time that is claimed."""
    there = signature.find(f"{DS}Object/{XADES}QualifyingProperties")
    for reference, result in zip(references, results, strict=True):
        properties = result.signed_xml
        if properties is None or properties.tag != f"{XADES}SignedProperties":
            continue
        if reference.get("Type") != _PROPERTIES_TYPE or there is None:
            continue
        if there.get("Target") not in (f"#{signature.get('Id')}", None, ""):
            found.problem = malformed("Les propriétés signées sont celles d'une autre signature.")
            return
        if found.certificate is None or not _is_named(properties, found.certificate):
            found.problem = Problem(
                INDETERMINATE,
                "NO_SIGNING_CERTIFICATE_FOUND",
                "Le certificat joint n'est pas celui que la signature désigne.",
            )
            return
        found.baseline = True
        found.signing_time = text_of(properties.find(f"{XADES}SignedSignatureProperties/{XADES}SigningTime"))
        return
    if there is not None:
        found.problem = malformed("Les propriétés XAdES ne sont pas signées.")


def _coverage(
    root: etree._Element,
    signature: etree._Element,
    references: Sequence[etree._Element],
    names: dict[str, Content],
) -> tuple[str, tuple[str, ...], str]:
    """(coverage, names, role) from what the references designate in the document itself."""
    covers: list[str] = []
    covered: list[etree._Element] = []
    counter = False
    for reference in references:
        uri = str(reference.get("URI"))
        if reference.get("Type") == _MANIFEST_TYPE:
            return UNCLEAR, (), "signature"
        transforms_of(reference)
        if uri in names:
            covers.append(names[uri].name)
            continue
        target = root if uri == "" else _by_id(root, uri[1:])
        if target is None:
            return UNCLEAR, (), "signature"
        parent = target.getparent()
        if target.tag == f"{DS}SignatureValue" and parent is not None and parent.tag == f"{DS}Signature":
            counter = True  # that other signature is judged too, in its own place
            continue
        covered.append(target)
    around = [*root.itersiblings(preceding=True), *root.itersiblings()]
    if any(not isinstance(each, etree._Comment) for each in around):
        # A style sheet asked for outside the root changes what is seen and is not signed.
        return PARTIAL, tuple(covers), "signature"
    own = [each for each in signature.iterfind(f"{DS}Object") if not _qualifies(each)]
    all_own = all(each in covered or (_only(each) and each[0] in covered) for each in own)
    if counter:
        return WHOLE if all_own else PARTIAL, ("la signature précédente", *covers), "counter-signature"
    if root in covered and root is not signature:
        return WHOLE if all_own else PARTIAL, ("tout le document XML", *covers), "signature"
    if (root is signature or _holds_signatures_alone(root)) and all_own and (own or covers):
        return WHOLE, (*(["contenu joint à la signature"] if own else []), *covers), "signature"
    return PARTIAL, tuple(covers), "signature"


def _qualifies(held: etree._Element) -> bool:
    """Whether an object holds the properties of a signature and nothing that those do not foresee."""
    if not _only(held, f"{XADES}QualifyingProperties"):
        return False
    unsigned = f"{XADES}UnsignedProperties"
    known = {f"{XADES}SignedProperties", unsigned}
    foreseen = {f"{XADES}UnsignedSignatureProperties", f"{XADES}UnsignedDataObjectProperties"}
    return {each.tag for each in held[0].iterchildren(etree.Element)} <= known and all(
        {each.tag for each in row.iterchildren(etree.Element)} <= foreseen
        for row in held[0].iterfind(unsigned)
    )


def _holds_signatures_alone(root: etree._Element) -> bool:
    """ASiC's wrapper of signatures, with nothing else that a reader may see."""
    around = (root.text or "") + "".join(each.tail or "" for each in root)
    signatures = all(each.tag == f"{DS}Signature" or isinstance(each, etree._Comment) for each in root)
    return root.tag == f"{ASIC}XAdESSignatures" and signatures and not around.strip()


def _splits(comment: etree._Element) -> bool:
    """Whether a comment stands between two pieces of one text."""
    before, parent = comment.getprevious(), comment.getparent()
    said = before.tail if before is not None else parent.text if parent is not None else ""
    return bool((said or "").strip() and (comment.tail or "").strip())


def _only(element: etree._Element, tag: str = "") -> bool:
    """Whether it holds one element (of this tag) and nothing else."""
    around = (element.text or "") + "".join(each.tail or "" for each in element)
    return len(element) == 1 and not around.strip() and (not tag or element[0].tag == tag)


def _by_id(root: etree._Element, value: str) -> etree._Element | None:
    return next((each for each in root.iter(etree.Element) if value in _ids(each)), None)


def _read_unsigned(found: Found, signature: etree._Element) -> None:
    qualifying = signature.find(f"{DS}Object/{XADES}QualifyingProperties")
    if qualifying is None:
        return
    unsigned = qualifying.find(f"{XADES}UnsignedProperties/{XADES}UnsignedSignatureProperties")
    value = signature.find(f"{DS}SignatureValue")
    if unsigned is None or value is None:
        return
    for stamp in unsigned.iterfind(f"{XADES}SignatureTimeStamp"):
        data = _canonical(value, stamp.find(f"{DS}CanonicalizationMethod"))
        for token in stamp.iterfind(f"{XADES}EncapsulatedTimeStamp"):
            der = base64.b64decode(text_of(token))
            found.stamps.append(Stamped(cms.ContentInfo.load(der, strict=True), data))
    for row in list(unsigned.iter(f"{XADES}EncapsulatedCRLValue"))[:_MAX_VALUES]:
        found.crls.append(crl.CertificateList.load(base64.b64decode(text_of(row)), strict=True))
    for row in list(unsigned.iter(f"{XADES}EncapsulatedOCSPValue"))[:_MAX_VALUES]:
        found.ocsps.append(ocsp.OCSPResponse.load(base64.b64decode(text_of(row)), strict=True))
    if any(each.tag in (f"{XADES}ArchiveTimeStamp", f"{XADES_141}ArchiveTimeStamp") for each in unsigned):
        found.archived = ARCHIVED


def _canonical(element: etree._Element, method: etree._Element | None) -> bytes:
    uri = _C14N if method is None else str(method.get("Algorithm"))
    return etree.tostring(
        alone(element),
        method="c14n",
        exclusive="xml-exc-c14n" in uri,
        with_comments=uri.endswith("#WithComments"),
    )
