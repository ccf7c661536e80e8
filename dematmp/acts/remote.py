"""A S2LOW elsewhere: its text API in ISO-8859-1 (first line OK or KO), its JSON, its downloads."""

import html
import os
import re
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, BinaryIO, cast

import httpx
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from dematmp.acts.errors import GatewayRefused, GatewayUnavailable
from dematmp.acts.fields import Piece, Posting
from dematmp.acts.latin1 import encode
from dematmp.acts.statuses import (
    ACKNOWLEDGED,
    CANCELLED,
    ERROR,
    IN_ARCHIVING,
    POSTED,
    REFUSED,
    SENT,
    TO_ARCHIVE,
    UNCONFIRMED,
    VALID,
    WAITING,
)

NO_STAMP = "Seul un document PDF se tamponne."
_MODULE = "/modules/actes/"
_ANSWER_BYTES = 8 * 1024 * 1024
_ARCHIVE_BYTES = 160 * 1024 * 1024
# The states in which an act just posted may be, the likeliest first; an error last: it may be an older one.
_LOOKED_UP = (
    POSTED, WAITING, SENT, ACKNOWLEDGED, UNCONFIRMED, VALID, REFUSED, TO_ARCHIVE, IN_ARCHIVING, CANCELLED,
    ERROR,
)  # fmt: skip
_PAGE, _PAGES = 1000, 50
_LINE = re.compile(r"([0-9])-([0-9]{1,2})-([0-9]{1,15})")


@dataclass(frozen=True)
class Status:
    """Where a transaction is; `detail` is the acknowledgement's XML (4) or the reason (-1)."""

    code: int
    detail: bytes


@dataclass(frozen=True)
class Letter:
    """A line of the prefecture's letters: their type, their state, their number."""

    type: str
    status: int
    transaction: int


