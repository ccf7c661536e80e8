"""One XML signature among others, verified by signxml: nothing is read but what it says is signed."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence

from cryptography import x509
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.exceptions import InvalidDigest, InvalidInput, InvalidSignature, SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from signing.found import Problem, altered, forged, malformed
from signing.signers import BROKEN
from signing.xml import DS, XmlRefused, parse, parser

MAX_REFERENCES = 600
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
BASE64 = "http://www.w3.org/2000/09/xmldsig#base64"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
# What others write to leave all the signatures out, in XPath and in XPath Filter 2.
_WITHOUT = re.compile(r"not\(ancestor-or-self::([\w.-]+):Signature\)")
_SUBTRACTED = re.compile(r"(?:/descendant::|//)([\w.-]+):Signature")
_POINTER = re.compile(r"""#xpointer\(id\((['"])([^'"()#]+)\1\)\)""")
_XML = "{http://www.w3.org/XML/1998/namespace}"
_C14N_11 = "http://www.w3.org/2006/12/xml-c14n11"
_C14N = {each.value for each in CanonicalizationMethod}
# Without « HMAC », whose key anybody may know, nor DSA.
_METHODS = frozenset(each for each in SignatureMethod if not each.name.startswith(("HMAC", "DSA")))


class UnknownTransform(ValueError):
    """A transform that is not in the short list of those that change nothing of the meaning."""


def uri_of(reference: etree._Element) -> str:
    """What it designates: the two XPointers that all must know are written as their short forms.

    They differ by the comments that they keep (XMLDSig §4.4.3.2), which no coverage rests on.
    """
    uri = reference.get("URI")
    if uri == "#xpointer(/)":
        return ""
    found = _POINTER.fullmatch(str(uri))
    return f"#{found[2]}" if found else str(uri)


def transforms_of(reference: etree._Element, *, copied: bool = False) -> list[str]:
    """The algorithms, in order. Raises UnknownTransform.

    `copied`: read from what was canonicalised, where a prefix may have lost its namespace; the original is
    read too.
    """
    found = []
    for transform in reference.iterfind(f"{DS}Transforms/{DS}Transform"):
        name = str(transform.get("Algorithm"))
        if name in (_XPATH, _FILTER2):
            if not _leaves_signatures_out(transform, name, copied=copied):
                raise UnknownTransform(name)
            name = _XPATH
        elif name not in {_ENVELOPED, BASE64} | _C14N:
            raise UnknownTransform(name)
        found.append(name)
    return found


def leaves_out(reference: etree._Element) -> bool:
    """Whether the transforms leave something of what is designated unsigned."""
    return bool({_XPATH, _ENVELOPED, BASE64} & set(transforms_of(reference)))


def _leaves_signatures_out(transform: etree._Element, name: str, *, copied: bool) -> bool:
    said = "".join("".join(map(str, transform.itertext())).split())
    found = (_WITHOUT if name == _XPATH else _SUBTRACTED).fullmatch(said)
    children = list(transform)
    if found is None or len(children) != 1:
        return False
    if name == _FILTER2 and (children[0].tag, children[0].get("Filter")) != (
        f"{{{_FILTER2}}}XPath",
        "subtract",
    ):
        return False
    bound = children[0].nsmap.get(found[1])
    return bound == DS[1:-1] or (copied and bound is None)


