"""PAdES and signed PDFs (ETSI EN 319 142-1): pyHanko reads, the coverage rule decides what is whole.

A signature is whole when nothing follows what it signs, or when a difference analysis finds that only
long-term data and signatures do, whose signatories must themselves be trusted.
"""

import os
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from asn1crypto import cms, core, crl, ocsp, x509
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.crypt import AuthStatus
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import (
    CatalogModificationRule,
    DiffResult,
    DocInfoRule,
    DSSCompareRule,
    FormUpdatingRule,
    MetadataUpdateRule,
    ModificationLevel,
    ObjectStreamRule,
    SigFieldCreationRule,
    SigFieldModificationRule,
    StandardDiffPolicy,
    XrefStreamRule,
)
from pyhanko.sign.fields import SigSeedSubFilter, enumerate_sig_fields
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.validation import DocumentSecurityStore, EmbeddedPdfSignature, SignatureCoverageLevel
from pyhanko.sign.validation.errors import NoDSSFoundError, SignatureValidationError

from signing.cades import read_unsigned
from signing.found import PARTIAL, UNCLEAR, WHOLE, Found, Stamped, Unreadable, malformed
from signing.pdf_drawing import MAX_NODES, area_of, held, is_plain, smallest_page
from signing.pdf_reading import Reader
from signing.pdf_revisions import draws_no_text, is_hybrid_plain, stands_alone
from signing.pdf_updates import Changes
from signing.signers import BROKEN, certificates_of, read_signer, signed_attributes

MAX_SIGNATURES = 50
_MAX_VALUES = 200
_KINDS = {each.value for each in SigSeedSubFilter}
_CHAIN = 2200
_TAIL_BYTES = 64 * 1024
_MOST_OF_PAGE = 0.15
_START = re.compile(rb"startxref\s+(\d{1,15})\s*\Z")
PDF_BROKEN = (OSError, PdfError, SignatureValidationError, PyhankoSigningError, zlib.error, *BROKEN)
_LTA = ModificationLevel.LTA_UPDATES


def _only_signing(*keys: str) -> StandardDiffPolicy:
    """pyHanko's own policy lets the fields of a form be filled in: this one lets nothing but signatures in.

    `keys` of the form may change too.
    """
    return StandardDiffPolicy(
        global_rules=[
            CatalogModificationRule(),  # type: ignore[no-untyped-call]
            DocInfoRule().as_qualified(_LTA),
            XrefStreamRule().as_qualified(_LTA),
            ObjectStreamRule().as_qualified(_LTA),
            DSSCompareRule().as_qualified(_LTA),
            MetadataUpdateRule().as_qualified(_LTA),  # type: ignore[no-untyped-call]
        ],
        form_rule=FormUpdatingRule(
            field_rules=[
                SigFieldCreationRule(),  # type: ignore[no-untyped-call]
                SigFieldModificationRule(allow_in_place_appearance_stream_changes=False),
            ],
            ignored_acroform_keys=frozenset({"/Fields", "/SigFlags", *keys}),
        ),
    )


# Fonts and defaults of the form draw the values that were signed: they change with nothing.
_POLICY = _only_signing()


def read_pades(path: Path) -> list[Found]:
    """Every signature of a PDF, in the order of the file. Raises Unreadable."""
    with path.open("rb") as file:
        try:
            reader = Reader(file)
            if reader.encrypted and reader.decrypt("").status == AuthStatus.FAILED:
                raise Unreadable("PDF protégé par un mot de passe.")
            every, unread = _signatures(reader)
            embedded = [each for each in every if not _is_stamp(each)]
            stamps = [each for each in every if _is_stamp(each)]
            if not embedded:
                return unread
            ends = _ends_cleanly(file, every)
            embedded.sort(key=_end)
            found = [_read(each, file, every, ends=ends) for each in embedded]
            _read_store(reader, found)
            _read_document_stamps(stamps, file, found, embedded)
            for each in found:
                each.warnings += _moving_parts(reader)
            return found + unread
        except PDF_BROKEN as broken:
            raise Unreadable(f"PDF illisible : {type(broken).__name__}.") from broken


