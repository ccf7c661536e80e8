"""A real SMTP server that keeps what it receives (needs aiosmtpd, a dependency of the tests)."""

from email.message import Message
from types import TracebackType

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from deploy.services.process import free_ports


class _Keep(MessageHandler):  # type: ignore[misc]
    def __init__(self, kept: list[Message]) -> None:
        super().__init__()
        self._kept = kept

    def handle_message(self, message: Message) -> None:
        self._kept.append(message)


class MailSink:
    """`messages` holds every mail received, in order; one of more than `limit` bytes is refused (552)."""

    def __init__(self, *, limit: int | None = None) -> None:
        self.messages: list[Message] = []
        (port,) = free_ports(1)
        self.url = f"smtp://127.0.0.1:{port}"
        self._server = Controller(
            _Keep(self.messages), hostname="127.0.0.1", port=port, data_size_limit=limit
        )

    def __enter__(self) -> "MailSink":
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