@dataclass
class Remote:
    """One operator of transmission elsewhere. Every call raises GatewayUnavailable or GatewayRefused.

    `p12` is the buyer's client certificate (PKCS#12), `authority` the PEM of the operator's own authority
    when the system does not know it.
    """

    url: str
    login: str = ""
    password: str = ""
    timeout: float = 60.0
    p12: bytes = b""
    p12_password: str = ""
    authority: str = ""
    is_remote: bool = True
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    def _verify(self) -> ssl.SSLContext | bool:
        if not self.p12 and not self.authority:
            return True
        if self._context is None:
            self._context = client_context(self.p12, self.p12_password, self.authority)
        return self._context

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        data: Mapping[str, str] | Mapping[str, bytes | list[bytes]] | None = None,
        files: "list[tuple[str, tuple[str, BinaryIO, str]]] | None" = None,
        follow: bool = False,
        limit: int = _ANSWER_BYTES,
    ) -> httpx.Response:
        auth = httpx.BasicAuth(encode(self.login), encode(self.password)) if self.login else None
        where = f"{self.url.rstrip('/')}{_MODULE}{path}"
        try:
            with httpx.Client(timeout=self.timeout, auth=auth, verify=self._verify()) as client:
                answer = client.request(
                    method,
                    where,
                    params=params,
                    data=cast(dict[str, str], data),
                    files=cast("list[tuple[str, tuple[str, IO[bytes], str]]]", files),
                    follow_redirects=follow,
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, ssl.SSLError) as absent:
            raise GatewayUnavailable(_absence(absent), reached=False) from absent
        except (httpx.HTTPError, OSError) as failed:
            raise GatewayUnavailable("L'opérateur de télétransmission ne répond pas.") from failed
        if answer.status_code != httpx.codes.OK or len(answer.content) > limit:
            said = f" : {_reason(answer)}" if _is_refusal(answer) else "."
            raise GatewayUnavailable(
                f"L'opérateur de télétransmission a répondu {answer.status_code}{said}",
                redirected=answer.is_redirect,
            )
        if _is_refusal(answer):
            raise GatewayRefused(_reason(answer) or "Refus sans motif.")
        return answer

    def _lines(self, answer: httpx.Response) -> bytes:
        first, _, rest = answer.content.partition(b"\n")
        if first.strip() != b"OK":
            raise GatewayUnavailable("L'opérateur de télétransmission a répondu hors protocole.")
        return rest

    def _number(self, answer: httpx.Response) -> int:
        lines = self._lines(answer).split(b"\n")
        if not lines[0].strip().isdigit():
            raise GatewayUnavailable("L'opérateur n'a pas donné d'identifiant de transaction.")
        return int(lines[0])

    def classification(self) -> bytes:
        """The codes in force, byte for byte."""
        return self._call("GET", "actes_classification_fetch.php", params={"api": "1"}).content

    def request_classification(self) -> int:
        return self._number(self._call("GET", "actes_classification_request.php", params={"api": "1"}))

    def post(self, act: Posting) -> int:
        """Post an act once. After a GatewayUnavailable nobody knows whether it was taken: look for it."""
        if act.main is None:
            raise GatewayRefused("Aucun fichier acte.")
        # Bytes, not text: a S2LOW reads ISO-8859-1, and httpx would write UTF-8.
        fields: dict[str, bytes | list[bytes]] = {
            "api": b"1",
            "nature_code": act.nature.encode(),
            **{f"classif{level}": str(code).encode() for level, code in enumerate(act.codes, start=1)},
            "number": act.number.encode(),
            "decision_date": act.decided.encode(),
            "subject": encode(act.subject),
            "document_papier": b"1" if act.paper else b"0",
            "type_acte": act.main.typology.encode(),
            "type_pj[]": [each.typology.encode() for each in act.annexes],
        }
        files = _files(act.main, act.annexes)
        return self._number(self._call("POST", "actes_transac_create.php", data=fields, files=files))

    def find(self, number: str) -> int | None:
        """The transaction of this act number, when an earlier post was taken although its answer was lost."""
        for status in _LOOKED_UP:
            seen: set[int] = set()
            for page in range(_PAGES):  # a S2LOW may ignore the number, and list its oldest acts first
                params = {"status_id": str(status), "limit": str(_PAGE), "offset": str(page * _PAGE)}
                answer = self._call("GET", "api/list_actes.php", params={**params, "number": number})
                try:
                    rows = answer.json()["transactions"]
                    found = [
                        int(row["id"]) for row in rows if row["number"] == number and str(row["type"]) == "1"
                    ]
                    listed = {int(row["id"]) for row in rows}
                except (ValueError, KeyError, TypeError) as broken:
                    raise GatewayUnavailable("La liste des transactions est illisible.") from broken
                if found:
                    return found[-1]
                if len(rows) < _PAGE or listed <= seen:  # the end, or a server that knows no offset
                    break
                seen |= listed
        return None

    def receipt(self, transaction: int) -> bytes:
        """Raises GatewayRefused when there is none: some S2LOW redirect then, as they do for other refusals;
        the stamp, which only an act that has a receipt bears, tells which."""
        params = {"api": "1", "id": str(transaction)}
        try:
            return self._call("GET", "actes_transac_get_ARActe.php", params=params).content
        except GatewayUnavailable as failed:
            if failed.redirected:
                params = {"transaction": str(transaction)}
                self._call("GET", "actes_transac_get_tampon.php", params=params)
            raise

    def status(self, transaction: int) -> Status:
        answer = self._call("GET", "actes_transac_get_status.php", params={"transaction": str(transaction)})
        code, _, detail = self._lines(answer).partition(b"\n")
        try:
            return Status(int(code), detail)
        except ValueError as broken:
            raise GatewayUnavailable("L'état de la transaction est illisible.") from broken

    def _files(self, transaction: int) -> list[tuple[str, str]]:
        """(number, media type) of each file: the message, the document, its annexes."""
        answer = self._call(
            "GET", "actes_transac_get_files_list.php", params={"transaction": str(transaction)}
        )
        try:
            return [(str(each["id"]), str(each["mimetype"])) for each in answer.json()]
        except (ValueError, KeyError, TypeError) as broken:
            raise GatewayUnavailable("La liste des fichiers est illisible.") from broken

    def message(self, transaction: int) -> bytes:
        """The ACTES message, the first file of the list. Raises GatewayRefused before the acknowledgement."""
        files = self._files(transaction)
        if not files:
            raise GatewayUnavailable("La liste des fichiers est illisible.")
        return self._call("GET", "actes_download_file.php", params={"file": files[0][0]}).content

    def stamped(self, transaction: int, rank: int, *, published: date | None) -> bytes:
        files = self._files(transaction)
        if not 1 <= rank < len(files) or files[rank][1] != "application/pdf":
            raise GatewayRefused(NO_STAMP)
        params = {"file": files[rank][0], "tampon": "true"}
        shown = {"date_affichage": published.isoformat()} if published else {}
        return self._pdf("actes_download_file.php", {**params, **shown})

    def bordereau(self, transaction: int) -> bytes:
        return self._pdf("actes_create_pdf.php", {"trans_id": str(transaction)})

    def _pdf(self, path: str, params: dict[str, str]) -> bytes:
        """A refused download is redirected to a page: what is no PDF is no copy."""
        data = self._call("GET", path, params=params, limit=_ARCHIVE_BYTES).content
        if b"%PDF-" not in data[:1024]:
            raise GatewayUnavailable("L'opérateur de télétransmission n'a pas donné le PDF demandé.")
        return data

    def give_up(self, transaction: int) -> None:
        data = {"api": "1", "id": str(transaction), "status": "invalid"}
        self._lines(self._call("POST", "actes_transac_close.php", data=data))

    def letters(self, act: int) -> list[Letter]:
        answer = self._call("GET", "actes_transac_get_document.php", params={"id": str(act)})
        lines = [_LINE.fullmatch(line.strip()) for line in answer.content.decode("latin-1").splitlines()]
        return [Letter(each[1], int(each[2]), int(each[3])) for each in lines if each and each[1] in "2345"]

    def archive(self, letter: int) -> bytes:
        answer = self._call(
            "GET", "actes_transac_get_document.php", params={"id": str(letter)}, follow=True,
            limit=_ARCHIVE_BYTES,
        )  # fmt: skip
        if not answer.content.startswith(b"\x1f\x8b"):
            raise GatewayUnavailable("L'opérateur n'a pas donné l'archive du courrier.")
        return answer.content

    def cancel(self, act: int) -> int:
        data = {"api": "1", "id": str(act)}
        return self._number(self._call("POST", "actes_transac_cancel.php", data=data))

    def reply(self, letter: int, pieces: Sequence[Piece], *, choice: str) -> int:
        fields: dict[str, bytes | list[bytes]] = {
            "api": b"1",
            "id": str(letter).encode(),
            "type_envoie": choice.encode(),
            "type_acte": pieces[0].typology.encode(),
            "type_pj[]": [each.typology.encode() for each in pieces[1:]],
        }
        files = _files(pieces[0], pieces[1:])
        return self._number(self._call("POST", "actes_transac_reponse_create.php", data=fields, files=files))