def _signatures(reader: PdfFileReader) -> tuple[list[EmbeddedPdfSignature], list[Found]]:
    """Every signature that can be read, in signing order; and that the others cannot. Raises Unreadable.

    One that is left out would let a document pass for signed by the others alone (EN 319 102-1 §5.2.2).
    """
    fields = list(enumerate_sig_fields(reader, filled_status=True))
    if len(fields) > MAX_SIGNATURES:
        raise Unreadable(f"Plus de {MAX_SIGNATURES} signatures.")
    every, unread = list[EmbeddedPdfSignature](), list[Found]()
    for name, value, field in fields:
        said = "d'un type non pris en charge"
        try:
            if str(value.get_object()["/SubFilter"]) in _KINDS:
                every.append(EmbeddedPdfSignature(reader, field, name))
                continue
        except PDF_BROKEN:
            said = "illisible"
        problem = malformed(f"Le champ « {name[:100]} » porte une signature {said}.")
        unread.append(Found("PDF", problem=problem, coverage=UNCLEAR))
    every.sort(key=lambda each: each.signed_revision)
    return every, unread


def _is_stamp(embedded: EmbeddedPdfSignature) -> bool:
    """A document timestamp, which some writers call a signature (ISO 32000-2 §12.8.5)."""
    return str(embedded.sig_object["/SubFilter"]) == SigSeedSubFilter.ETSI_RFC3161.value


def _end(embedded: EmbeddedPdfSignature) -> int:
    return int(embedded.byte_range[-1]) + int(embedded.byte_range[-2]) if len(embedded.byte_range) > 1 else 0


def _ends_cleanly(file: BinaryIO, every: Sequence[EmbeddedPdfSignature]) -> bool:
    """Nothing follows the last revision: no bytes that nobody accounts for, even before another end mark.

    A signature reaches the end, or the table of objects that the end designates is closed by that very end.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - _TAIL_BYTES))
    said, mark, after = file.read().rpartition(b"%%EOF")
    if not mark or after.strip():
        return False
    if any(_end(each) == size for each in every):
        return True
    start = _START.search(said)
    if start is None or int(start[1]) >= size:
        return False
    file.seek(int(start[1]))
    before = b""
    while block := file.read(_TAIL_BYTES):
        _, found, rest = (before + block).partition(b"%%EOF")
        if found:
            return not rest.strip() and not file.read(1)
        before = block[-4:]
    return False


def _read(
    embedded: EmbeddedPdfSignature, file: BinaryIO, every: list[EmbeddedPdfSignature], *, ends: bool
) -> Found:
    name = "PAdES" if "ETSI" in str(embedded.sig_object.get("/SubFilter")) else "PDF"
    found = Found(name, coverage=UNCLEAR)
    try:
        signed: cms.SignedData = embedded.signed_data
        info: cms.SignerInfo = embedded.signer_info
        found = read_signer(
            info,
            certificates_of(signed),
            lambda algorithm: bytes(embedded.compute_digest(algorithm)),
            format_name=name,
            content_type="data",
        )
        found.covers = ("ce document PDF",)
        if not isinstance(signed["encap_content_info"]["content"], core.Void):
            found.problem = found.problem or malformed("La signature d'un PDF ne doit pas porter de contenu.")
        if len(signed["signer_infos"]) != 1:
            found.problem = found.problem or malformed("La signature d'un PDF a un seul signataire.")
        if not found.signing_time:
            moment = embedded.self_reported_timestamp
            found.signing_time = moment.isoformat() if moment else ""
        found.coverage = _coverage(embedded, file, every, found) if ends else PARTIAL
        _read_archival(info, found)
        read_unsigned(info, found)
    except PDF_BROKEN as broken:
        found.coverage = UNCLEAR
        found.problem = found.problem or malformed(f"Signature illisible ({type(broken).__name__}).")
    return found


def _coverage(
    embedded: EmbeddedPdfSignature, file: BinaryIO, every: list[EmbeddedPdfSignature], found: Found
) -> str:
    reader, signed = embedded.reader, embedded.signed_revision
    if not is_hybrid_plain(reader, signed) or not _is_exact(embedded, file):
        return UNCLEAR
    level = embedded.evaluate_signature_coverage()
    embedded.coverage = level  # type: ignore[assignment]  # which the analysis below reads
    if level == SignatureCoverageLevel.ENTIRE_FILE:
        return WHOLE
    if level != SignatureCoverageLevel.ENTIRE_REVISION or reader.encrypted:
        return UNCLEAR
    if not stands_alone(reader, file, end=_end(embedded), signed_revision=signed):
        return PARTIAL
    changes = Changes(reader, signed)
    difference = _compared(embedded) if changes.are_foreseen(_signed_since(embedded, every)) else None
    if not isinstance(difference, DiffResult):
        return PARTIAL
    allowed = embedded.docmdp_level
    changed = difference.modification_level
    followers = _followers(embedded, every, found)
    if followers is None:
        return PARTIAL
    if changes.titled:
        found.warnings.append("Le titre ou l'auteur que ce document annonce ont changé depuis.")
    if allowed is not None and (changed.value > allowed.value or (changes.titled and allowed.value <= 1)):
        found.warnings.append("Le premier signataire n'autorisait pas ce qui a été ajouté après lui.")
        return PARTIAL
    if changed <= _LTA:
        return WHOLE
    # With this policy, filling a form means signing it, or a timestamp that shows nothing.
    found.followed = bool(followers)
    return WHOLE if changed == ModificationLevel.FORM_FILLING else PARTIAL


def _signed_since(embedded: EmbeddedPdfSignature, every: list[EmbeddedPdfSignature]) -> set[int]:
    """The numbers of the fields that were signed after this one, and of what draws them."""
    filled = {each.field_name for each in every if _end(each) > _end(embedded)}
    numbers: set[int] = set()
    for name, _, reference in enumerate_sig_fields(embedded.reader):
        if name in filled:
            field = reference.get_object()
            kids = held(field, "/Kids")
            apart = kids if isinstance(kids, generic.ArrayObject) else generic.ArrayObject()
            both = [reference, *(apart.raw_get(rank) for rank in range(len(apart)))]
            numbers |= {
                each.idnum for each in both if isinstance(each, generic.IndirectObject | generic.Reference)
            }
    return numbers


def _compared(embedded: EmbeddedPdfSignature) -> object:
    """What the difference analysis finds, which follows long chains (a table of contents) by recursion."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(_CHAIN)
    try:
        return embedded.evaluate_modifications(_policy(embedded))
    finally:
        sys.setrecursionlimit(usual)


