"""The whole service in processes of its own, with its accounts, once for every test that needs it."""

import socket
import ssl
from pathlib import Path

import httpx

from deploy.services.pki import Held
from deploy.transmission import Stack
from tests.migrated import lay_sqlite


class Running:
    """The stack with its accounts: lea alone on her certificate, paul and zoe on a shared one."""

    def __init__(self, folder: Path) -> None:
        lay_sqlite(folder / "state" / "dematmp.sqlite3")
        self.stack = stack = Stack(folder, delay=0.2)
        self.lea, self.shared = stack.pki.client("lea"), stack.pki.client("partage")
        self.revoked, self.expired = stack.pki.client("revoque"), stack.pki.client("perime", expired=True)
        self.other = stack.stranger.client("etranger")
        self.nobody = stack.pki.client("inconnu")
        self.below, self.gone = stack.between.client("sous"), stack.between.client("parti")
        stack.between.revoke(self.gone)
        stack.pki.revoke(self.revoked)
        stack.start()
        stack.account(self.lea)
        stack.account(self.below)
        stack.account(self.gone)
        stack.account(self.shared, login="paul")
        stack.account(self.shared, login="zoe", permission="CS")

    def context(self, held: Held | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.stack.pki.held.pem))
        if held is not None:
            context.load_cert_chain(held.pem, held.key_pem)
        return context

    def client(self, held: Held | None, *, login: str = "") -> httpx.Client:
        return httpx.Client(
            base_url=self.stack.nginx.url,
            verify=self.context(held),
            auth=(login, login) if login else None,
            timeout=30,
        )

    def raw(self, held: Held, data: bytes, *, wait: float = 10) -> bytes:
        """What the server answers to bytes written on a TLS socket, until it closes or falls silent."""
        port = self.stack.nginx.port
        with (
            socket.create_connection(("127.0.0.1", port), timeout=wait) as plain,
            self.context(held).wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(data)
            return read_all(secured)


def read_all(connection: socket.socket) -> bytes:
    """Up to the end of one response that announces its length, or is chunked, or closes."""
    got = b""
    while block := connection.recv(65536):
        got += block
        if got.startswith(b"HTTP/1.1 100 "):
            got = got.partition(b"\r\n\r\n")[2]
        head, found, body = got.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        if found and ((lengths and len(body) >= lengths[0]) or body.endswith(b"0\r\n\r\n")):
            break
    return got
