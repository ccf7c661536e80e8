"""A small real HTTP server that answers what a test says: a maintenance page, another authority."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def answering(answer: Callable[[bytes], bytes], *, content_type: str = "text/html") -> Iterator[str]:
    """Its address; every GET and POST is answered 200 with what `answer` makes of the request's body."""
    with _serving(lambda _, body: answer(body), content_type) as url:
        yield url


@contextmanager
def answering_paths(
    answer: Callable[[str], bytes | str], *, content_type: str = "text/html"
) -> Iterator[str]:
    """The same, from the path that was asked for; a text is the address of a redirect (302)."""
    with _serving(lambda path, _: answer(path), content_type) as url:
        yield url


@contextmanager
def _serving(answer: Callable[[str, bytes], bytes | str], content_type: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = answer(self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            body = b"" if isinstance(said, str) else said
            self.send_response(302 if isinstance(said, str) else 200)
            if isinstance(said, str):
                self.send_header("Location", said)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """Its address; the first request of a connection has `{}`, and the next ones this head, then a byte now
    and then, for ever."""
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), listening.accept()[0] as line:
                line.settimeout(5)
                line.recv(65536)
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                line.recv(65536)
                line.sendall(head)
                while not over.wait(0.05):
                    line.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()