def client_context(p12: bytes, password: str, authority: str) -> ssl.SSLContext:
    """TLS with the certificate of a PKCS#12. Raises GatewayRefused for one that does not open."""
    try:
        context = ssl.create_default_context(cadata=authority or None)
        if p12:
            key, certificate, others = pkcs12.load_key_and_certificates(p12, password.encode() or None)
            if key is None or certificate is None:
                raise ValueError("vide")
            chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *others))
            secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _load(context, secret + chain)
    except (ValueError, ssl.SSLError) as broken:
        raise GatewayRefused(
            "Le certificat PKCS#12 ne s'ouvre pas, ou l'autorité de l'opérateur est illisible."
        ) from broken
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """OpenSSL reads from a file only: ours alone, and gone at once."""
    descriptor, name = tempfile.mkstemp(prefix="dematmp-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()


def _files(main: Piece, others: Sequence[Piece]) -> "list[tuple[str, tuple[str, BinaryIO, str]]]":
    """The parts of the files, streamed; names are reduced to what every operator accepts."""
    named = [("acte_pdf_file", main), *(("acte_attachments[]", each) for each in others)]
    return [
        (
            field_name,
            (
                re.sub(r"[^A-Za-z0-9._ ]", "_", piece.upload.name),
                piece.upload.stream,
                "application/octet-stream",
            ),
        )
        for field_name, piece in named
    ]


def _is_refusal(answer: httpx.Response) -> bool:
    return answer.content[:3] in (b"KO\n", b"KO") or answer.content.startswith(b"KO\r\n")


def _reason(answer: httpx.Response) -> str:
    return html.unescape(answer.content[2:].decode("latin-1").strip())[:300]


def _absence(failed: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(failed):
        return (
            "Le certificat du serveur de l'opérateur n'est pas reconnu : donnez l'autorité qui l'a émis, ou "
            "vérifiez l'adresse."
        )
    return "L'opérateur de télétransmission ne répond pas : il est absent."
