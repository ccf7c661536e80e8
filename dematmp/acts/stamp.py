"""The stamp of an acknowledged act: an incremental update, which keeps a signed revision whole.

The original stays as it was; the stamp is made again at each reading.
"""

import io
from dataclasses import dataclass
from datetime import date, datetime
from typing import cast
from zoneinfo import ZoneInfo

from django.conf import settings
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError

from dematmp.acts import pdfs, statuses
from dematmp.acts.errors import ActError, MessageRefused
from dematmp.acts.latin1 import encode
from dematmp.acts.messages import ActReceipt, CancellationReceipt, LetterReceipt
from dematmp.acts.reading import read
from dematmp.acts.transactions import IncludedFile, Transaction
from signing.pades import PDF_BROKEN
from storage.stores import object_store

STAMPED_BYTES = 64 * 1024**2  # above, the original is given: a stamp is not worth the memory
_WIDTH, _HEIGHT, _MARGIN, _FONT = 190, 55, 10, 7


def rows_of(about: Transaction, *, published: date | None) -> list[str]:
    """The four lines of the stamp."""
    sent = sent_at(about).astimezone(ZoneInfo(settings.TIME_ZONE)).date()
    return [
        f"Envoyé en préfecture le {sent:%d/%m/%Y}",
        f"Reçu en préfecture le {received_on(about):%d/%m/%Y}",
        f"Publié le {published:%d/%m/%Y}" if published else "Publié le",
        f"ID : {about.unique_id}",
    ]


def sent_at(about: Transaction) -> datetime:
    """When it left for the ministry: a deposit may have awaited its confirmation, or a window, for days."""
    step = about.last_step(statuses.SENT)
    if step is None:
        return about.created_at
    # An answer that came first wrote the step: the sending was before it.
    return min(step.at, about.tried_at) if about.tried_at is not None else step.at


def received_on(about: Transaction) -> date:
    """The date of reception that the ministry gave. Raises ActError without one."""
    step = about.last_step(statuses.ACKNOWLEDGED)
    if step is None or step.flux is None:
        raise ActError("Pas d'acquittement reçu.")
    message = read(bytes(step.flux))
    if isinstance(message, ActReceipt | LetterReceipt | CancellationReceipt):
        return message.received
    raise MessageRefused("L'acquittement ne porte pas de date de réception.")


def stamped(file: IncludedFile, *, published: date | None) -> bytes:
    """The PDF stamped on its first page; the original when it cannot be (encrypted, broken)."""
    original = b"".join(object_store().open(file.key))
    if len(original) > STAMPED_BYTES:
        return original
    return drawn(original, rows_of(file.transaction, published=published))


def drawn(original: bytes, rows: list[str]) -> bytes:
    """`put`, on the file or, when it is neither signed nor locked, on what mends it; else the original."""
    try:
        short = pdfs.trimmed(original)
        if short is None:
            raise PdfError("sans fin")
        return put(short, rows)
    except PDF_BROKEN:
        mended = pdfs.mended(original)
    try:
        return original if mended is None else put(mended, rows)
    except PDF_BROKEN:
        return original


def put(pdf: bytes, rows: list[str]) -> bytes:
    """Append a revision that draws the rows in a box at the top left of the first page."""
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf), strict=False)
    if writer.prev.encrypted:
        raise PdfError("chiffré")
    page_ref, _ = writer.find_page_for_modification(0)
    page = page_ref.get_object()
    place = _Place.of(page)
    if "/Contents" not in page:  # a blank page is one
        page[pdf_name("/Contents")] = writer.add_object(generic.StreamObject(stream_data=b""))
        writer.update_container(page)
    font = generic.DictionaryObject(
        {
            pdf_name("/Type"): pdf_name("/Font"),
            pdf_name("/Subtype"): pdf_name("/Type1"),
            pdf_name("/BaseFont"): pdf_name("/Helvetica"),
            pdf_name("/Encoding"): pdf_name("/WinAnsiEncoding"),
        }
    )
    state = generic.DictionaryObject(
        {pdf_name("/Type"): pdf_name("/ExtGState"), pdf_name("/ca"): generic.FloatObject("0.8")}
    )
    resources = generic.DictionaryObject(
        {
            pdf_name("/Font"): generic.DictionaryObject({pdf_name("/ActesF"): writer.add_object(font)}),
            pdf_name("/ExtGState"): generic.DictionaryObject({pdf_name("/ActesG"): writer.add_object(state)}),
        }
    )
    # Not compressed: the identifier can be found in the file by anyone.
    before = generic.StreamObject(stream_data=b"q\n")
    after = generic.StreamObject(stream_data=b"Q\n" + _drawing(rows, place))
    writer.add_stream_to_page(0, writer.add_object(before), prepend=True)
    writer.add_stream_to_page(0, writer.add_object(after), resources)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@dataclass(frozen=True)
class _Place:
    """What of a page is seen, and how: the matrix that puts the origin at its lower left, displayed."""

    matrix: tuple[float, ...]
    height: float

    @classmethod
    def of(cls, page: generic.DictionaryObject) -> "_Place":
        media = _box(_inherited(page, "/MediaBox")) or (0.0, 0.0, 595.0, 842.0)
        crop = _box(_inherited(page, "/CropBox")) or media
        left, bottom = max(media[0], crop[0]), max(media[1], crop[1])
        right, top = min(media[2], crop[2]), min(media[3], crop[3])
        if right <= left or top <= bottom:
            left, bottom, right, top = media
        turn = _inherited(page, "/Rotate")
        match int(turn) % 360 if isinstance(turn, int | float) else 0:
            case 90:
                return cls((0, 1, -1, 0, right, bottom), right - left)
            case 180:
                return cls((-1, 0, 0, -1, right, top), top - bottom)
            case 270:
                return cls((0, -1, 1, 0, left, top), right - left)
        return cls((1, 0, 0, 1, left, bottom), top - bottom)


def _inherited(page: generic.DictionaryObject, name: str) -> object:
    """An attribute of a page, its own or that of the nodes above."""
    for _ in range(32):
        if name in page:
            return cast(object, page[name])
        if "/Parent" not in page:
            break
        page = page["/Parent"]
    return None


def _box(found: object) -> tuple[float, float, float, float] | None:
    """Left, bottom, right, top, whichever corners it was written by."""
    if not isinstance(found, generic.ArrayObject) or len(found) != 4:
        return None
    one, two, three, four = (float(found[rank]) for rank in range(4))
    return min(one, three), min(two, four), max(one, three), max(two, four)


def _drawing(rows: list[str], place: _Place) -> bytes:
    left, top = _MARGIN, place.height - _MARGIN
    lines = [
        "q /ActesG gs " + " ".join(f"{each:.2f}" for each in place.matrix) + " cm",
        f"1 1 1 rg 0.1 0.16 0.25 RG 0.7 w {left:.1f} {top - _HEIGHT:.1f} {_WIDTH} {_HEIGHT} re B",
        f"0.1 0.16 0.25 rg BT /ActesF {_FONT} Tf",
    ]
    body = "\n".join(lines).encode("ascii")
    for rank, row in enumerate(rows):
        text = encode(row).replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        x, y = left + 6, top - 13 - rank * 12
        body += f"\n1 0 0 1 {x:.1f} {y:.1f} Tm (".encode("ascii") + text + b") Tj"
    return body + b"\nET Q\n"
