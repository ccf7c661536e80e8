"""XAdES and plain XML signatures (ETSI EN 319 132-1): enveloped, enveloping or detached; B and T.

Only what a reference designates is signed: coverage is computed from the elements that the verified
references resolve to, never from where the signature stands.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence

from asn1crypto import cms, crl, ocsp, x509
from cryptography import x509 as pyca
from lxml import etree
from signxml.algorithms import SignatureMethod
from signxml.verifier import VerifyResult

from signing.algorithms import KNOWN_HASHES, WEAK_HASHES, hash_weakness, key_weakness
from signing.archived import DIFFERENT, FORMER, is_computed, xml_archive
from signing.beside import canonicalised, external, other_file, renamed
from signing.content_stamps import is_of_other_content
from signing.contents import Content
from signing.covering import by_id, coverage, cuts, ids_of, manifests, own_properties
from signing.found import (
    PARTIAL,
    UNCLEAR,
    WHOLE,
    Found,
    Problem,
    Stamped,
    malformed,
    stamped_elsewhere,
)
from signing.readings import CONTENT_LIMIT, depends_on_prefixes, hides, is_other_hypertext
from signing.report import INDETERMINATE
from signing.signers import BROKEN, digest_of
from signing.unsigned import stray
from signing.xml import DS, XADES, XADES_141, XmlRefused, hash_name, parse, text_of
from signing.xmldsig import MAX_REFERENCES, UnknownTransform, alone, decoded, inheriting, uri_of, verify

MAX_SIGNATURES = 50
_MAX_LEAVES = 5
_MAX_VALUES = 200  # lists and responses carried along
_NAMESPACE = DS[1:-1]
_PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"


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
    hypertext = is_other_hypertext(data, root, name)
    found = []
    for rank, signature in enumerate(signatures):
        one = _read(root, rank, signature, contents, name=name, container=container)
        if one.problem is None and repeated & _designated(root, signature):
            one.problem = malformed("Un identifiant est répété : la signature peut désigner deux éléments.")
        if hypertext and one.coverage == WHOLE:
            one.coverage = PARTIAL
            one.warnings.append(
                "Un navigateur lirait ce document comme du HTML, autrement qu'il n'est signé."
            )
        found.append(one)
    return found


def _repeated_ids(root: etree._Element) -> set[str]:
    seen: set[str] = set()
    repeated: set[str] = set()
    for element in root.iter(etree.Element):
        for value in ids_of(element):
            (repeated if value in seen else seen).add(value)
    return repeated


def _designated(root: etree._Element, signature: etree._Element) -> set[str]:
    """The identifiers that signatures and manifests refer to, and those that this one bears."""
    borne = {value for element in signature.iter(etree.Element) for value in ids_of(element)}
    return borne | {uri_of(each)[1:] for each in root.iter(f"{DS}Reference")}


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
        if manifests(root, listed):
            raise UnknownTransform("manifest")  # a list of lists: what it comes to is not followed
        if len(references) + len(listed) > MAX_REFERENCES:
            found.problem = malformed(f"Plus de {MAX_REFERENCES} références.")
            return found
        names = external([*references, *listed], contents, container=container)
        if isinstance(names, Problem):
            found.problem = names
            return found
        _strict(signature)
        results: list[VerifyResult] | Problem = []
        for certificate in candidates:
            given = pyca.load_der_x509_certificate(certificate.dump())
            results = verify(root, rank, given, _resolver(names), listed)
            if not isinstance(results, Problem) or results.sub != "SIG_CRYPTO_FAILURE":
                found.certificate = certificate
                break
        found.digest, found.weak = _algorithms(signature, [*references, *listed], found.certificate)
        if isinstance(results, Problem):
            found.problem = results
            return found
        _read_properties(found, root, signature, references, results)
        known = {uri: content.name for uri, content in names.items()}
        said = coverage(root, signature, [*references, *listed], known)
        found.coverage, found.covers, found.role = said.extent, said.names, said.role
        found.warnings += renamed(names)
        if found.problem is None and not container:
            found.problem = other_file(said, signature, results, list(names.values()), contents, name)
        _read_unsigned(found, signature, [bytes(each.signed_data) for each in results[: len(references)]])
        beside = stray(
            root, signature, references, found.certificate, [*found.others, *_responders(found.ocsps)]
        )
        if beside:
            found.coverage = PARTIAL
            found.warnings.append(f"La signature porte « {beside[:50]} », que rien ne signe ni n'attend là.")
        every = [*references, *listed]
        if (
            cuts(root)
            or any(map(hides, canonicalised(every, names)))
            or depends_on_prefixes(root, every, names)
        ):
            found.coverage = PARTIAL
        if next(root.iter(etree.Comment), None) is not None:
            found.warnings.append("La signature ne couvre pas toujours les commentaires de ce document XML.")
    except XmlRefused as refused:
        found.problem = malformed(str(refused))
    except UnknownTransform:
        found.problem = malformed(
            "La signature désigne son contenu d'une façon qui n'est pas prise en charge."
        )
    except (etree.LxmlError, binascii.Error, *BROKEN) as broken:
        found.problem = malformed(f"Signature XML illisible ({type(broken).__name__}).")
    return found


def _strict(signature: etree._Element) -> None:
    """Its value and its certificates are base64 that all read alike. Raises XmlRefused."""
    for row in (signature.find(f"{DS}SignatureValue"), *signature.iter(f"{DS}X509Certificate")):
        decoded(("" if row is None else "".join(map(str, row.itertext()))).encode())


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
    return leaves if len(leaves) <= _MAX_LEAVES else []


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


def _algorithms(
    signature: etree._Element, references: Sequence[etree._Element], certificate: x509.Certificate
) -> tuple[str, str]:
    method = signature.find(f"{DS}SignedInfo/{DS}SignatureMethod")
    name = SignatureMethod(method.get("Algorithm") if method is not None else "").name.lower()
    known = sorted(KNOWN_HASHES | WEAK_HASHES, key=len, reverse=True)
    signed = next((each for each in known if each in name), name)
    weak = [hash_weakness(signed), *_weak_digests(references), key_weakness(certificate.public_key)]
    return signed, ", ".join(dict.fromkeys(filter(None, weak)))


def _weak_digests(references: Sequence[etree._Element]) -> list[str]:
    nodes = [reference.find(f"{DS}DigestMethod") for reference in references]
    names = {hash_name(str(node.get("Algorithm") if node is not None else "")) for node in nodes}
    return [hash_weakness(each) for each in sorted(names)]


class _resolver:
    """What an outside URI designates: a file at hand, never the network."""

    def __init__(self, names: dict[str, Content]) -> None:
        self._names = names

    def __call__(self, uri: str) -> bytes | None:
        content = self._names.get(uri)
        return None if content is None else content.read(CONTENT_LIMIT)


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
        (by_id(root, uri_of(reference)[1:]), result.signed_xml)
        for reference, result in zip(references, results, strict=False)  # those of manifests come after
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
    own = [bytes(each.signed_data) for each in results[: len(references)]]
    if is_of_other_content(properties, references, own, properties_type=_PROPERTIES_TYPE):
        found.problem = stamped_elsewhere()
    found.baseline = True
    found.signing_time = text_of(properties.find(f"{XADES}SignedSignatureProperties/{XADES}SigningTime"))


def _read_unsigned(found: Found, signature: etree._Element, signed: Sequence[bytes]) -> None:
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
    for stamp in unsigned.iterchildren(f"{XADES}ArchiveTimeStamp", f"{XADES_141}ArchiveTimeStamp"):
        if is_computed(stamp):
            _read_archive(found, stamp, signature, signed)
        else:
            found.archived = FORMER


def _responders(responses: Sequence[ocsp.OCSPResponse]) -> list[x509.Certificate]:
    """The certificates that responses carry, which references may name; none of one that is not read."""
    found: list[x509.Certificate] = []
    for each in responses:
        try:
            found += list(each.basic_ocsp_response["certs"] or [])[:5]
        except BROKEN:
            continue
    return found


def _read_archive(
    found: Found, stamp: etree._Element, signature: etree._Element, signed: Sequence[bytes]
) -> None:
    method = stamp.find(f"{DS}CanonicalizationMethod")
    data = xml_archive(stamp, signature, signed, lambda element: _canonical(element, method))
    for token in stamp.iterfind(f"{XADES}EncapsulatedTimeStamp"):
        one = Stamped(cms.ContentInfo.load(base64.b64decode(text_of(token)), strict=True), data, of="archive")
        imprint = one.token["content"]["encap_content_info"]["content"].parsed["message_imprint"]
        if digest_of(data)(imprint["hash_algorithm"]["algorithm"].native) != imprint["hashed_message"].native:
            found.archived = DIFFERENT
            return
        found.stamps.append(one)


def _canonical(element: etree._Element, method: etree._Element | None) -> bytes:
    uri = _C14N if method is None else str(method.get("Algorithm"))
    return etree.tostring(
        inheriting(alone(element), element, uri),
        method="c14n",
        exclusive="xml-exc-c14n" in uri,
        with_comments=uri.endswith("#WithComments"),
    )
