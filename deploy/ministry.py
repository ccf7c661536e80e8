"""A ministry for demonstrations and tests: archives in over HTTP(S), answers out by mail after a delay.

`python -m deploy.ministry --port 9000 --state DIR [--maildir DIR] [--delay 1] [--tls CERT KEY]`

    POST /          an archive; the field bears its name. 200 when it is on disk.
    GET  /returns/  names of the answers not yet put away; GET or DELETE /returns/NAME
    GET  /received  {archive name: times received}
    POST /mode      {"mode": …, "delay": seconds}
    POST /letters   {"identifier", "kind": "2-1|3-1|4-1|5-1", "text"}: the prefecture writes

Modes: normal; down (503); slow (answers 200 after `delay`); lost (takes, and closes without a word); silent
(never answers by mail); twice (each mail twice); anomaly (1-3); envelope (ANO_); wrong (an answer about
nothing); utf8 (UTF-8 under a prolog that says ISO-8859-1); late (the acknowledgement, then an anomaly).
"""

import argparse
import json
import os
import re
import shutil
import ssl
import threading
import time
from datetime import UTC, date, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from python_multipart.multipart import MultipartParser

from dematmp.acts import messages as m
from dematmp.acts import names
from dematmp.acts.classification import parsed, shipped
from dematmp.acts.package import members
from dematmp.acts.reading import read, read_envelope
from dematmp.acts.writing import write, write_envelope_anomaly, write_return_envelope

ADDRESS = "actes@ministere.example.fr"
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R/Size 4>>\n%%EOF\n"
)
_REPLIES = {"3-3": "3-5", "3-4": "3-5", "4-3": "4-5", "4-4": "4-5"}


