"""Where the fields of a PDF draw: their rectangles, and the smallest page seen (ISO 32000-2 §12.5)."""

from decimal import Decimal
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader

_A4, MAX_NODES = 595.0 * 842.0, 20_000
_ACTING = ("/A", "/AA")  # what makes a field act
_Box = tuple[float, float, float, float]


def held(owner: generic.DictionaryObject, name: str) -> Any:
    """An entry, behind its reference if it is one; None when there is none."""
    try:
        return owner[name]
    except KeyError:
        return None


def is_plain(field: generic.DictionaryObject) -> bool:
    """Whether a field added since is the widget of a signature and nothing that acts or draws otherwise.

    A field without a rectangle is drawn nowhere; one whose rectangle is not four numbers, wherever a reader
    likes.
    """
    widgets = _widgets(field)
    return all(
        isinstance(each, generic.DictionaryObject)
        and (each is field or "/Kids" not in each)
        and not any(name in each for name in _ACTING)
        and not _is_bordered(each)
        and str(each.get("/Subtype", "/Widget")) == "/Widget"
        and ("/Rect" not in each or _box(each, "/Rect") is not None)
        for each in widgets
    )


def _is_bordered(field: generic.DictionaryObject) -> bool:
    """Whether a border is drawn (§12.5.4); one of no width is not."""
    border, style = held(field, "/Border"), held(field, "/BS")
    widths = []
    if border is not None:
        widths.append(border[2] if isinstance(border, generic.ArrayObject) and len(border) >= 3 else 1)
    if style is not None:
        widths.append(held(style, "/W") if isinstance(style, generic.DictionaryObject) else 1)
    return any(not isinstance(each, int | float | Decimal) or each != 0 for each in widths)


def _widgets(field: generic.DictionaryObject) -> list[Any]:
    """A field, and what it is drawn by when that is apart."""
    kids = held(field, "/Kids")
    apart = kids if isinstance(kids, generic.ArrayObject) else ()
    return [field, *(each.get_object() for each in apart)]


def area_of(field: generic.DictionaryObject) -> float:
    """Square points over which a field may draw: its appearance is fitted to its rectangle (§12.5.5)."""
    return sum(_extent(box) for each in _widgets(field) if (box := _box(each, "/Rect")) is not None)


def smallest_page(reader: PdfFileReader) -> float:
    """Square points that are seen of the smallest page, A4 at most; 0 for a tree too large to be walked.

    Which page a field is drawn on is what its signatory says: the smallest stands for all.
    """
    smallest, seen = _A4, 0
    nodes: list[tuple[generic.PdfObject, _Box | None, _Box | None]] = [(reader.root["/Pages"], None, None)]
    while nodes:
        node, media, crop = nodes.pop()
        seen += 1
        if seen > MAX_NODES or not isinstance(node, generic.DictionaryObject):
            return 0.0
        media, crop = _box(node, "/MediaBox") or media, _box(node, "/CropBox") or crop
        kids = held(node, "/Kids")
        if isinstance(kids, generic.ArrayObject):
            nodes += [(each.get_object(), media, crop) for each in kids]
        elif media is not None:
            smallest = min(smallest, _extent(_common(media, crop)))
    return smallest


def _box(owner: generic.DictionaryObject, name: str) -> _Box | None:
    """Left, low, right, high."""
    found = held(owner, name)
    if not isinstance(found, generic.ArrayObject) or len(found) != 4:
        return None
    numbers = [float(found[rank]) for rank in range(4)]
    (left, right), (low, high) = sorted(numbers[::2]), sorted(numbers[1::2])
    return left, low, right, high


def _common(media: _Box, crop: _Box | None) -> _Box:
    """What a reader shows of a page (§14.11.2)."""
    if crop is None:
        return media
    left, low = max(media[0], crop[0]), max(media[1], crop[1])
    return left, low, max(left, min(media[2], crop[2])), max(low, min(media[3], crop[3]))


def _extent(box: _Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
