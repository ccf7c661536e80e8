"""A witness that another town can run: it cosigns a log's checkpoints, each the continuation of the last.

`python -m signing.witness --log KEY_FILE --key SECRET_FILE --state FILE --name temoin.ville.example`

The protocol is C2SP tlog-witness (`POST /add-checkpoint`); the state is one file, written before anything is
signed. A log that shows another history, or a shorter one, is refused, and so cannot show two of them to two
people who ask for this witness's cosignature.
"""

import argparse
import base64
import binascii
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from filelock import FileLock

from signing.cosigning import Cosigner
from signing.errors import ProofRefused
from signing.notes import NOTE_LIMIT, verify_note
from signing.tlog import Checkpoint, verify_consistency

_MAX_PROOF = 63  # hashes (tlog-witness)
_SIZE_TYPE = "text/x.tlog.size"


class Refused(Exception):
    """An answer other than 200: its status, its text, its media type."""

    def __init__(self, status: int, text: str, media: str = "text/plain; charset=utf-8") -> None:
        super().__init__(text)
        self.status, self.text, self.media = status, text, media


class Witness:
    """One log, one key, one state file shared by every process."""

    def __init__(self, log_key: str, cosigner: Cosigner, state: Path) -> None:
        self._log_key, self._cosigner, self._state = log_key.strip(), cosigner, state
        self._origin = self._log_key.split("+", 1)[0]

    def last(self) -> tuple[int, bytes]:
        """Size and root of the last tree that was cosigned; an empty tree before the first one.

        Raises Refused for a state that is not readable any more: taken for none, it would let two histories
        be cosigned.
        """
        try:
            said = json.loads(self._state.read_text())
            return int(said["size"]), bytes.fromhex(said["root"])
        except FileNotFoundError:
            return 0, b""
        except (ValueError, KeyError, TypeError) as spoilt:
            raise Refused(
                500, "L'état de ce témoin n'est plus lisible : son opérateur doit le rétablir.\n"
            ) from spoilt

    def add(self, body: bytes, *, now: datetime) -> str:
        """The cosignature of a checkpoint, once it continues the last one. Raises Refused."""
        old, proof, note = _parse(body)
        origin = note.split("\n", 1)[0]
        if origin != self._origin:
            raise Refused(404, "Ce journal n'est pas de ceux que ce témoin connaît.\n")
        try:
            text = verify_note(note, self._log_key)
        except ProofRefused as forged:
            raise Refused(403, f"{forged}\n") from forged
        try:
            stated = Checkpoint.parse(text)
        except ProofRefused as bad:
            raise Refused(400, f"{bad}\n") from bad
        if old > stated.size:
            raise Refused(400, "La taille ancienne dépasse celle du point de contrôle.\n")
        with FileLock(f"{self._state}.lock"):
            size, root = self.last()
            if old != size:
                raise Refused(409, f"{size}\n", _SIZE_TYPE)
            if size == stated.size and size and root != stated.root:
                raise Refused(409, f"{size}\n", _SIZE_TYPE)
            try:
                if 0 < size < stated.size:
                    verify_consistency(size, stated.size, root, stated.root, proof)
                elif proof:
                    raise ProofRefused("Aucune preuve n'est attendue ici.")
            except ProofRefused as wrong:
                raise Refused(422, f"{wrong}\n") from wrong
            self._keep(stated)
            # A crash from here leaves a tree that was never cosigned as the last one: the log asks again.
        return self._cosigner.cosign(text, now=now)

    def _keep(self, stated: Checkpoint) -> None:
        draft = self._state.with_name(f".{self._state.name}.{os.getpid()}")
        with draft.open("w") as file:
            file.write(json.dumps({"size": stated.size, "root": stated.root.hex()}))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._state)


def _parse(body: bytes) -> tuple[int, list[bytes], str]:
    """(old size, consistency proof, note) of a request. Raises Refused."""
    try:
        head, _, note = body.decode().partition("\n\n")
        first, *lines = head.split("\n")
        word, number = first.split(" ")
        if word != "old" or not number.isascii() or not number.isdigit() or number != str(int(number)):
            raise ValueError("old")
        proof = [base64.b64decode(line, validate=True) for line in lines]
        if len(proof) > _MAX_PROOF or any(len(each) != 32 for each in proof):
            raise ValueError("proof")
        return int(number), proof, note
    except (ValueError, binascii.Error) as bad:
        raise Refused(400, "Demande illisible.\n") from bad


def serve(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server of this witness, bound and not yet running."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds, of a silent client

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                return self._answer(404, "Rien ici.\n")
            if not length.isascii() or not length.isdigit() or int(length) > 2 * NOTE_LIMIT:
                return self._answer(400, "Taille absente ou trop grande.\n")
            try:
                line = witness.add(self.rfile.read(int(length)), now=datetime.now(UTC))
            except Refused as refused:
                return self._answer(refused.status, refused.text, refused.media)
            return self._answer(200, line)

        def _answer(self, status: int, text: str, media: str = "text/plain; charset=utf-8") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer((host, port), Handler)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a witness is told: the log's key, its own, its state and its name."""
    parser.add_argument("--log", type=Path, required=True, help="fichier de la clé publique du journal")
    parser.add_argument("--key", type=Path, required=True, help="fichier de la clé secrète du témoin")
    parser.add_argument("--state", type=Path, required=True, help="fichier du dernier arbre cosigné")
    parser.add_argument("--name", required=True, help="nom public du témoin")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)


def run(*, log: Path, key: Path, state: Path, name: str, host: str, port: int) -> None:
    """Run a witness until it is stopped; its key is made at the first start."""
    if not key.exists():
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(32))
    cosigner = Cosigner(name, key.read_bytes())
    witness = Witness(log.read_text(), cosigner, state)
    with serve(witness, host, port) as server:
        sys.stdout.write(f"Clé du témoin : {cosigner.verifier_key}\n")
        sys.stdout.flush()
        server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m signing.witness", description="Témoin d'un journal.")
    add_arguments(parser)
    run(**vars(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