class _Verifier(XMLVerifier):
    """The signature of this rank in document order, whatever its certificate's dates, judged later."""

    def __init__(self, document: etree._Element, rank: int) -> None:
        self._document, self._rank = document, rank
        self._source: etree._Element | None = None  # where what is canonicalised stood
        self._around = (b"", b"")  # what stands before and after the root of a whole document
        self._keeps = False  # whether the reference keeps comments, for a canonicalisation with them

    def _get_signature(self, root: etree._Element) -> etree._Element:
        return list(root.iter(f"{DS}Signature"))[self._rank]

    def _tostring(self, xml_node: etree._Element, **options: object) -> bytes:
        return bytes(etree.tostring(xml_node, **{"with_tail": False, **options}))  # type: ignore[call-overload]

    def _check_cert_validity(self, cert: x509.Certificate, cert_source: str) -> None:
        pass

    def _c14n(
        self,
        nodes: etree._Element,
        algorithm: CanonicalizationMethod,
        inclusive_ns_prefixes: list[str] | None = None,
    ) -> bytes:
        source, around = self._source, self._around
        if source is None:
            source, around = self._get_signature(self._document)[0], (b"", b"")  # SignedInfo
        node = inheriting(alone(nodes), source, algorithm.value)
        return around[0] + bytes(super()._c14n(node, algorithm, inclusive_ns_prefixes)) + around[1]

    def _apply_transforms(
        self,
        payload: etree._Element | bytes,
        *,
        transforms_node: etree._Element | None,
        signature: etree._Element,
    ) -> bytes:
        names = [] if transforms_node is None else transforms_of(_parent(transforms_node), copied=True)
        if isinstance(payload, bytes):
            if {_XPATH, _ENVELOPED} & set(names) or (BASE64 in names and len(names) > 1):
                # In another file there is no signature of ours to leave out: only content to hide.
                raise UnknownTransform(_XPATH)
            if BASE64 in names:
                return decoded(payload)
            if not set(names) & _C14N:
                return payload
            payload = parse(payload)
            comments = any(name.endswith("#WithComments") for name in names)
            self._around = around(payload, comments=comments)
        else:
            if not self._keeps:
                _without_comments(payload)  # XMLDSig §4.4.3.3: so does a reference inside a document
            self._around = (b"", b"") if payload.getparent() is not None else self._outside
        self._source = payload
        if _XPATH in names:
            for each in list(payload.iter(f"{DS}Signature")):
                _remove(each, within=payload)
        if BASE64 in names:
            if len(payload):
                raise UnknownTransform(BASE64)  # only the text would be signed, not the elements in it
            decoded((payload.text or "").encode())
        out: bytes = super()._apply_transforms(
            payload,
            transforms_node=transforms_node,  # type: ignore[arg-type]  # None is what it expects of none
            signature=signature,
        )
        return out

    def _resolve_reference(
        self,
        doc_root: etree._Element,
        reference: etree._Element,
        uri_resolver: Callable[[str], bytes | None] | None = None,
    ) -> etree._Element | bytes:
        # Only « the whole document » holds what stands outside its root.
        uri = uri_of(reference)
        self._keeps = uri != reference.get("URI")
        told = self._keeps and any(
            each.endswith("#WithComments") for each in transforms_of(reference, copied=True)
        )
        self._outside = around(self._document, comments=told) if uri == "" else (b"", b"")
        plain = etree.Element(reference.tag, URI=uri) if self._keeps else reference
        found: etree._Element | bytes = super()._resolve_reference(  # type: ignore[no-untyped-call]
            doc_root, plain, uri_resolver
        )
        return found

    def listed(
        self, references: Sequence[etree._Element], resolve: Callable[[str], bytes | None]
    ) -> list[VerifyResult]:
        """The references of a manifest, after `verify`. Raises as it does."""
        signature = self._get_signature(self._document)
        return [
            self._verify_reference(  # type: ignore[no-untyped-call]
                reference, rank, self._document, resolve, None, signature, b""
            )
            for rank, reference in enumerate(references)
        ]


def decoded(data: bytes) -> bytes:
    """Base64 that every reader decodes alike. Raises XmlRefused."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as lax:
        raise XmlRefused(
            "Un contenu signé n'est pas du base64 correct : deux lecteurs le liraient autrement."
        ) from lax


def around(root: etree._Element, *, comments: bool) -> tuple[bytes, bytes]:
    """What stands around the root, canonicalised (C14N §2.3): instructions, and comments if asked."""

    def said(node: etree._Element) -> bytes:
        text = (node.text or "").replace("\r", "&#xD;")
        if isinstance(node, etree._ProcessingInstruction):
            return f"<?{node.target!s}{' ' if text else ''}{text}?>".encode()
        return f"<!--{text}-->".encode() if comments else b""

    before = [said(each) for each in reversed(list(root.itersiblings(preceding=True)))]
    after = [said(each) for each in root.itersiblings()]
    return b"".join(each + b"\n" for each in before if each), b"".join(b"\n" + each for each in after if each)


def _without_comments(payload: etree._Element) -> None:
    for each in list(payload.iter(etree.Comment)):
        _remove(each, within=payload)


def inheriting(node: etree._Element, source: etree._Element, algorithm: str) -> etree._Element:
    """The node with the xml: attributes that it has from above where it stood (C14N §2.4, C14N 1.1 §2.4).

    Raises UnknownTransform for bases to be joined.
    """
    if "xml-exc-c14n" in algorithm:
        return node
    for above in source.iterancestors():
        for name, value in above.attrib.items():
            if str(name).startswith(_XML) and name not in node.attrib:
                if algorithm.startswith(_C14N_11) and name != f"{_XML}lang" and name != f"{_XML}space":
                    if name == f"{_XML}id":
                        continue
                    raise UnknownTransform(str(name))
                node.set(name, value)
    return node


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
    listed: Sequence[etree._Element] = (),
) -> "list[VerifyResult] | Problem":
    """One result for each reference of the signature, or why it does not hold.

    `listed`: the references of the manifests that it signs, verified too, whose results come after.
    """
    config = SignatureConfiguration(
        require_x509=True,
        expect_references=True,
        signature_methods=_METHODS,
        digest_algorithms=frozenset(DigestAlgorithm),
        ignore_ambiguous_key_info=True,
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
    )
    try:
        verifier = _Verifier(root, rank)
        results = verifier.verify(
            root, x509_cert=certificate, parser=parser(), uri_resolver=resolve, expect_config=config
        )
        more = verifier.listed(listed, resolve)
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
    return [*(results if isinstance(results, list) else [results]), *more]