class Ministry:
    """Its folder says everything: archives, which of them were answered, answers waiting."""

    def __init__(self, state: Path, maildir: Path | None, *, delay: float) -> None:
        self.archives, self.returns = state / "archives", state / "returns"
        self.answered, self.maildir = state / "answered", maildir
        self.mode, self.delay, self.slow = "normal", delay, 5.0
        self.lock, self.serial = threading.Lock(), int(time.time())
        self.stopping = threading.Event()
        for folder in (self.archives, self.returns, self.answered):
            folder.mkdir(parents=True, exist_ok=True)
        if maildir is not None:
            for name in ("tmp", "new", "cur"):
                (maildir / name).mkdir(parents=True, exist_ok=True)

    def take(self, name: str, source: Path) -> None:
        """Keep an archive and count it; the first time only is answered."""
        with self.lock:
            count = self.archives / f"{name}.count"
            times = int(count.read_text()) + 1 if count.exists() else 1
            source.replace(self.archives / name)
            count.write_text(str(times))

    def received(self) -> dict[str, int]:
        return {path.stem: int(path.read_text()) for path in sorted(self.archives.glob("*.count"))}

    def run(self) -> None:
        """Answer each archive once its delay has passed."""
        while not self.stopping.wait(0.05):
            for archive in sorted(self.archives.glob("*.tar.gz")):
                done = self.answered / archive.name
                if (
                    self.mode == "silent"
                    or done.exists()
                    or time.time() < archive.stat().st_mtime + self.delay
                ):
                    continue
                try:
                    self.answer(archive)
                finally:
                    done.touch()

    def answer(self, archive: Path) -> None:
        """The mail that answers an archive, if its message asks for one."""
        head: list[tuple[str, bytes]] = []
        with archive.open("rb") as file:
            for name, _, content in members(file):
                head.append((name, content.read()))
                if len(head) == 2:
                    break
        (envelope_name, carrier), (message_name, body) = head
        envelope, message = read_envelope(carrier), read(body)
        if self.mode == "envelope":
            refused = m.EnvelopeAnomaly(_today(), "005", "PREF-VERIF-02 : SIREN non enregistré", envelope)
            self.mail({f"ANO_{envelope_name}": write_envelope_anomaly(refused)})
            return
        said = names.read_message(message_name)
        reply = self.reply(message, said)
        if self.mode == "wrong":
            self.serial += 1
            self.mail({f"034-999999999-20260101-RIEN-DE-1-2_{self.serial}.xml": b"<rien/>"})
        elif reply is not None:
            self.post(reply, envelope, said)
            if self.mode == "late" and isinstance(message, m.Act):
                self.post(_anomaly(message), envelope, said)

    def reply(self, message: m.Message, said: names.MessageName) -> m.Message | None:
        match message:
            case m.Act() if self.mode == "anomaly":
                return _anomaly(message)
            case m.Act():
                return m.ActReceipt(said.identifier, _today(), message, message.classification_date)
            case m.Letter() if message.kind in _REPLIES:
                return m.LetterReceipt(_REPLIES[message.kind], message.identifier, message.written, _today())
            case m.Cancellation():
                return m.CancellationReceipt(message.identifier, _today())
            case m.ClassificationRequest():
                held = parsed(shipped())
                return m.ClassificationUnchanged(held.on) if message.held == held.on else held
        return None

    def post(self, message: m.Message, envelope: m.Envelope, said: names.MessageName, **files: bytes) -> None:
        """A message in its envelope, by mail."""
        self.serial += 1
        kind, data = m.kind_of(message), write(message)
        if self.mode == "utf8":
            data = data.decode("latin-1").encode()
        if said.identifier:
            name = names.message(said.identifier, kind, serial=self.serial)
        else:
            name = names.classification_message(
                department=said.department, siren=said.siren, kind=kind, serial=self.serial
            )
        office = f"SPREF{envelope.department}{envelope.district}"
        carrier = names.return_envelope(
            application="TACT",
            authority=office,
            siren=envelope.siren,
            day=_today(),
            serial=self.serial % 10**6,
        )
        who = m.Referent("Préfecture", "", "prefecture@prefecture.example.fr")
        wrapped = m.ReturnEnvelope(
            "IDSousPref", envelope.department, envelope.district, who, (m.File(name),), envelope.siren
        )
        self.mail({carrier: write_return_envelope(wrapped), name: data, **files})

    def write_letter(self, identifier: str, kind: str, text: str) -> None:
        """The prefecture writes about an act, with a document."""
        self.serial += 1
        document = names.document(identifier, kind, 1)
        message: m.Message = (
            m.Referral(identifier, _today(), text, (m.File(document),))
            if kind == "5-1"
            else m.Letter(
                kind, identifier, _today(), (m.File(document),), text if kind in m.LETTER_TEXT else ""
            )
        )
        department, siren, number = names.split_identifier(identifier)
        envelope = m.Envelope(siren, department, "1", "31", m.Referent(), (), ())
        said = names.MessageName(department, siren, identifier, number, kind, self.serial)
        self.post(message, envelope, said, **{document: PDF})

    def mail(self, files: dict[str, bytes]) -> None:
        """Deliver, twice in that mode: to the Maildir where there is one, else to be fetched over HTTP."""
        for _ in range(2 if self.mode == "twice" else 1):
            self.serial += 1
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = ADDRESS, "tdt@example.fr", "ACTES"
            mail["Message-ID"] = f"<{self.serial}.{os.getpid()}@ministere.example.fr>"
            mail.set_content("<p>Message du ministère</p>", subtype="html")
            for name, data in files.items():
                mail.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
            self.deliver(f"{self.serial}.{os.getpid()}.ministere", mail.as_bytes())

    def deliver(self, name: str, data: bytes) -> None:
        if self.maildir is None:
            partial = self.returns / f".{name}"
            partial.write_bytes(data)
            partial.replace(self.returns / name)
            return
        (self.maildir / "tmp" / name).write_bytes(data)
        (self.maildir / "tmp" / name).replace(self.maildir / "new" / name)


def _today() -> date:
    return datetime.now(UTC).astimezone().date()


def _anomaly(act: m.Act) -> m.ActAnomaly:
    detail = "ODT-VERIF-01 : Votre acte a été transmis avec une date de classification qui n'est pas à jour"
    return m.ActAnomaly(_today(), "002", detail, act, act.classification_date)


