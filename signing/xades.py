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
from signing.contents import Content, named_like, only_one
from signing.covering import Covered, by_id, coverage, ids_of, manifests, own_properties, splits
from signing.found import (
    PARTIAL,
    UNCLEAR,
    Found,
    Problem,
    Stamped,
    malformed,
    no_content,
)
from signing.report import INDETERMINATE
from signing.signers import BROKEN
from signing.xml import DS, XADES, XADES_141, XmlRefused, parse, text_of
from signing.xmldsig import MAX_REFERENCES, alone, decoded, inheriting, transforms_of, verify

MAX_SIGNATURES = 50
_MAX_LEAVES = 5
_MAX_VALUES = 200  # lists and responses carried along
_CONTENT_LIMIT = 128 * 1024**2  # bytes of a detached content
_NAMESPACE = DS[1:-1]
_PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
ARCHIVED = (
    "Signature à archivage (niveau LTA) : ses horodatages d'archive ne sont pas recalculés ici, et le reste "
    "ne suffit pas à conclure."
)


def read_xades(
    data: bytes, contents: Sequence[Content], *, name: str = "", container: bool = False
) -> list[Found]:
    """Every signature of an XML of this name; none for one without signature. `container`: inside an ASiC."""
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
        one = _read(root, rank, signature, contents, name=name, container=container)
        if one.problem is None and repeated & _designated(signature):
            one.problem = malformed("Un identifiant est répété : la signature peut désigner deux éléments.")
        found.append(one)
    return found


def _repeated_ids(root: etree._Element) -> set[str]:
    seen: set[str] = set()
    repeated: set[str] = set()
    for element in root.iter(etree.Element):
        for value in ids_of(element):
            (repeated if value in seen else seen).add(value)
    return repeated


def _designated(signature: etree._Element) -> set[str]:
    """The identifiers that a signature refers to, and those that it bears."""
    borne = {value for element in signature.iter(etree.Element) for value in ids_of(element)}
    return borne | {str(each.get("URI"))[1:] for each in signature.iter(f"{DS}Reference")}


def _read(
    root: etree._Element,
    rank: int,
    signature: etree._Element,
    contents: Sequence[Content],
    *,
    name: str,
    container: bool,
) -> Found:
    found = Found("XMLDSig", coverage=UNCLEAR)
    if signature.find(f"{DS}Object/{XADES}QualifyingProperties") is not None:
        found.format = "XAdES"
    try:
        found.others = _carried(signature)
        candidates = _chosen(signature, found.others)
        found.certificate = candidates[0] if candidates else None
        if found.certificate is None:
            found.problem = Problem(
                INDETERMINATE,
                "NO_SIGNING_CERTIFICATE_FOUND",
                "Le certificat du signataire n'est pas joint, ou n'est pas celui que la signature désigne.",
            )
            return found
        references = list(signature.iterfind(f"{DS}SignedInfo/{DS}Reference"))
        listed = [each for held in manifests(root, references) for each in held.iterfind(f"{DS}Reference")]
        if len(references) + len(listed) > MAX_REFERENCES:
            found.problem = malformed(f"Plus de {MAX_REFERENCES} références.")
            return found
        names = _external([*references, *listed], contents, container=container)
        if isinstance(names, Problem):
            found.problem = names
            return found
        for certificate in candidates:
            found.certificate = certificate
            given = pyca.load_der_x509_certificate(certificate.dump())
            results = verify(root, rank, given, _resolver(names), listed)
            if not isinstance(results, Problem):
                break
        found.digest, found.weak = _algorithms(signature, [*references, *listed], found.certificate)
        if isinstance(results, Problem):
            found.problem = results
            return found
        _read_properties(found, root, signature, references, results)
        known = {uri: content.name for uri, content in names.items()}
        said = coverage(root, signature, [*references, *listed], known)
        found.coverage, found.covers, found.role = said.extent, said.names, said.role
        found.warnings += said.warnings
        if found.problem is None and not container:
            found.problem = _other_file(said, signature, results, list(names.values()), contents, name)
        _read_unsigned(found, signature)
        comments = list(root.iter(etree.Comment))
        if any(splits(each) for each in comments) or any(
            map(_is_split, _canonicalised([*references, *listed], names))
        ):
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


