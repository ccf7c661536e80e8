"""What the tests of the transmission service need: an authority with its accounts, a caller, a ministry."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from dematmp.acts.administration import save_agent
from dematmp.acts.models import Act, Agent, Authority, Transaction, Transmission
from dematmp.acts.subscribers import BOTH
from dematmp.acts.tasks import sweep, sweep_service
from deploy.ministry import Ministry, Server, serve
from deploy.services.pki import Held
from tests.world import pdf

SECRET = "secret-du-frontal"
MODULE = "/modules/actes/"


def authority(siren: str = "123456789", **more: object) -> Authority:
    values = {"name": "Ville d'Essai", "department": "034", "district": "1", "nature": "31", **more}
    return Authority.objects.create(siren=siren, email="mairie@ville.example.fr", **values)


def agent(
    of: Authority, held: Held, *, login: str = "", permission: str = BOTH, role: str = "USER", **more: object
) -> Agent:
    made = Agent(
        authority=of,
        name="Martin",
        given_name="Léa",
        email="lea.martin@ville.example.fr",
        login=login,
        permission=permission,
        role=role,
        **more,
    )
    return save_agent(
        made, password="secret" if login else "", certificate=held.certificate, by="", now=timezone.now()
    )


@dataclass
class Caller:
    """A client behind the front: the certificate goes in the header that only the front may write."""

    held: Held | None
    login: str = ""
    password: str = "secret"
    secret: str = SECRET
    client: Client = field(default_factory=lambda: Client(raise_request_exception=True))

    @property
    def headers(self) -> dict[str, str]:
        import base64

        found = {"HTTP_X_FRONT_SECRET": self.secret}
        if self.held is not None:
            pem = self.held.certificate.public_bytes(Encoding.PEM).decode()
            found |= {"HTTP_X_CLIENT_VERIFY": "SUCCESS", "HTTP_X_CLIENT_CERT": quote(pem)}
        if self.login:
            known = base64.b64encode(f"{self.login}:{self.password}".encode()).decode()
            found["HTTP_AUTHORIZATION"] = f"Basic {known}"
        return found

    def get(self, path: str, **params: object) -> HttpResponse:
        where = path if path.startswith("/") else MODULE + path
        return self.client.get(where, params, **self.headers)

    def post(self, path: str, body: bytes, content_type: str, **more: str) -> HttpResponse:
        where = path if path.startswith("/") else MODULE + path
        return self.client.generic("POST", where, body, content_type=content_type, **self.headers, **more)

    def form(self, path: str, fields: list[tuple[str, object]]) -> HttpResponse:
        """A multipart form; a value is text, bytes, or (file name, bytes)."""
        body = multipart(fields)
        return self.post(path, body, "multipart/form-data; boundary=limite")


def multipart(fields: list[tuple[str, object]], *, quoted: bool = True, boundary: str = "limite") -> bytes:
    """The body that a client writes by hand; unquoted as some do."""
    mark = '"' if quoted else ""
    out = b""
    for name, value in fields:
        out += f"--{boundary}\r\nContent-Disposition: form-data; name={mark}{name}{mark}".encode("latin-1")
        if isinstance(value, tuple):
            file_name, data = value
            raw = file_name if isinstance(file_name, bytes) else file_name.encode()
            out += b'; filename="' + raw + b'"\r\nContent-Type: application/octet-stream'
        else:
            data = value if isinstance(value, bytes) else str(value).encode("latin-1")
        out += b"\r\n\r\n" + data + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


PDF_SENT = pdf()


def act_fields(number: str = "2026_MP_001", **changes: object) -> list[tuple[str, object]]:
    """A deliberation that is accepted; a change to None takes a field away."""
    values: dict[str, object] = {
        "api": "1",
        "nature_code": "1",
        "classif1": "1",
        "classif2": "1",
        "classif3": "1",
        "number": number,
        "decision_date": "2026-01-10",
        "subject": "Réhabilitation de l'école n°2",
        "type_acte": "99_DE",
        "acte_pdf_file": ("deliberation.pdf", PDF_SENT),
        **changes,
    }
    return [(name, value) for name, value in values.items() if value is not None]


def posted(caller: Caller, number: str = "2026_MP_001", **changes: object) -> int:
    """The id of an act that was accepted."""
    answer = caller.form("actes_transac_create.php", act_fields(number, **changes))
    lines = answer.content.split(b"\n")
    assert lines[0] == b"OK", answer.content.decode("latin-1")
    return int(lines[1])


def state(caller: Caller, pk: int) -> tuple[int, bytes]:
    body = caller.get("actes_transac_get_status.php", transaction=pk).content
    first, second, rest = body.split(b"\n", 2)
    assert first == b"OK", body
    return int(second), rest


@contextmanager
def ministry_in(
    folder: Path, *, maildir: bool = True, delay: float = 0.0, tls: Held | None = None
) -> Iterator[tuple[Ministry, str]]:
    """A ministry that listens on a free port, and its address."""
    made = Ministry(folder / "ministry", folder / "Maildir" if maildir else None, delay=delay)
    server: Server = serve(made, 0, (str(tls.pem), str(tls.key_pem)) if tls else None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made, f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        made.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def acknowledged(act: Act) -> Transmission:
    """The act's transmission once its receipt came, by the sweeps that the beat would make."""

    def done() -> bool:
        sweep()
        return Transmission.objects.get(act=act).acknowledged_at is not None

    until(done)
    return Transmission.objects.get(act=act)


def until(done: "object", *, seconds: float = 20) -> None:
    """Sweep until `done()`, as the beat would."""
    import time

    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end, [
            (each.pk, each.type, each.status, each.problem) for each in Transaction.objects.order_by("pk")
        ]
        sweep_service()
        time.sleep(0.02)
