"""PDFs signed by pyHanko's own signer at every level, and changed as the published attacks do."""

import hashlib
import io
import re
from collections.abc import Callable
from typing import Any

import typst
from asn1crypto import keys as asn1_keys
from asn1crypto import tsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.fields import MDPPerm, SigFieldSpec, SigSeedSubFilter, append_signature_field
from pyhanko.sign.signers import PdfTimeStamper, SimpleSigner
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore

from signing.authority import Authority
from tests.signing.authority import NOW, Identity

PLAIN = bytes(typst.compile(b"= Acte d'engagement\n\nNous nous engageons."))


name = generic.pdf_name
_BYTE_RANGE = re.compile(rb"/ByteRange\s*\[\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*\]")


def asn1(certificate: Any) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))


def simple_signer(identity: Identity) -> SimpleSigner:
    der = identity.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    store = SimpleCertificateStore()
    for each in identity.above:
        store.register(asn1(each))
    return SimpleSigner(
        signing_cert=asn1(identity.certificate),
        signing_key=asn1_keys.PrivateKeyInfo.load(der),
        cert_registry=store,
    )


class Stamper(TimeStamper):
    """pyHanko's interface over the embedded authority."""

    def __init__(self, authority: Authority, *, of: bytes | None = None) -> None:
        super().__init__()
        self._authority, self._of = authority, of

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        if self._of is not None:
            req["message_imprint"]["hashed_message"] = hashlib.sha256(self._of).digest()
        return tsp.TimeStampResp.load(self._authority.respond(req.dump(), now=NOW))


def signed(
    identity: Identity,
    data: bytes = PLAIN,
    *,
    field: str = "Signature1",
    authority: Authority | None = None,
    context: ValidationContext | None = None,
    lta: bool = False,
    box: tuple[int, int, int, int] | None = None,
    certify: MDPPerm | None = None,
    digest: str = "sha256",
    subfilter: SigSeedSubFilter = SigSeedSubFilter.PADES,
    bytes_reserved: int | None = None,
    passphrase: str | None = None,
) -> bytes:
    """B-B; B-T with an authority; B-LT with a context; B-LTA with `lta`. `box` makes it visible."""
    # Files of office suites have two tables of objects, which the strict reader of the writer refuses.
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=b"/XRefStm" not in data)
    if passphrase is not None:
        writer.encrypt(passphrase)
    metadata = PdfSignatureMetadata(
        field_name=field,
        md_algorithm=digest,
        subfilter=subfilter,
        embed_validation_info=context is not None,
        validation_context=context,
        use_pades_lta=lta,
        certify=certify is not None,
        docmdp_permissions=certify or MDPPerm.FILL_FORMS,
    )
    signer = PdfSigner(
        metadata,
        signer=simple_signer(identity),
        timestamper=Stamper(authority) if authority else None,
        new_field_spec=SigFieldSpec(field, box=box),
    )
    out = io.BytesIO()
    signer.sign_pdf(writer, output=out, bytes_reserved=bytes_reserved)
    return out.getvalue()


def document_stamp(data: bytes, authority: Authority) -> bytes:
    """A timestamp over the whole document so far (ISO 32000-2 §12.8.5)."""
    stamper = PdfTimeStamper(Stamper(authority))
    made = stamper.timestamp_pdf(
        IncrementalPdfFileWriter(io.BytesIO(data)), "sha256", None, bytes_reserved=16384
    )
    return bytes(made.getvalue())  # type: ignore[attr-defined]


def with_stamp_of(data: bytes, other: bytes) -> bytes:
    """The last signature's own bytes, replaced by those of another document."""

    def gap(pdf: bytes) -> tuple[int, int]:
        _, length, after, _ = [int(each) for each in _BYTE_RANGE.findall(pdf)[-1]]
        return length, after

    (start, end), (left, right) = gap(data), gap(other)
    assert end - start == right - left
    return data[:start] + other[left:right] + data[end:]