def _chosen(signature: etree._Element, carried: list[x509.Certificate]) -> list[x509.Certificate]:
    """The certificate of the digest that the properties give (verified later), or those it may be."""
    for properties in signature.iterfind(f"{DS}Object/{XADES}QualifyingProperties/{XADES}SignedProperties"):
        named = [each for each in carried if _is_named(properties, each)]
        if _digests(properties):
            return named[:1]
    # Nothing designates it: those that issued none of the others.
    issuers = {each.issuer.hashable for each in carried if each.issuer != each.subject}
    leaves = [each for each in carried if each.subject.hashable not in issuers]
    return leaves[:_MAX_LEAVES]


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
    weak = [hash_weakness(signed), *_weak_digests(references), key_weakness(certificate.public_key)]
    return signed, ", ".join(dict.fromkeys(filter(None, weak)))


def _weak_digests(references: Sequence[etree._Element]) -> list[str]:
    nodes = [reference.find(f"{DS}DigestMethod") for reference in references]
    names = {hash_name(str(node.get("Algorithm") if node is not None else "")) for node in nodes}
    return [hash_weakness(each) for each in sorted(names)]


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


def _canonicalised(references: Sequence[etree._Element], names: dict[str, Content]) -> list[Content]:
    """The files signed as XML, not byte for byte."""
    return [
        names[uri]
        for each in references
        if (uri := str(each.get("URI"))) in names and any("c14n" in name for name in transforms_of(each))
    ]


def _is_split(content: Content) -> bool:
    """Whether a comment stands in the middle of a text of a signed file, if it is XML."""
    try:
        root = parse(content.read(_CONTENT_LIMIT))
    except (XmlRefused, ValueError, OSError):
        return False
    return any(splits(each) for each in root.iter(etree.Comment))


def _other_file(
    said: Covered,
    signature: etree._Element,
    results: Sequence[VerifyResult],
    covered: Sequence[Content],
    contents: Sequence[Content],
    name: str,
) -> Problem | None:
    """A file given as what is signed, and that is not: it must be said."""
    given = only_one(contents) or named_like(name, contents)
    if given is None or given in covered:
        return None
    wanted = given.digest("sha256")
    held = [result.signed_data for result in results]
    for each in signature.iterfind(f"{DS}Object"):
        try:
            held.append(decoded((each.text or "").encode()))
        except XmlRefused:
            continue
    try:
        root = parse(given.read(_CONTENT_LIMIT))
        own = {_digest(etree.tostring(root, method="c14n", exclusive=each)) for each in (False, True)}
    except (XmlRefused, ValueError):
        own = set()
    if {wanted, *own} & {_digest(each) for each in held}:
        return None
    return no_content("Le fichier fourni à côté n'est pas celui que cette signature signe.")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _read_properties(
    found: Found,
    root: etree._Element,
    signature: etree._Element,
    references: Sequence[etree._Element],
    results: Sequence[VerifyResult],
) -> None:
    """From the signed bytes alone: the certificate that is named and the time that is claimed."""
    there = own_properties(signature)
    if not there:
        return
    signed = [
        (by_id(root, str(reference.get("URI"))[1:]), result.signed_xml)
        for reference, result in zip(references, results, strict=True)
        if reference.get("Type") == _PROPERTIES_TYPE
    ]
    if not signed:
        found.problem = malformed("Les propriétés XAdES ne sont pas signées.")
        return
    (target, properties), held = signed[0], there[0].find(f"{XADES}SignedProperties")
    if len(there) != 1 or len(signed) != 1 or target is None or target is not held or properties is None:
        # Two sets of properties, or some that stand elsewhere: another reader would show the false ones.
        found.problem = malformed("Les propriétés signées ne sont pas, seules, à leur place.")
        return
    if there[0].get("Target") not in (f"#{signature.get('Id')}", None, ""):
        found.warnings.append("Les propriétés signées disent être celles d'une autre signature.")
    if found.certificate is None or not _is_named(properties, found.certificate):
        found.problem = Problem(
            INDETERMINATE,
            "NO_SIGNING_CERTIFICATE_FOUND",
            "Le certificat joint n'est pas celui que la signature désigne.",
        )
        return
    found.baseline = True
    found.signing_time = text_of(properties.find(f"{XADES}SignedSignatureProperties/{XADES}SigningTime"))


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
        inheriting(alone(element), element, uri),
        method="c14n",
        exclusive="xml-exc-c14n" in uri,
        with_comments=uri.endswith("#WithComments"),
    )