def _policy(embedded: EmbeddedPdfSignature) -> StandardDiffPolicy:
    """Fonts and defaults of the form may come with the next signature where they draw nothing else."""
    before = embedded.reader.get_historical_root(embedded.signed_revision)
    form = held(before, "/AcroForm")
    had = form.keys() if isinstance(form, generic.DictionaryObject) else ()
    new = [key for key in ("/DR", "/DA", "/Q") if key not in had]
    return _only_signing(*new) if new and draws_no_text(embedded.reader, most=MAX_NODES) else _POLICY


def _followers(
    embedded: EmbeddedPdfSignature, every: list[EmbeddedPdfSignature], found: Found
) -> set[str] | None:
    """The fields signed since, when each one added is a signature judged too, or a timestamp without drawing.

    None otherwise.

    A field that nobody signed may draw over the page: the next signatory would cover it, not approve it. And
    a signature's own drawing is a stamp, not a page over the page.
    """
    covered, reader = 0.0, embedded.reader
    before = reader.get_historical_resolver(embedded.signed_revision)
    known = {name for name, _, _ in enumerate_sig_fields(before)}
    regular = [each for each in every if not _is_stamp(each)]
    later = {each.field_name for each in regular if _end(each) > _end(embedded)}
    filled = {each.field_name for each in every if _end(each) > _end(embedded)}
    stamps = {each.field_name for each in every} - {each.field_name for each in regular}
    for name, _, reference in enumerate_sig_fields(reader):
        field = reference.get_object()
        if name in known and name not in filled:
            continue
        if name not in known and not is_plain(field):
            return None
        # A place laid out before may be a whole page: what fills it since is drawn since.
        area = area_of(field)
        if name in stamps and area:
            return None
        if name not in known and name not in later and name not in stamps:
            return None
        covered += area
    if covered:
        found.warnings.append("Une signature ajoutée ensuite est dessinée sur une page : regardez-la.")
    return later if covered <= _MOST_OF_PAGE * smallest_page(reader) else None