class Handler(BaseHTTPRequestHandler):
    """One request at a time per connection; the server is threaded."""

    ministry: Ministry
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.path.startswith("/mode"):
            given = self._json()
            self.ministry.mode = str(given.get("mode", self.ministry.mode))
            if self.ministry.mode == "slow":
                self.ministry.slow = float(given.get("delay", 5))
            elif "delay" in given:
                self.ministry.delay = float(given["delay"])
            return self._say(200, b"{}")
        if self.path.startswith("/letters"):
            given = self._json()
            self.ministry.write_letter(given["identifier"], given["kind"], given.get("text", ""))
            return self._say(200, b"{}")
        return self._archive()

    def _archive(self) -> None:
        mode = self.ministry.mode
        if mode == "down":
            self.close_connection = True
            return self._say(503, b"")
        names_seen: list[str] = []
        partial = self.ministry.archives.parent / f"partial-{threading.get_ident()}-{time.monotonic_ns()}"
        boundary = re.search(r"boundary=([^;]+)", self.headers.get("Content-Type", ""))
        with partial.open("wb") as out:
            header: list[bytes] = []
            parser = MultipartParser(
                (boundary[1] if boundary else "").encode(),
                {
                    "on_header_value": lambda data, start, end: header.append(data[start:end]),
                    "on_part_data": lambda data, start, end: out.write(data[start:end]),
                },
            )
            left = int(self.headers.get("Content-Length") or 0)
            while left and (block := self.rfile.read(min(left, 1024 * 1024))):
                left -= len(block)
                parser.write(block)
            found = re.search(rb'[; ]name="([^"/]+)"', b"".join(header))
            if found:
                names_seen.append(found[1].decode())
        if left or not names_seen:
            partial.unlink()
            return self._say(400, b"")
        self.ministry.take(names_seen[0], partial)
        if mode == "lost":
            self.close_connection = True
            self.connection.close()
            return None
        if mode == "slow":
            time.sleep(self.ministry.slow)
        return self._say(200, b"recu")

    def do_GET(self) -> None:
        if self.path == "/received":
            return self._say(200, json.dumps(self.ministry.received()).encode())
        if self.path.startswith("/returns/"):
            name = self.path.removeprefix("/returns/")
            if not name:
                listed = sorted(p.name for p in self.ministry.returns.iterdir() if not p.name.startswith("."))
                return self._say(200, "\n".join(listed).encode())
            if (path := self._return(name)) is not None:
                return self._say(200, path.read_bytes())
        return self._say(404, b"")

    def do_DELETE(self) -> None:
        path = self._return(self.path.removeprefix("/returns/"))
        if path is not None:
            path.unlink()
        return self._say(200, b"")

    def _return(self, name: str) -> Path | None:
        path = self.ministry.returns / Path(name).name
        return path if path.is_file() else None

    def _json(self) -> dict[str, str]:
        return dict(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}"))

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is not our error."""


def serve(ministry: Ministry, port: int, tls: tuple[str, str] | None = None, clients: str = "") -> Server:
    """A server that listens, and its answering thread; stop with `shutdown` and `ministry.stopping`."""
    handler = type("Bound", (Handler,), {"ministry": ministry})
    server = Server(("127.0.0.1", port), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        if clients:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=ministry.run, daemon=True).start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.ministry")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--maildir", type=Path)
    parser.add_argument("--delay", type=float, default=1.0, help="secondes avant chaque réponse")
    parser.add_argument("--mode", default="normal")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICAT", "CLÉ"))
    parser.add_argument("--clients", default="", help="autorité des certificats demandés aux clients")
    parser.add_argument("--fresh", action="store_true", help="oublier ce qui a été reçu")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.state, ignore_errors=True)
    ministry = Ministry(options.state, options.maildir, delay=options.delay)
    ministry.mode = options.mode
    tls = tuple(options.tls) if options.tls else None
    serve(ministry, options.port, tls, options.clients).serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
