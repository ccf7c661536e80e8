"""Files that the browser saves and never runs: streamed, resumed after a cut (RFC 9110 §14)."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

Read = Callable[[int, int | None], Iterator[bytes]]


def attachment(chunks: Iterable[bytes], *, name: str, size: int | None = None) -> StreamingHttpResponse:
    """A streamed file that the browser saves and never runs."""
    response = StreamingHttpResponse(chunks, content_type="application/octet-stream")
    response["Content-Disposition"] = (
        content_disposition_header(as_attachment=True, filename=name) or "attachment"
    )
    if size is not None:
        response["Content-Length"] = str(size)
    return response


class _Line:
    """What csv.writer needs of a file: gives back the line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" and text else text


def csv_file(head: Sequence[str], rows: Iterable[Sequence[str]], *, name: str) -> StreamingHttpResponse:
    """Rows as CSV (semicolons, UTF-8 with a mark, as French spreadsheets open it), streamed."""
    writer = csv.writer(_Line(), delimiter=";")

    def lines() -> Iterator[bytes]:
        yield "\ufeff".encode() + str(writer.writerow(head)).encode()
        for row in rows:
            yield str(writer.writerow([_cell(each) for each in row])).encode()

    return attachment(lines(), name=name)


def resumable(request: HttpRequest, read: Read, *, name: str, size: int, sha256: str) -> HttpResponseBase:
    """The whole file, or the one range of it that is asked; `read` takes a start and a length in bytes.

    Its SHA-256 is the ETag: a range of a file that has changed since gives the whole of the new one.
    """
    etag = f'"{sha256}"'
    asked = request.headers.get("Range", "")
    if request.headers.get("If-Range", etag) != etag:
        asked = ""
    bounds = parse_range(asked, size)
    if bounds is None:
        response: HttpResponseBase = attachment(read(0, None), name=name, size=size)
    elif not bounds:
        response = HttpResponse(status=416, content_type="text/plain")
        response["Content-Range"] = f"bytes */{size}"
    else:
        length = bounds.stop - bounds.start
        response = attachment(read(bounds.start, length), name=name, size=length)
        response.status_code = 206
        response["Content-Range"] = f"bytes {bounds.start}-{bounds.stop - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    return response


def part_of(blocks: Iterable[bytes], start: int, length: int | None) -> Iterator[bytes]:
    """From a stream that only goes forward, the bytes of a range."""
    left = length
    for block in blocks:
        skipped = min(start, len(block))
        start -= skipped
        piece = block[skipped:] if left is None else block[skipped : skipped + left]
        if piece:
            yield piece
        if left is not None:
            left -= len(piece)
            if not left:
                return


def parse_range(header: str, size: int) -> range | None:
    """The bytes asked; None for all of them (no header, another unit, several ranges); empty for none.

    A header that cannot be read is ignored, as the RFC asks.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", header, re.ASCII)
    if not found or found[1] == found[2] == "":
        return None
    if not found[1]:
        return range(max(0, size - int(found[2])), size)
    start, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < start:
        return None
    return range(start, min(last + 1, size)) if start < size else range(0)
