"""A TCP proxy that misbehaves: latency, resets after some bytes, silence, answers that lie."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_BLOCK = 65536
_METHODS = (b"PUT ", b"POST ", b"GET ", b"HEAD ", b"DELETE ")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closed with a reset, as when a cable is pulled


@dataclass
class Faults:
    """What the proxy does to each new connection; changed while it runs."""

    latency: float = 0.0  # seconds before each block from the client
    reset_share: float = 0.0  # of the new connections (1: of all): reset after `reset_after` bytes
    reset_after: int = 0
    cut_share: float = 0.0  # of the requests: reset somewhere in their bytes, or before their answer
    cut_after: int = 0  # bytes of answers on one connection after which it is reset; 0: never
    silent: bool = False  # takes everything, answers nothing
    lie: Callable[[bytes], bytes | None] | None = None  # first bytes of a request → an answer of its own
    seen: list[str] = field(default_factory=list)


class FaultProxy:
    """Between a client and `target`; `port` is where the client connects."""

    def __init__(self, target: int, faults: Faults, *, seed: int = 1) -> None:
        self._target, self._faults, self._random = target, faults, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        doomed = self._random.random() < self._faults.reset_share
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._target)) as store,
        ):
            back = threading.Thread(target=self._back, args=(store, client, self._faults), daemon=True)
            back.start()
            passed = 0
            while block := client.recv(_BLOCK):
                faults = self._faults
                if faults.latency:
                    faults.seen.append("late")
                    time.sleep(faults.latency)  # the fault itself
                if faults.silent:
                    faults.seen.append("silent")
                    continue
                if faults.lie is not None and (answer := faults.lie(block)) is not None:
                    faults.seen.append("lie")
                    client.sendall(answer)  # which closes: the rest of this request goes nowhere
                    while client.recv(_BLOCK):
                        pass
                    return
                if block.startswith(_METHODS) and self._random.random() < faults.cut_share:
                    faults.seen.append("cut")
                    store.sendall(block[: self._random.randrange(len(block) + 1)])
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
                passed += len(block)
                if (doomed or faults.reset_share >= 1) and passed > faults.reset_after:
                    faults.seen.append("reset")
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
                store.sendall(block)

    @staticmethod
    def _back(store: socket.socket, client: socket.socket, faults: Faults) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while block := store.recv(_BLOCK):
                client.sendall(block)
                passed += len(block)
                if faults.cut_after and passed > faults.cut_after:
                    faults.seen.append("answer cut")
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.shutdown(socket.SHUT_RDWR)
                    return
            client.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxied(target: int, faults: Faults) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target, faults)
    try:
        yield proxy
    finally:
        proxy.close()
