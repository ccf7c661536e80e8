"""The JSON API seen from a bidder's or a member's machine: deposit in resumable parts, keys, shares."""

import base64
import hashlib
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from signing.ceremony import fingerprint, keys_for, parse_record, record_hash
from signing.delivery import Sealed, Sender, keep_attempt, pieces
from signing.digests import CompositeDigest, part_bytes_for
from signing.envelope import Ids, Source, seal
from signing.errors import CeremonyRefused, DraftAltered, SigningError

STORE_AWAY = "deposit.store-away"  # a failure whose words matter: the finalisation is received
_TRIES = 6
_CONNECT = 10.0  # seconds
_PIECES = {
    "receipt.json": "receipt.json",
    "record": "record",
    "token.tst": "token.tst",
    "proof": "proof.tlog-proof",
    "receipt.pdf": "receipt.pdf",
}


class ServerRefused(SigningError):
    """The server's refusal: its code, its French sentence, the next step."""

    def __init__(
        self, status: int, code: str, message: str, next_step: str, facts: Mapping[str, object]
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.next, self.facts = status, code, next_step, facts


class ServerUnreachable(SigningError):
    """No answer after every retry: nothing is lost, run the same command again."""

    code = "client.server-unreachable"


@dataclass(frozen=True)
class EnvelopePlan:
    """Files to seal for one lot and kind."""

    lot: str
    kind: str
    files: Sequence[Source]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Client:
    """A server and a bearer token.

    Every call is retried with back-off and jitter; every verb may be repeated.
    """

    def __init__(
        self,
        server: str,
        token: str,
        *,
        timeout: float = 60.0,
        tries: int = 0,
        limit: float = 0.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`tries` of each call, six unless said; `timeout` of each, `limit` of all together, in seconds."""
        self.server, self.tries, self.timeout = server.rstrip("/"), tries or _TRIES, timeout
        self.told: Callable[[str], None] = lambda _: None  # each time that it tries again
        self._until = time.monotonic() + limit if limit else float("inf")
        self._http = httpx.Client(
            transport=transport,
            base_url=f"{self.server}/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT)),
        )

    def close(self) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        tries = self.tries
        if content is not None:
            headers = {**(headers or {}), "Content-Length": str(len(content))}
        for tried in range(tries):
            left = self._until - time.monotonic()
            if left <= 0:
                raise ServerUnreachable("Le temps accordé est écoulé.")
            try:
                answer = self._http.request(
                    method,
                    path,
                    json=body,
                    content=None if content is None else pieces(content),
                    headers=headers,
                    timeout=self._timeout(left),
                )
            except httpx.TransportError as failed:
                if tried == tries - 1:
                    raise ServerUnreachable(
                        "Le serveur ne répond pas ; relancez la même commande, elle reprendra."
                    ) from failed
                self.told("Le serveur ne répond pas : nouvel essai.")
                self.wait(tried)
                continue
            if answer.status_code >= 500 and tried < tries - 1:
                self.told(self._fault(answer))
                self.wait(tried)
                continue
            if answer.is_success:
                return answer
            raise self._refusal(answer)
        raise ServerUnreachable("Le serveur ne répond pas.")

    def _timeout(self, left: float) -> httpx.Timeout:
        each = min(self.timeout, left)
        return httpx.Timeout(each, connect=min(each, _CONNECT))

    @staticmethod
    def wait(tried: int) -> None:
        time.sleep(min(8.0, 0.25 * 2**tried) * random.uniform(0.5, 1.5))  # noqa: S311  (jitter, not a secret)

    @staticmethod
    def _refusal(answer: httpx.Response) -> ServerRefused:
        try:
            facts = answer.json()
        except ValueError:
            facts = {}
        if not isinstance(facts, dict):
            facts = {}
        message = facts.get("message") or facts.get("detail") or f"Le serveur a répondu {answer.status_code}."
        code = str(facts.get("code") or f"http.{answer.status_code}")
        return ServerRefused(answer.status_code, code, str(message), str(facts.get("next", "")), facts)

    @classmethod
    def _fault(cls, answer: httpx.Response) -> str:
        if (said := cls._refusal(answer)).reason == STORE_AWAY:  # what matters is that it was received
            return str(said)
        return f"Le serveur est en panne (réponse {answer.status_code}) : nouvel essai."

    @staticmethod
    def _json(answer: httpx.Response) -> object:
        try:
            return answer.json()
        except ValueError as other:
            said = "Le serveur a répondu autre chose que prévu : une page d'entretien, peut-être."
            raise ServerRefused(answer.status_code, "http.unexpected", said, "", {}) from other

    def get(self, path: str) -> dict[str, object]:
        value = self._json(self.send("GET", path))
        return value if isinstance(value, dict) else {"rows": value}

    def rows(self, path: str) -> list[dict[str, object]]:
        value = self._json(self.send("GET", path))
        return value if isinstance(value, list) else []

    def post(self, path: str, body: object = None) -> dict[str, object]:
        value = self._json(self.send("POST", path, body if body is not None else {}))
        return value if isinstance(value, dict) else {}

    def fetch(self, path: str) -> bytes:
        return self.send("GET", path).content

    # Bidder

    def seal_draft(
        self,
        consultation: str,
        plans: Sequence[EnvelopePlan],
        draft: Path,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, object]:
        """Seal the files into `draft` (0700), to the keys that the ceremony record carries.

        Raises CeremonyRefused.

        The draft holds ciphertext only, and what is sent again after an interruption is byte for byte the
        same.
        """
        said = self.get(f"/consultations/{consultation}")
        me = self.get("/me")
        keys = trusted_keys(said)
        organisation = me["organisation"]
        if not isinstance(organisation, dict):
            raise CeremonyRefused("Réponse inattendue du serveur.")
        deposit = str(uuid.uuid4())
        draft.mkdir(parents=True, exist_ok=True, mode=0o700)
        envelopes = []
        for plan in plans:
            pair = keys_for(keys, plan.kind, plan.lot)
            if pair is None:
                raise CeremonyRefused(f"Cette consultation ne demande pas d'enveloppe « {plan.kind} ».")
            envelope = str(uuid.uuid4())
            ids = Ids(str(said["uuid"]), plan.lot, str(organisation["uuid"]), plan.kind, deposit, envelope)
            committee, platform, ceremony = pair
            sealed = seal(
                plan.files,
                ids=ids,
                committee=committee,
                platform=platform,
                ceremony=ceremony,
                out=draft / envelope,
                progress=progress,
            )
            objects = [
                {"name": each.name, "size": each.size, "sha256": each.sha256} for each in sealed.objects
            ]
            envelopes.append({"envelope": envelope, "lot": plan.lot, "kind": plan.kind, "objects": objects})
        state: dict[str, object] = {
            "v": "draft/1",
            "consultation": consultation,
            "deposit": deposit,
            "envelopes": envelopes,
        }
        (draft / "draft.json").write_text(json.dumps(state, indent=1))
        ceremonies = {fingerprint(ceremony) for _, _, ceremony in keys.values()}
        return state | {"fingerprint": ", ".join(sorted(ceremonies))}

    def upload(self, draft: Path, *, progress: Callable[[int], None] | None = None) -> dict[str, object]:
        """Open the attempt, or resume it where the server says it stopped; returns the attempt's state."""
        state = load_draft(draft)
        attempt = self.post("/attempts", attempt_body(draft, state))
        keep_attempt(draft, self.server, str(attempt["attempt"]))
        if attempt.get("fingerprint_first") and not attempt.get("fingerprint"):
            # What is sealed here is known to the last byte: its time is taken before anything is sent.
            said = self.post(f"/attempts/{attempt['attempt']}/fingerprint", {"objects": digests(state)})
            (draft / "fingerprint.json").write_text(json.dumps(said, indent=1))
            attempt["fingerprint"] = said["received"]
        direct = bool(attempt.get("direct"))
        with Sender(self, str(attempt["attempt"]), direct=direct, timeout=self.timeout) as sender:
            for envelope, each in drafted(state):
                held, path = _held(attempt, envelope, str(each["name"])), draft / envelope / str(each["name"])
                if self._upload_object(sender, path, envelope, held, progress) != each["sha256"]:
                    raise DraftAltered(f"« {path} » a changé depuis qu'il a été scellé : scellez de nouveau.")
            sender.finish()
        return attempt

    def _upload_object(
        self,
        sender: Sender,
        path: Path,
        envelope: str,
        held: Mapping[int, object],
        progress: Callable[[int], None] | None,
    ) -> str:
        name, part_bytes = path.name, part_bytes_for(path.stat().st_size)
        whole = CompositeDigest(part_bytes)
        with path.open("rb") as file:
            number = 0
            while block := file.read(part_bytes):
                number += 1
                digest = hashlib.sha256(block).hexdigest()
                whole.update(block)
                if held.get(number) != digest:
                    sender.send(Sealed(envelope, name, number, digest), block)
                if progress:
                    progress(len(block))
        return whole.hexdigest()

    def finalise(self, draft: Path, attempt: str) -> dict[str, object]:
        """Make the deposit; the same receipt comes back when repeated. The receipt is kept in the draft."""
        state = load_draft(draft)
        objects = digests(state)
        receipt = self.post(f"/attempts/{attempt}/finalise", {"objects": objects})
        while receipt.get("state") == "recording":  # received; the store puts a very large deposit away
            self.wait(2)
            receipt = self.post(f"/attempts/{attempt}/finalise", {"objects": objects})
        said = json.dumps(receipt, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        (draft / "receipt.json").write_text(said)
        return receipt

    def collect(self, deposit: str, into: Path, *, wait: float = 30.0) -> dict[str, object]:
        """Save the proofs.

        Record, token, receipt (JSON and PDF), journal proof; waits `wait` seconds for the token.
        """
        until = time.monotonic() + wait
        while True:
            said = self.get(f"/deposits/{deposit}")
            if (said["token"] and said["pdf"]) or time.monotonic() > until:
                break
            time.sleep(0.2)
        into.mkdir(parents=True, exist_ok=True)
        for piece, name in _PIECES.items():
            try:
                (into / name).write_bytes(self.fetch(f"/deposits/{deposit}/{piece}"))
            except ServerRefused as late:
                if late.status != 404:
                    raise
        return said


def rows_of(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise CeremonyRefused("Réponse inattendue du serveur.")
    return value


def trusted_keys(said: Mapping[str, object]) -> dict[str, tuple[bytes, bytes, str]]:
    """Keys' name → (committee's, platform's, ceremony's hash), refused unless the record carries them."""
    ceremony, keys = said["ceremony"], said["keys"]
    if not isinstance(ceremony, dict) or not isinstance(keys, dict):
        raise CeremonyRefused("Réponse inattendue du serveur.")
    data = base64.b64decode(str(ceremony["record"]))
    record = parse_record(data)
    if record_hash(data) != ceremony["sha256"] or record.consultation != said["uuid"]:
        raise CeremonyRefused("Le compte rendu de la cérémonie n'est pas celui de cette consultation.")
    result = {}
    for name, pair in keys.items():
        committee, platform = base64.b64decode(pair["committee"]), base64.b64decode(pair["platform"])
        carried = record.keys.get(name)
        if carried is None or (carried.committee, carried.platform) != (committee, platform):
            raise CeremonyRefused(
                "Une clé proposée n'est pas celle de la cérémonie : ne déposez pas, prévenez l'acheteur."
            )
        result[name] = (committee, platform, record_hash(data))
    return result


def load_draft(draft: Path) -> dict[str, object]:
    """The draft's state. Raises SigningError when the folder is not a draft."""
    try:
        state = json.loads((draft / "draft.json").read_text())
    except (FileNotFoundError, ValueError) as bad:
        raise SigningError(f"{draft} n'est pas un brouillon scellé.") from bad
    if not isinstance(state, dict) or state.get("v") != "draft/1":
        raise SigningError("Version de brouillon inconnue.")
    return state


def attempt_body(draft: Path, state: Mapping[str, object]) -> dict[str, object]:
    envelopes = []
    for each in rows_of(state["envelopes"]):
        folder = draft / str(each["envelope"])
        envelopes.append(
            {
                "header": b64((folder / "header.json").read_bytes()),
                "keys": b64((folder / "keys.bin").read_bytes()),
                "objects": [{"name": row["name"], "size": row["size"]} for row in rows_of(each["objects"])],
            }
        )
    clock = datetime.now(UTC).isoformat()
    return {"consultation": state["consultation"], "client_clock": clock, "envelopes": envelopes}


def drafted(state: Mapping[str, object]) -> list[tuple[str, dict[str, object]]]:
    """Envelope and object of each thing to send: what this machine sealed, whatever the server asks for."""
    return [
        (str(envelope["envelope"]), each)
        for envelope in rows_of(state["envelopes"])
        for each in rows_of(envelope["objects"])
    ]


def digests(state: Mapping[str, object]) -> list[dict[str, object]]:
    return [
        {"envelope": envelope, "name": each["name"], "sha256": each["sha256"]}
        for envelope, each in drafted(state)
    ]


def _held(attempt: Mapping[str, object], envelope: str, name: str) -> dict[int, object]:
    """The parts of one object that the server says it has: number, SHA-256."""
    return {
        int(str(part["number"])): part["sha256"]
        for each in rows_of(attempt["objects"])
        if (each["envelope"], each["name"]) == (envelope, name)
        for part in rows_of(each["parts"])
    }


def draft_bytes(draft: Path) -> int:
    """Bytes to send for a draft."""
    state = load_draft(draft)
    return sum(int(str(row["size"])) for _, row in drafted(state))
