"""One XML signature among others, verified by signxml: nothing is read but what it says is signed."""

from collections.abc import Callable

from cryptography import x509
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest, InvalidInput, InvalidSignature, SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from signing.found import Problem, altered, forged, malformed
from signing.signers import BROKEN
from signing.xml import DS, XmlRefused, parse, parser

MAX_REFERENCES = 100
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_BASE64 = "http://www.w3.org/2000/09/xmldsig#base64"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
# The one expression that others write to leave all the signatures out.
_WITHOUT_SIGNATURES = {"not(ancestor-or-self::ds:Signature)", "not(ancestor-or-self::dsig:Signature)"}
_C14N = {each.value for each in CanonicalizationMethod}
# Without « HMAC », whose key anybody may know, nor DSA.
_METHODS = frozenset(each for each in SignatureMethod if not each.name.startswith(("HMAC", "DSA")))


class UnknownTransform(ValueError):
    """A transform that is not in the short list of those that change nothing of the meaning."""


def transforms_of(reference: etree._Element) -> list[str]:
    """The algorithms, in order. Raises UnknownTransform."""
    found = []
    for transform in reference.iterfind(f"{DS}Transforms/{DS}Transform"):
        name = str(transform.get("Algorithm"))
        if name == _XPATH:
            said = "".join("".join(map(str, transform.itertext())).split())
            prefix = said.removeprefix("not(ancestor-or-self::").split(":")[0]
            known = said in {each.replace(" ", "") for each in _WITHOUT_SIGNATURES}
            spaces = {**transform.nsmap}
            for child in transform:
                spaces.update(child.nsmap)
            if not known or spaces.get(prefix) != DS[1:-1]:
                raise UnknownTransform(name)
        elif name not in {_ENVELOPED, _BASE64} | _C14N:
            raise UnknownTransform(name)
        found.append(name)
    return found


class _Verifier(XMLVerifier):
    """The signature of this rank in document order, whatever its certificate's dates, judged later."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def _get_signature(self, root: etree._Element) -> etree._Element:
        return list(root.iter(f"{DS}Signature"))[self._rank]

    def _check_cert_validity(self, cert: x509.Certificate, cert_source: str) -> None:
        pass

    def _c14n(
        self,
        nodes: etree._Element,
        algorithm: CanonicalizationMethod,
        inclusive_ns_prefixes: list[str] | None = None,
    ) -> bytes:
        out: bytes = super()._c14n(alone(nodes), algorithm, inclusive_ns_prefixes)
        return out

    def _apply_transforms(
        self,
        payload: etree._Element | bytes,
        *,
        transforms_node: etree._Element | None,
        signature: etree._Element,
    ) -> bytes:
        names = [] if transforms_node is None else transforms_of(_parent(transforms_node))
        if isinstance(payload, bytes):
            if {_XPATH, _ENVELOPED} & set(names):
                # In another file there is no signature of ours to leave out: only content to hide.
                raise UnknownTransform(_XPATH)
            if not set(names) & _C14N:
                return payload
            payload = parse(payload)
        if _XPATH in names:
            for each in list(payload.iter(f"{DS}Signature")):
                _remove(each, within=payload)
        if _BASE64 in names and len(payload):
            raise UnknownTransform(_BASE64)  # only the text would be signed, not the elements in it
        out: bytes = super()._apply_transforms(
            payload,
            transforms_node=transforms_node,  # type: ignore[arg-type]  # None is what it expects of none
            signature=signature,
        )
        return out


def alone(element: etree._Element) -> etree._Element:
    """The element as the root of a document of its own, with the namespaces that it inherits.

    libxml2 writes a false xmlns="" when it canonicalises an element whose default namespace is its parent's.
    """
    if element.getparent() is None:
        return element
    return etree.fromstring(etree.tostring(element, with_tail=False), parser())


def _parent(element: etree._Element) -> etree._Element:
    parent = element.getparent()
    if parent is None:
        raise XmlRefused("Transformation hors d'une référence.")
    return parent


def _remove(element: etree._Element, *, within: etree._Element) -> None:
    """Take the element out and leave its tail, as the XPath filter does."""
    parent = element.getparent()
    if element is within or parent is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + element.tail
        else:
            parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def verify(
    root: etree._Element,
    rank: int,
    certificate: x509.Certificate,
    resolve: Callable[[str], bytes | None],
) -> "list[VerifyResult] | Problem":
    """One result for each reference of the signature, or why it does not hold."""
    config = SignatureConfiguration(
        require_x509=True,
        expect_references=True,
        signature_methods=_METHODS,
        digest_algorithms=frozenset(DigestAlgorithm),
        ignore_ambiguous_key_info=True,
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
    )
    try:
        results = _Verifier(rank).verify(
            root, x509_cert=certificate, parser=parser(), uri_resolver=resolve, expect_config=config
        )
    except InvalidDigest:
        return altered()
    except InvalidSignature:
        return forged()
    except UnknownTransform:
        return malformed("La signature transforme le document d'une façon qui n'est pas prise en charge.")
    except XmlRefused as refused:
        return malformed(str(refused))
    except (SignXMLException, InvalidInput, etree.LxmlError, *BROKEN) as bad:
        return malformed(f"Signature XML illisible ({type(bad).__name__}).")
    return results if isinstance(results, list) else [results]
