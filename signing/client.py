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

from signing import sharing
from signing.ceremony import Holder, KindKeys, Record, build_record, parse_record, record_hash
from signing.digests import CompositeDigest, part_bytes_for
from signing.envelope import Ids, Source, seal
from signing.errors import CeremonyRefused, SigningError
from signing.keys import key_hash, new_seed, open_with, public_key, seal_to

_TRIES = 6
_PIECES = {
    "receipt.json": "receipt.json",
    "record": "record",
    "token.tst": "token.tst",
    "proof": "proof.tlog-proof",
    "receipt.pdf": "receipt.pdf",
}
CODE = "signing 0.1.0"


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


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Client:
    """A server and a bearer token.

    Every call is retried with back-off and jitter; every verb may be repeated.
    """

    def __init__(
        self, server: str, token: str, *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(
            transport=transport,
            base_url=server.rstrip("/") + "/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout,
        )

    def close(self) -> None:
        self._http.close()

    def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        for tried in range(_TRIES):
            try:
                answer = self._http.request(method, path, json=body, content=content, headers=headers)
            except httpx.TransportError as failed:
                if tried == _TRIES - 1:
                    raise ServerUnreachable(
                        "Le serveur ne répond pas ; relancez la même commande, elle reprendra."
                    ) from failed
                self._wait(tried)
                continue
            if answer.status_code >= 500 and tried < _TRIES - 1:
                self._wait(tried)
                continue
            if answer.is_success:
                return answer
            raise self._refusal(answer)
        raise ServerUnreachable("Le serveur ne répond pas.")

    @staticmethod
    def _wait(tried: int) -> None:
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

    def get(self, path: str) -> dict[str, object]:
        value = self._send("GET", path).json()
        return value if isinstance(value, dict) else {"rows": value}

    def rows(self, path: str) -> list[dict[str, object]]:
        value = self._send("GET", path).json()
        return value if isinstance(value, list) else []

    def post(self, path: str, body: object = None) -> dict[str, object]:
        value = self._send("POST", path, body if body is not None else {}).json()
        return value if isinstance(value, dict) else {}

    def fetch(self, path: str) -> bytes:
        return self._send("GET", path).content

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
            if plan.kind not in keys:
                raise CeremonyRefused(f"Cette consultation ne demande pas d'enveloppe « {plan.kind} ».")
            envelope = str(uuid.uuid4())
            ids = Ids(str(said["uuid"]), plan.lot, str(organisation["uuid"]), plan.kind, deposit, envelope)
            committee, platform, ceremony = keys[plan.kind]
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
        return state

    def upload(self, draft: Path, *, progress: Callable[[int], None] | None = None) -> dict[str, object]:
        """Open the attempt, or resume it where the server says it stopped; returns the attempt's state."""
        state = load_draft(draft)
        attempt = self.post("/attempts", _attempt_body(draft, state))
        for each in _rows(attempt["objects"]):
            held = {int(str(part["number"])): part["sha256"] for part in _rows(each["parts"])}
            self._upload_object(str(attempt["attempt"]), draft, each, held, progress)
        return attempt

    def _upload_object(
        self,
        attempt: str,
        draft: Path,
        each: Mapping[str, object],
        held: Mapping[int, object],
        progress: Callable[[int], None] | None,
    ) -> None:
        envelope, name, size = str(each["envelope"]), str(each["name"]), int(str(each["size"]))
        part_bytes = part_bytes_for(size)
        with (draft / envelope / name).open("rb") as file:
            number = 0
            while block := file.read(part_bytes):
                number += 1
                digest = hashlib.sha256(block).hexdigest()
                if held.get(number) != digest:
                    path = f"/attempts/{attempt}/envelopes/{envelope}/objects/{name}/parts/{number}"
                    self._send("PUT", path, content=block, headers={"X-Part-SHA256": digest})
                if progress:
                    progress(len(block))

    def finalise(self, draft: Path, attempt: str) -> dict[str, object]:
        """Make the deposit; the same receipt comes back when repeated. The receipt is kept in the draft."""
        state = load_draft(draft)
        objects = [
            {"envelope": envelope["envelope"], "name": each["name"], "sha256": each["sha256"]}
            for envelope in _rows(state["envelopes"])
            for each in _rows(envelope["objects"])
        ]
        receipt = self.post(f"/attempts/{attempt}/finalise", {"objects": objects})
        (draft / "receipt.json").write_text(json.dumps(receipt, ensure_ascii=False, indent=1))
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

    # Committee

    def deal(self, consultation: str) -> bytes:
        """The president's part.

        Make the seeds, split, commit, recombine every quorum, seal each share, send the record.
        """
        said = self.get(f"/consultations/{consultation}/ceremony")
        members, ceremony = _rows(said["members"]), str(said["ceremony"])
        platform = said["platform"]
        if not isinstance(platform, dict):
            raise CeremonyRefused("Réponse inattendue du serveur.")
        keys: dict[str, KindKeys] = {}
        shares = []
        for kind, encoded in platform.items():
            seed = new_seed()
            dealt = sharing.deal(
                seed, ceremony=ceremony, holders=len(members), threshold=int(str(said["threshold"]))
            )
            commitments = {each.index: (each.salt, each.commitment) for each in dealt}
            keys[kind] = KindKeys(public_key(seed), base64.b64decode(encoded), commitments)
            for each, member in zip(dealt, members, strict=True):
                protector = base64.b64decode(str(member["public_key"]))
                sealed = seal_to(protector, each.share, sharing.member_info(ceremony, kind, each.index))
                shares.append({"kind": kind, "index": each.index, "sealed": _b64(sealed)})
        holders = [
            Holder(
                int(str(member["index"])),
                str(member["name"]),
                str(member["member"]),
                str(member["protector"]),
                key_hash(base64.b64decode(str(member["public_key"]))),
            )
            for member in members
        ]
        record = build_record(
            Record(
                ceremony,
                str(said["consultation"]),
                int(str(said["threshold"])),
                holders,
                keys,
                CODE,
                datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
        self.post(f"/consultations/{consultation}/ceremony", {"record": _b64(record), "shares": shares})
        return record

    def confirm(self, consultation: str, protector_seed: bytes) -> str:
        """A member's part.

        Check that its shares open and match their commitments, then confirm the record's hash.
        """
        said = self.get(f"/consultations/{consultation}/ceremony")
        data = base64.b64decode(str(said["record"] or ""))
        record = parse_record(data)
        self._my_shares(consultation, record, protector_seed)
        sha256 = record_hash(data)
        self.post(f"/consultations/{consultation}/ceremony/confirm", {"sha256": sha256})
        return sha256

    def _my_shares(self, consultation: str, record: Record, seed: bytes) -> dict[str, tuple[int, bytes]]:
        mine: dict[str, tuple[int, bytes]] = {}
        for row in self.rows(f"/consultations/{consultation}/shares/mine"):
            kind, index = str(row["kind"]), int(str(row["index"]))
            info = sharing.member_info(record.ceremony, kind, index)
            share = open_with(seed, base64.b64decode(str(row["sealed"])), info)
            salt, expected = record.keys[kind].commitments[index]
            sharing.check_share(record.ceremony, index, salt, share, expected)
            mine[kind] = (index, share)
        return mine

    def start_opening(self, consultation: str) -> dict[str, object]:
        """Open the session, or join the one that is open; refused before the deadline."""
        return self.post(f"/consultations/{consultation}/opening")

    def give_share(self, consultation: str, session: Mapping[str, object], seed: bytes) -> dict[str, object]:
        """Check my shares against their commitments, then seal them to this session's key and send them."""
        said = self.get(f"/consultations/{consultation}/ceremony")
        record = parse_record(base64.b64decode(str(said["record"] or "")))
        public = base64.b64decode(str(session["public_key"]))
        identifier = str(session["session"])
        shares = [
            {
                "kind": kind,
                "index": index,
                "sealed": _b64(seal_to(public, share, sharing.session_info(identifier, kind, index))),
            }
            for kind, (index, share) in self._my_shares(consultation, record, seed).items()
        ]
        return self.post(f"/openings/{identifier}/shares", {"shares": shares})


def _rows(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise CeremonyRefused("Réponse inattendue du serveur.")
    return value


def trusted_keys(said: Mapping[str, object]) -> dict[str, tuple[bytes, bytes, str]]:
    """kind → (committee's key, platform's key, ceremony hash), refused unless the record carries them."""
    ceremony, keys = said["ceremony"], said["keys"]
    if not isinstance(ceremony, dict) or not isinstance(keys, dict):
        raise CeremonyRefused("Réponse inattendue du serveur.")
    data = base64.b64decode(str(ceremony["record"]))
    record = parse_record(data)
    if record_hash(data) != ceremony["sha256"] or record.consultation != said["uuid"]:
        raise CeremonyRefused("Le compte rendu de la cérémonie n'est pas celui de cette consultation.")
    result = {}
    for kind, pair in keys.items():
        committee, platform = base64.b64decode(pair["committee"]), base64.b64decode(pair["platform"])
        carried = record.keys.get(kind)
        if carried is None or (carried.committee, carried.platform) != (committee, platform):
            raise CeremonyRefused(
                "Une clé proposée n'est pas celle de la cérémonie : ne déposez pas, prévenez l'acheteur."
            )
        result[kind] = (committee, platform, record_hash(data))
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


def _attempt_body(draft: Path, state: Mapping[str, object]) -> dict[str, object]:
    envelopes = []
    for each in _rows(state["envelopes"]):
        folder = draft / str(each["envelope"])
        envelopes.append(
            {
                "header": _b64((folder / "header.json").read_bytes()),
                "keys": _b64((folder / "keys.bin").read_bytes()),
                "objects": [{"name": row["name"], "size": row["size"]} for row in _rows(each["objects"])],
            }
        )
    clock = datetime.now(UTC).isoformat()
    return {"consultation": state["consultation"], "client_clock": clock, "envelopes": envelopes}


def draft_bytes(draft: Path) -> int:
    """Bytes to send for a draft."""
    state = load_draft(draft)
    return sum(int(str(row["size"])) for each in _rows(state["envelopes"]) for row in _rows(each["objects"]))


def check_draft(draft: Path) -> None:
    """Recompute the digest of every sealed object of a draft.

    Raises SigningError naming the first that differs.
    """
    for each in _rows(load_draft(draft)["envelopes"]):
        for row in _rows(each["objects"]):
            digest = CompositeDigest(part_bytes_for(int(str(row["size"]))))
            with (draft / str(each["envelope"]) / str(row["name"])).open("rb") as file:
                while block := file.read(1024**2):
                    digest.update(block)
            if digest.hexdigest() != row["sha256"]:
                raise SigningError(f"L'objet {row['name']} du brouillon a changé depuis le scellement.")
