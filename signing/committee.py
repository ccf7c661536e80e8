"""The committee's side of the JSON API: deal the shares, confirm one's own, bring it to the opening."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime

from signing import sharing
from signing.ceremony import Holder, KindKeys, Record, build_record, parse_record, record_hash
from signing.client import Client, b64, rows_of
from signing.errors import CeremonyRefused, DeadlineNotPassed
from signing.keys import key_hash, new_seed, open_with, public_key, seal_to

CODE = "signing 0.1.0"


class Committee(Client):
    """A member of the committee and the platform; keys and shares in clear stay on this machine."""

    def deal(self, consultation: str) -> bytes:
        """The president's part.

        Make the seeds, split, commit, recombine every quorum, seal each share, send the record.
        """
        said = self.get(f"/consultations/{consultation}/ceremony")
        members, ceremony = rows_of(said["members"]), str(said["ceremony"])
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
                shares.append({"kind": kind, "index": each.index, "sealed": b64(sealed)})
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
        self.post(f"/consultations/{consultation}/ceremony", {"record": b64(record), "shares": shares})
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
        """Check my shares against their commitments, then seal them to this session's key and send them.

        Raises DeadlineNotPassed: this machine's clock is asked too, not only the server.
        """
        deadline = datetime.fromisoformat(str(self.get(f"/consultations/{consultation}")["deadline"]))
        if datetime.now(UTC) <= deadline:
            raise DeadlineNotPassed(
                "D'après l'horloge de ce poste, la date limite n'est pas passée "
                f"({deadline:%d/%m/%Y %H:%M:%S} UTC)."
            )
        said = self.get(f"/consultations/{consultation}/ceremony")
        record = parse_record(base64.b64decode(str(said["record"] or "")))
        public = base64.b64decode(str(session["public_key"]))
        identifier = str(session["session"])
        shares = [
            {
                "kind": kind,
                "index": index,
                "sealed": b64(seal_to(public, share, sharing.session_info(identifier, kind, index))),
            }
            for kind, (index, share) in self._my_shares(consultation, record, seed).items()
        ]
        return self.post(f"/openings/{identifier}/shares", {"shares": shares})