def _is_exact(embedded: EmbeddedPdfSignature, file: BinaryIO) -> bool:
    """The signed bytes are all but one gap, which holds the signature in hexadecimal and nothing else.

    Zeros alone may fill what the signature leaves of its place: no hidden bytes (ISO 32000-2 §12.8.3.3).
    """
    numbers = [int(each) for each in embedded.byte_range]
    file.seek(0, os.SEEK_END)
    size = file.tell()
    if len(numbers) != 4 or numbers[0] != 0 or min(numbers) < 0 or numbers[2] + numbers[3] > size:
        return False
    file.seek(numbers[1])
    gap = file.read(max(0, numbers[2] - numbers[1]))
    if len(gap) < 2 or gap[:1] != b"<" or gap[-1:] != b">":
        return False
    content = bytes(embedded.pkcs7_content)
    if bytes.fromhex(gap[1:-1].decode("ascii")) != content:
        return False
    return not content[len(cms.ContentInfo.load(content).dump()) :].strip(b"\x00")


def _read_archival(info: cms.SignerInfo, found: Found) -> None:
    """Adobe's revocation data among the signed attributes (ISO 32000-2 §12.8.3.3.2)."""
    attributes = signed_attributes(info) or {}
    for value in attributes.get("adobe_revocation_info_archival", ()):
        for name, into in (("crl", found.crls), ("ocsp", found.ocsps)):
            if value[name].native is not None:
                into += list(value[name])[:_MAX_VALUES]


def _read_store(reader: PdfFileReader, found: list[Found]) -> None:
    """The document's own store of certificates and revocation data: added later, signed by their issuers."""
    try:
        store = DocumentSecurityStore.read_dss(reader)
        certificates: list[x509.Certificate] = list(store.load_certs())[:_MAX_VALUES]
    except NoDSSFoundError:
        return
    lists = [crl.CertificateList.load(each.get_object().data) for each in store.crls[:_MAX_VALUES]]
    responses = [ocsp.OCSPResponse.load(each.get_object().data) for each in store.ocsps[:_MAX_VALUES]]
    for each in found:
        each.others += certificates
        each.crls += lists
        each.ocsps += responses


def _read_document_stamps(
    stamps: list[EmbeddedPdfSignature],
    file: BinaryIO,
    found: list[Found],
    embedded: list[EmbeddedPdfSignature],
) -> None:
    """A document timestamp proves every signature that its bytes contain."""
    for stamp in stamps:
        whole = SignatureCoverageLevel.ENTIRE_REVISION
        if not _is_exact(stamp, file) or stamp.evaluate_signature_coverage() < whole:
            continue
        name = stamp.external_md_algorithm
        token = cms.ContentInfo.load(bytes(stamp.pkcs7_content))
        stamped = Stamped(token, digests={name: bytes(stamp.compute_digest(name))}, of="document")
        for each, signature in zip(found, embedded, strict=True):
            if _end(signature) < _end(stamp):
                each.stamps.append(stamped)


def _moving_parts(reader: PdfFileReader) -> list[str]:
    """What may show another document than the one that was seen when signing."""
    root = reader.root
    said = []
    form, names, action = (held(root, each) for each in ("/AcroForm", "/Names", "/OpenAction"))
    if isinstance(form, generic.DictionaryObject) and "/XFA" in form:
        said.append("Ce PDF est un formulaire XFA, que tous les lecteurs ne montrent pas de même.")
    if isinstance(names, generic.DictionaryObject) and "/JavaScript" in names:
        said.append("Ce PDF contient du JavaScript : ce qu'il montre peut changer.")
    if isinstance(action, generic.DictionaryObject) and str(held(action, "/S")) == "/JavaScript":
        said.append("Ce PDF exécute du JavaScript à l'ouverture : ce qu'il montre peut changer.")
    return said
