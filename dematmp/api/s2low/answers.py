"""What S2LOW's clients read: OK or KO alone on the first line, ISO-8859-1, HTTP 200; JSON in ASCII."""

import html
import json
from collections.abc import Iterator

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from dematmp.acts.latin1 import encode

TEXT = "text/plain; charset=ISO-8859-1"
ADMIN = TEXT  # JSON, as the administration serves it


def text(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type=TEXT)


def ok(*lines: object) -> HttpResponse:
    """`OK`, then each line, all ended by LF."""
    return text(b"OK\n" + b"".join(encode(str(line)) + b"\n" for line in lines))


def ko(reason: object) -> HttpResponse:
    """A refusal: HTTP 200, for clients take any other for a failure of the network."""
    return text(b"KO\n" + escaped(str(reason)) + b"\n")


def plain_ko(reason: object) -> HttpResponse:
    """The refusal of an endpoint that prints it as it is."""
    return text(b"KO\n" + encode(str(reason)) + b"\n")


def missing(reason: str) -> HttpResponse:
    """No such function: a failure of the transport to clients, which they do not take for an answer."""
    answer = ko(reason)
    answer.status_code = 404
    return answer


def escaped(reason: str) -> bytes:
    """The reason as clients expect it: HTML-escaped, quotes included, within ISO-8859-1."""
    return encode(html.escape(reason, quote=True).replace("&#x27;", "&#039;"))


def as_json(value: object, *, status: int = 200, content_type: str = "application/json") -> HttpResponse:
    said = json.dumps(value, ensure_ascii=True, separators=(",", ":"))  # as PHP writes it
    return HttpResponse(said, content_type=content_type, status=status)


def file(blocks: Iterator[bytes], *, name: str, size: int, content_type: str) -> HttpResponseBase:
    """A file to be kept."""
    answer = StreamingHttpResponse(blocks, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{_plain(name)}"'
    answer["Content-Length"] = str(size)
    return answer


def data(content: bytes, *, name: str, content_type: str) -> HttpResponse:
    answer = HttpResponse(content, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{_plain(name)}"'
    return answer


def away(location: str = "/") -> HttpResponse:
    """302: where a client that is not a program goes."""
    answer = HttpResponse(status=302)
    answer["Location"] = location
    return answer


def _plain(name: str) -> str:
    ascii_only = encode(name).decode("latin-1").encode("ascii", errors="replace").decode()
    return "".join(char if char not in '"\\\r\n?' else "_" for char in ascii_only)
