"""The S2LOW client: post an archive, ask where it is (text API, ISO-8859-1, first line OK or KO)."""

from dataclasses import dataclass

import httpx
from django.conf import settings

from dematmp.acts.errors import GatewayRefused, GatewayUnavailable
from dematmp.acts.rules import ACKNOWLEDGED, POSTED, SENT, WAITING

_MODULE = "/modules/actes/"
_ANSWER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Status:
    """Where a transaction is; `detail` is the acknowledgement's XML (4) or the reason (-1)."""

    code: int
    detail: bytes


class S2low:
    """One operator of transmission. Every call raises GatewayUnavailable or GatewayRefused."""

    def __init__(self, *, url: str, login: str, password: str, timeout: float) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout
        self._auth = httpx.BasicAuth(login, password) if login else None

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        files: dict[str, tuple[str, bytes, str]] | None = None,
    ) -> bytes:
        try:
            with httpx.Client(timeout=self._timeout, auth=self._auth) as client:
                form = {"api": "1"} if method == "POST" else None
                answer = client.request(
                    method, f"{self._url}{_MODULE}{path}", params=params, data=form, files=files
                )
        except httpx.HTTPError as failed:
            raise GatewayUnavailable("L'opérateur de télétransmission ne répond pas.") from failed
        if answer.status_code != httpx.codes.OK or len(answer.content) > _ANSWER_BYTES:
            raise GatewayUnavailable(f"L'opérateur de télétransmission a répondu {answer.status_code}.")
        return answer.content

    def _lines(self, body: bytes) -> bytes:
        first, _, rest = body.partition(b"\n")
        if first.strip() == b"KO":
            raise GatewayRefused(rest.decode("latin-1").strip()[:300] or "Refus sans motif.")
        if first.strip() != b"OK":
            raise GatewayUnavailable("L'opérateur de télétransmission a répondu hors protocole.")
        return rest

    def next_serial(self) -> int:
        """The number of the authority's next envelope of the day."""
        text = self._lines(self._call("GET", "actes_transac_get_env_serial.php")).decode("latin-1").strip()
        if not text.isdigit():
            raise GatewayUnavailable("L'opérateur n'a pas donné de numéro d'enveloppe.")
        return int(text)

    def submit(self, name: str, archive: bytes) -> int:
        """Post an archive of one message; the transaction's id."""
        files = {"enveloppe": (name, archive, "application/x-gzip")}
        lines = (
            self._lines(self._call("POST", "actes_transac_submit.php", files=files)).decode("latin-1").split()
        )
        if len(lines) != 2 or lines[0] != "1" or not lines[1].isdigit():
            raise GatewayUnavailable("L'opérateur n'a pas donné d'identifiant de transaction.")
        return int(lines[1])

    def find(self, number: str) -> int | None:
        """The transaction of this act number, when an earlier post was taken although its answer was lost."""
        for status in (POSTED, WAITING, SENT, ACKNOWLEDGED):
            body = self._call("GET", "api/list_actes.php", params={"status_id": str(status), "limit": "1000"})
            try:
                rows = httpx.Response(200, content=body).json()["transactions"]
                found = [int(row["id"]) for row in rows if row["number"] == number]
            except (ValueError, KeyError, TypeError) as broken:
                raise GatewayUnavailable("La liste des transactions est illisible.") from broken
            if found:
                return found[0]
        return None

    def status(self, transaction: int) -> Status:
        """Where a transaction is."""
        rest = self._lines(
            self._call("GET", "actes_transac_get_status.php", params={"transaction": str(transaction)})
        )
        code, _, detail = rest.partition(b"\n")
        try:
            return Status(int(code), detail)
        except ValueError as broken:
            raise GatewayUnavailable("L'état de la transaction est illisible.") from broken


def configured() -> S2low | None:
    """The operator of the settings, or None when there is none."""
    known = settings.S2LOW
    if not known["url"]:
        return None
    return S2low(url=known["url"], login=known["login"], password=known["password"], timeout=known["timeout"])