def updated(data: bytes, change: Callable[[IncrementalPdfFileWriter], None]) -> bytes:
    """A revision added after the signature: what shadow attacks do."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _page(writer: IncrementalPdfFileWriter) -> Any:
    return writer.root["/Pages"]["/Kids"][0].get_object()


def replace_content(writer: IncrementalPdfFileWriter) -> None:
    page = _page(writer)
    page["/Contents"] = writer.add_object(generic.StreamObject(stream_data=b"BT ET"))
    writer.update_container(page)


def remove_pages(writer: IncrementalPdfFileWriter) -> None:
    pages = writer.root["/Pages"]
    pages["/Kids"] = generic.ArrayObject([])
    pages["/Count"] = generic.NumberObject(0)
    writer.update_container(pages)


def swap_page_tree(writer: IncrementalPdfFileWriter) -> None:
    """Shadow replace: the catalogue points to another tree of pages."""
    page = writer.add_object(generic.DictionaryObject({generic.pdf_name("/Type"): generic.pdf_name("/Page")}))
    pages = generic.DictionaryObject(
        {
            generic.pdf_name("/Type"): generic.pdf_name("/Pages"),
            generic.pdf_name("/Kids"): generic.ArrayObject([page]),
            generic.pdf_name("/Count"): generic.NumberObject(1),
        }
    )
    writer.root["/Pages"] = writer.add_object(pages)
    writer.update_root()


def annotate(writer: IncrementalPdfFileWriter) -> None:
    """A note that covers the page: the evil annotation attack."""
    rows = {
        "/Type": generic.pdf_name("/Annot"),
        "/Subtype": generic.pdf_name("/FreeText"),
        "/Rect": generic.ArrayObject([generic.NumberObject(each) for each in (0, 0, 600, 800)]),
        "/Contents": generic.pdf_string("1 euro"),
    }
    note = generic.DictionaryObject({generic.pdf_name(name): value for name, value in rows.items()})
    page = _page(writer)
    page["/Annots"] = generic.ArrayObject([*page.get("/Annots", []), writer.add_object(note)])
    writer.update_container(page)


def change_field(writer: IncrementalPdfFileWriter) -> None:
    field = writer.root["/AcroForm"]["/Fields"].raw_get(0).get_object()
    field["/TU"] = generic.pdf_string("autre")
    writer.update_container(field)


def run_script(writer: IncrementalPdfFileWriter) -> None:
    action = {"/S": generic.pdf_name("/JavaScript"), "/JS": generic.pdf_string("app.alert(1)")}
    writer.root["/OpenAction"] = generic.DictionaryObject(
        {generic.pdf_name(name): value for name, value in action.items()}
    )
    writer.update_root()


def widen_font(writer: IncrementalPdfFileWriter) -> None:
    """Shadow replace: a font that shows other digits for the same codes."""
    page = _page(writer)
    font = generic.DictionaryObject({generic.pdf_name("/Type"): generic.pdf_name("/Font")})
    fonts = generic.DictionaryObject({generic.pdf_name("/F1"): writer.add_object(font)})
    page["/Resources"] = generic.DictionaryObject({generic.pdf_name("/Font"): fonts})
    writer.update_container(page)


def draw_over(writer: IncrementalPdfFileWriter) -> None:
    """A signature field that nobody signs, whose appearance covers the page: the sneaky signature attack."""
    append_signature_field(writer, SigFieldSpec("Couvrant", box=(0, 0, 600, 800)))


def lay_out_a_page(writer: IncrementalPdfFileWriter) -> None:
    """A place for a second signature, as large as the page, before anybody signs."""
    append_signature_field(writer, SigFieldSpec("Signature2", box=(0, 0, 595, 842)))


def show_a_corner(writer: IncrementalPdfFileWriter) -> None:
    """A4 on paper; what a reader shows of it is the box of a signature."""
    page = _page(writer)
    page["/CropBox"] = generic.ArrayObject(map(generic.NumberObject, (50, 560, 330, 820)))
    writer.update_container(page)


def small_page(writer: IncrementalPdfFileWriter) -> None:
    page = _page(writer)
    page["/MediaBox"] = generic.ArrayObject(map(generic.NumberObject, (0, 0, 600, 300)))
    writer.update_container(page)


def field_of(**more: Any) -> Callable[[IncrementalPdfFileWriter], None]:
    """A signature field that nobody signs, added with these entries over those of an invisible one."""

    def add(writer: IncrementalPdfFileWriter) -> None:
        page = _page(writer)
        entries: dict[str, Any] = {
            "FT": name("/Sig"),
            "T": generic.pdf_string("Visa"),
            "Type": name("/Annot"),
            "Subtype": name("/Widget"),
            "F": generic.NumberObject(4),
            "Rect": _rect(0, 0, 0, 0),
        }
        given = {each: made(writer) if callable(made) else made for each, made in more.items()}
        field = writer.add_object(
            generic.DictionaryObject({name(f"/{each}"): value for each, value in (entries | given).items()})
        )
        fields = writer.root["/AcroForm"]["/Fields"]
        fields.append(field)
        writer.update_container(fields)
        if "/Annots" in page:
            page["/Annots"].append(field)
            writer.update_container(page["/Annots"])
        else:
            page[name("/Annots")] = generic.ArrayObject([field])
        writer.update_container(page)

    return add


def _rect(*numbers: int) -> generic.ArrayObject:
    return generic.ArrayObject(map(generic.NumberObject, numbers))


def script(_: IncrementalPdfFileWriter) -> generic.DictionaryObject:
    """What runs when the page is shown."""
    run = generic.DictionaryObject({name("/S"): name("/JavaScript"), name("/JS"): generic.pdf_string("x()")})
    return generic.DictionaryObject({name("/PO"): run})


def half_told(number: generic.IndirectObject) -> Callable[[IncrementalPdfFileWriter], generic.ArrayObject]:
    """The rectangle of a page, one of whose numbers is elsewhere in the file."""
    return lambda writer: generic.ArrayObject(
        [*_rect(0, 0, 595), generic.IndirectObject(number.idnum, 0, writer)]
    )


def with_number(data: bytes) -> tuple[bytes, generic.IndirectObject]:
    """A number that nothing uses yet: an update that changes nothing."""
    kept: list[generic.IndirectObject] = []
    made = updated(data, lambda writer: kept.append(writer.add_object(generic.NumberObject(842))))
    return made, kept[0]


def form(writer: IncrementalPdfFileWriter) -> None:
    """Defaults by which a reader draws the values of a form."""
    writer.root[name("/AcroForm")] = generic.DictionaryObject(
        {name("/Fields"): generic.ArrayObject(), name("/DA"): generic.pdf_string("/Helv 24 Tf 0 g")}
    )
    writer.update_root()


def whiten(writer: IncrementalPdfFileWriter) -> None:
    held = writer.root["/AcroForm"]
    held[name("/DA")] = generic.pdf_string("/Helv 24 Tf 1 g")
    writer.update_container(held)


def add_text_field(writer: IncrementalPdfFileWriter) -> None:
    rows = {
        "/FT": generic.pdf_name("/Tx"),
        "/T": generic.pdf_string("prix"),
        "/V": generic.pdf_string("1 euro"),
    }
    field = generic.DictionaryObject({generic.pdf_name(name): value for name, value in rows.items()})
    writer.root["/AcroForm"]["/Fields"].append(writer.add_object(field))
    writer.update_container(writer.root["/AcroForm"]["/Fields"])


def _range(data: bytes) -> tuple[int, int, list[int]]:
    """(start, end) of the ByteRange's array in the file, and its numbers."""
    start = data.index(b"/ByteRange") + len(b"/ByteRange")
    start = data.index(b"[", start)
    end = data.index(b"]", start) + 1
    return start, end, [int(each) for each in data[start + 1 : end - 1].split()]


