"""Forms as S2LOW's clients post them: unquoted names, Latin-1 or UTF-8, repeated fields, files on disk.

Django's own parser drops a part whose file name holds Latin-1 bytes, and turns those of a field into U+FFFD.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, BinaryIO, TypeVar, cast
from urllib.parse import unquote_to_bytes

from django.http import HttpRequest
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from dematmp.acts import latin1
from dematmp.acts.errors import ActRefused
from dematmp.acts.fields import MAX_FILES, Upload
from dematmp.acts.rules import ARCHIVE_BYTES

FORM_BYTES = 1024 * 1024  # of fields
_INCOMPLETE = "Le formulaire reçu n'est pas lisible ou n'est pas complet : envoyez-le de nouveau en entier."
BODY_BYTES = ARCHIVE_BYTES + 16 * 1024 * 1024
FIELDS = 1000
_HEADERS = 64 * 1024
_BLOCK = 256 * 1024
_IN_MEMORY = 1024 * 1024
_PREAMBLE = 64 * 1024  # of what may come before the first part, and is nobody's (RFC 2046, 5.1.1)
# A boundary that holds a comma, a colon or a space is quoted.
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^";,\s]{1,200}))', re.IGNORECASE)
# Of these a file that was not chosen keeps its place: the second signature is of the second annex.
_RANKED = ("acte_attachments", "acte_attachments_sign", "acte_pdf_file_sign")
# A quoted value ends at the last quote before the next parameter or the end: names may hold quotes.
_PARAMETER = re.compile(
    rb';\s*(?P<name>filename|name)\s*=\s*(?:"(?P<quoted>.*?)"\s*(?=;\s*(?:file)?name\*?\s*=|$)|(?P<bare>[^;]*))',
    re.IGNORECASE | re.DOTALL,
)

T = TypeVar("T")


@dataclass
class Form:
    """Fields and files by name, in the order in which they came; `with` closes the files."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[Upload]] = field(default_factory=dict)
    total: int = 0
    empty: bool = True

    def __enter__(self) -> "Form":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for uploads in self.files.values():
            for each in uploads:
                each.stream.close()

    @property
    def count(self) -> int:
        """How many files were chosen."""
        return sum(bool(each.name) for uploads in self.files.values() for each in uploads)

    def get(self, name: str, default: str = "") -> str:
        """The last value of a field, stripped."""
        return self.fields.get(name, [default])[-1].strip()

    def all(self, name: str) -> list[str]:
        """Every value of a field written `name[]`, `name[3]` or `name`."""
        return [each.strip() for key in _like(self.fields, name) for each in self.fields[key]]

    def uploads(self, name: str) -> list[Upload]:
        return [each for key in _like(self.files, name) for each in self.files[key]]


def _like(given: Mapping[str, object], name: str) -> list[str]:
    found = [key for key in given if re.fullmatch(rf"{re.escape(name)}(\[[0-9]{{0,4}}\])?", key)]
    return sorted(found, key=lambda key: int("0" + re.sub(r"[^0-9]", "", key[len(name) :])))


def slots(given: Mapping[str, list[T]], name: str) -> dict[int, T]:
    """The values of a repeated field by place: `name[3]` says it, `name[]` takes the next one."""
    found: dict[int, T] = {}
    for key in _like(given, name):
        said = key[len(name) :].strip("[]")
        for each in given[key]:
            rank = int(said) if said and int(said) not in found else max(found, default=-1) + 1
            found[rank] = each
    return found


def integer(written: str) -> int | None:
    """A number that the database can hold, or None: `isdigit` takes « ² » for a digit."""
    return int(written) if re.fullmatch(r"[0-9]{1,15}", written) else None


def decode(data: bytes) -> str:
    """UTF-8 or ISO-8859-1, without the NUL that no database keeps."""
    return latin1.decode(data).replace("\0", "")


def read_form(request: HttpRequest) -> Form:
    """The query's fields, then those of the body of a POST. Raises ActRefused: too big, or unreadable."""
    form = read_query(request)
    if request.method != "POST":
        return form  # a redirected POST becomes a GET that announces a body which never comes
    declared = request.headers.get("Content-Type", "")
    if "multipart/form-data" in declared.lower():
        _multipart(form, request, declared)
    else:
        data = _stream(request).read(FORM_BYTES + 1)
        if len(data) > FORM_BYTES:
            raise ActRefused(f"La taille totale est trop importante (max : {ARCHIVE_BYTES}).")
        form.empty = not data
        if "json" in declared.lower():
            _from_json(form, data)
        else:
            _urlencoded(form, data)
    return form


def read_query(request: HttpRequest) -> Form:
    """The fields of the query alone."""
    form = Form()
    _urlencoded(form, str(request.META.get("QUERY_STRING", "")).encode("latin-1"))
    return form


def _stream(request: HttpRequest) -> BinaryIO:
    if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return cast(BinaryIO, request.META["wsgi.input"])  # the server itself ends it
    return cast(BinaryIO, request)