def with_range(data: bytes, numbers: list[int]) -> bytes:
    """The same file with another ByteRange, in the same place."""
    start, end, _ = _range(data)
    return (
        data[:start]
        + (b"[" + b" ".join(b"%d" % each for each in numbers)).ljust(end - start - 1)
        + b"]"
        + data[end:]
    )


def wrapped(data: bytes) -> bytes:
    """Signature wrapping: the signed tail is moved to the end, another document takes its place."""
    _, _, (_, first, second, length) = _range(data)
    tail = data[second : second + length]
    evil = updated(data, replace_content)[len(data) :]
    return with_range(data[:second] + tail + evil + tail, [0, first, len(data) + len(evil), length])


def hidden_in_padding(data: bytes) -> bytes:
    """Bytes hidden in the zeros that follow the signature in its place."""
    _, _, (_, first, second, _) = _range(data)
    gap = bytearray(data[first:second])
    gap[-9:-1] = b"deadbeef"
    return data[:first] + bytes(gap) + data[second:]


def without_contents(data: bytes) -> bytes:
    """Universal forgery: the signature's bytes are emptied."""
    _, _, (_, first, second, _) = _range(data)
    return data[:first] + b"<" + b"0" * (second - first - 2) + b">" + data[second:]


def gap_widened(data: bytes) -> bytes:
    """The unsigned gap grows over what follows the signature's value."""
    _, _, (start, first, second, length) = _range(data)
    return with_range(data, [start, first, second + 20, length - 20])