def _from_json(form: Form, data: bytes) -> None:
    """The plain values of an object."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as broken:
        raise ActRefused("Le corps JSON n'est pas lisible.") from broken
    for name, value in list(said.items())[:FIELDS] if isinstance(said, dict) else []:
        if isinstance(value, str | int) and not isinstance(value, bool):
            form.fields.setdefault(name, []).append(str(value).replace("\0", ""))


def _urlencoded(form: Form, data: bytes) -> None:
    for pair in data.split(b"&")[:FIELDS]:
        if pair:
            name, _, value = pair.partition(b"=")
            key = decode(unquote_to_bytes(name.replace(b"+", b" ")))
            form.fields.setdefault(key, []).append(decode(unquote_to_bytes(value.replace(b"+", b" "))))


class _Parts:
    """Receives a multipart body piece by piece; limits stand before anything is kept."""

    def __init__(self, form: Form) -> None:
        self.form, self.seen, self.text = form, 0, 0
        self._header, self._value, self._disposition = b"", b"", b""
        self._name, self._file_name = "", ""
        self._bytes: IO[bytes] | None = None
        self._data = b""
        self.whole = False  # once the delimiter that closes the form came

    def close(self) -> None:
        self.whole = True

    def drop(self) -> None:
        """The files of a form that is refused, and the one that was being received."""
        self.form.__exit__(None, None, None)
        if self._bytes is not None:
            self._bytes.close()

    def begin(self) -> None:
        self.seen += 1
        if self.seen > FIELDS:
            raise ActRefused("Le formulaire compte trop de champs.")
        self._disposition, self._data, self._bytes = b"", b"", None
        self._name = self._file_name = ""

    def header(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header + data[start:end])[-_HEADERS:]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > _HEADERS:
            raise ActRefused("Un en-tête du formulaire est trop long.")

    def header_end(self) -> None:
        if self._header.strip().lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def headers_end(self) -> None:
        found = {each["name"].lower(): each for each in _PARAMETER.finditer(self._disposition)}
        self._name = _written(found.get(b"name"))
        if b"filename" in found:
            self._file_name = _written(found[b"filename"])
            if sum(map(len, self.form.files.values())) >= 2 * MAX_FILES + 10:
                raise ActRefused(f"Il y a trop d'annexes (max : {MAX_FILES}).")
            self._bytes = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (closed with the form)

    def data(self, data: bytes, start: int, end: int) -> None:
        self.form.empty = False
        size = end - start
        if self._bytes is None:
            self.text += size
            if self.text > FORM_BYTES:
                raise ActRefused("Les champs du formulaire sont trop longs.")
            self._data += data[start:end]
            return
        self.form.total += size
        if self.form.total <= ARCHIVE_BYTES:  # beyond, it is counted and no longer kept: refused later
            self._bytes.write(data[start:end])

    def end(self) -> None:
        if not self._name:
            return
        if self._bytes is None:
            self.form.fields.setdefault(self._name, []).append(decode(self._data))
            return
        size = self._bytes.tell()
        self._bytes.seek(0)
        if not self._file_name and size == 0 and self._name.partition("[")[0] not in _RANKED:
            self._bytes.close()  # the field of a file that was not chosen
            return
        upload = Upload(self._file_name or ("fichier" if size else ""), size, cast(BinaryIO, self._bytes))
        self.form.files.setdefault(self._name, []).append(upload)


def _written(found: "re.Match[bytes] | None") -> str:
    if found is None:
        return ""
    quoted = found["quoted"]
    # Clients look for the name that they sent, spaces included.
    return decode(quoted.replace(b'\\"', b'"') if quoted is not None else (found["bare"] or b"").strip())


def _multipart(form: Form, request: HttpRequest, declared: str) -> None:
    boundary = _BOUNDARY.search(declared.encode("latin-1", errors="replace"))
    if boundary is None:
        raise ActRefused("Le formulaire n'est pas lisible : il n'annonce pas sa limite.")
    mark = boundary[1] or boundary[2]
    parts = _Parts(form)
    parser = MultipartParser(
        mark,
        {
            "on_part_begin": parts.begin,
            "on_header_field": parts.header,
            "on_header_value": parts.value,
            "on_header_end": parts.header_end,
            "on_headers_finished": parts.headers_end,
            "on_part_data": parts.data,
            "on_part_end": parts.end,
            "on_end": parts.close,
        },
    )
    stream, read = _stream(request), 0
    before: bytes | None = b""  # what came until the first delimiter, then None
    try:
        while block := stream.read(_BLOCK):
            read += len(block)
            if read > BODY_BYTES:
                raise ActRefused(f"La taille totale est trop importante (max : {ARCHIVE_BYTES}).")
            if before is not None:
                found = _first_part(before + block, mark)
                if found is None:
                    before += block
                    if len(before) > _PREAMBLE:
                        raise ActRefused(_INCOMPLETE)
                    continue
                block, before = found, None
            parser.write(block)
        parser.finalize()
        if read and not parts.whole:  # the parser drops a part that was cut: an annex would go missing
            raise ActRefused(_INCOMPLETE)
    except MultipartParseError as broken:
        parts.drop()
        raise ActRefused(_INCOMPLETE) from broken
    except (ActRefused, OSError):
        parts.drop()
        raise


def _first_part(data: bytes, mark: bytes) -> bytes | None:
    """The body from its first delimiter on; None while it did not come."""
    delimiter = b"--" + mark
    if data.startswith(delimiter):
        return data
    at = data.find(b"\r\n" + delimiter)
    return data[at + 2 :] if at >= 0 else None
