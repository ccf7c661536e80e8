"""The committee's side of the JSON API: deal the shares, confirm one's own, bring it to the opening."""

import base64
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from signing import sharing
from signing.ceremony import (
    Holder,
    KindKeys,
    Record,
    build_record,
    fingerprint,
    parse_record,
    record_hash,
)
from signing.client import Client, b64, rows_of
from signing.errors import CeremonyRefused, DeadlineNotPassed, ProtectorRefused
from signing.keys import key_hash, new_seed, open_with, public_key, seal_to

CODE = "signing 0.1.0"


def check_own(holder: Holder, seed: bytes, also: Collection[str]) -> None:
    """Refuse a record that seals this holder's share to a protector that is not the holder's.

    The platform could add one of its own to each holder, and read the bids alone: only the holder can tell.
    `also` has fingerprints (16 hex digits, any spacing) of the holder's other protectors.
    """
    own = {fingerprint(key_hash(public_key(seed))).replace(" ", "")}
    own |= {re.sub(r"[^0-9A-F]", "", each.upper())[:16] for each in also}
    foreign = [
        fingerprint(sha256)
        for _, sha256 in holder.protectors
        if fingerprint(sha256).replace(" ", "") not in own
    ]
    if foreign:
        raise ProtectorRefused(
            f"Votre part est aussi scellée à un protecteur que vous n'avez pas nommé : {', '.join(foreign)}. "
            "Si cette empreinte est celle de votre feuille ou de votre autre protecteur, recommencez en la "
            "donnant ; sinon ne confirmez pas et prévenez la commission."
        )


class Committee(Client):
    """A member of the committee and the platform; keys and shares in clear stay on this machine."""

    def deal(self, consultation: str) -> bytes:
        """The president's part, for the consultation then for its twin; the record of the first.

        Make the seeds, split, commit, recombine every quorum, seal each share to each protector of its
        holder, send the record. Run again, it goes on where it stopped.
        """
        said = self.get(f"/consultations/{consultation}/ceremony")
        twin = str(said["twin"] or "")
        record = base64.b64decode(str(said["record"])) if said["record"] else self.deal_one(said, twin=twin)
        if said["twin"] and not self.get(f"/consultations/{said['twin']}/ceremony")["record"]:
            self.deal_one(self.get(f"/consultations/{said['twin']}/ceremony"))
        return record

    def deal_one(
        self,
        said: Mapping[str, object],
        *,
        path: str = "",
        seeds: Mapping[str, bytes] | None = None,
        epoch: int = 1,
        previous: str = "",
        twin: str = "",
    ) -> bytes:
        """Deal new seeds, or these ones again to the holders of a later epoch."""
        members, ceremony = rows_of(said["members"]), str(said["ceremony"])
        platform = said["platform"]
        if not isinstance(platform, dict):
            raise CeremonyRefused("Réponse inattendue du serveur.")
        keys: dict[str, KindKeys] = {}
        shares = []
        for kind, encoded in platform.items():
            seed = seeds[kind] if seeds else new_seed()
            dealt = sharing.deal(
                seed, ceremony=ceremony, holders=len(members), threshold=int(str(said["threshold"]))
            )
            commitments = {each.index: (each.salt, each.commitment) for each in dealt}
            keys[kind] = KindKeys(public_key(seed), base64.b64decode(encoded), commitments)
            for each, member in zip(dealt, members, strict=True):
                info = sharing.member_info(ceremony, kind, each.index)
                for protector in rows_of(member["protectors"]):
                    sealed = seal_to(base64.b64decode(str(protector["public_key"])), each.share, info)
                    shares.append(
                        {
                            "kind": kind,
                            "index": each.index,
                            "protector": protector["protector"],
                            "sealed": b64(sealed),
                        }
                    )
        holders = [
            Holder(
                int(str(member["index"])),
                str(member["name"]),
                str(member["member"]),
                [
                    (str(each["protector"]), key_hash(base64.b64decode(str(each["public_key"]))))
                    for each in rows_of(member["protectors"])
                ],
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
                epoch,
                previous,
                str(self.get("/me")["uuid"]),
                twin,
            )
        )
        path = path or f"/consultations/{said['consultation']}"
        self.post(f"{path}/ceremony", {"record": b64(record), "shares": shares})
        return record

    def confirm(self, consultation: str, protector_seed: bytes, *, also: Collection[str] = ()) -> str:
        """A member's part, for the consultation then for its twin; the hash of the record of the first.

        Check that its shares open and match their commitments, that they are sealed to no other protector
        than its own (`also`: fingerprints of the others), then confirm the record's hash.
        Raises ProtectorRefused for a protector that is not told.
        """
        said = self.get(f"/consultations/{consultation}/ceremony")
        sha256, twin = self._confirm_one(said, protector_seed, also)
        if twin:
            again = self.get(f"/consultations/{twin}/ceremony")
            if again["consultation"] != twin:
                raise CeremonyRefused("La répétition n'est pas celle que nomme le compte rendu.")
            self._confirm_one(again, protector_seed, also)
        return sha256

    def dealer(self, consultation: str) -> str:
        """The name of who dealt the keys, as the record says it; empty for a record before ceremony/3."""
        said = self.get(f"/consultations/{consultation}/ceremony")
        record = parse_record(base64.b64decode(str(said["record"] or "")))
        return next((holder.name for holder in record.holders if holder.member == record.dealer), "")

    def _confirm_one(self, said: Mapping[str, object], seed: bytes, also: Collection[str]) -> tuple[str, str]:
        """The hash of the record, and the twin that it names (before ceremony/3, that the platform names)."""
        data = base64.b64decode(str(said["record"] or ""))
        consultation, record = str(said["consultation"]), parse_record(data)
        protector, mine = self.my_shares(f"/consultations/{consultation}", record, seed)
        index = next(iter(mine.values()))[0]
        check_own(record.holders[index - 1], seed, also)
        sha256 = record_hash(data)
        body = {"sha256": sha256, "protector": protector}
        self.post(f"/consultations/{consultation}/ceremony/confirm", body)
        return sha256, record.twin if record.dealer else str(said["twin"] or "")

    def rehearse(self, consultation: str, protector_seed: bytes) -> str:
        """Say that one's shares open and match: nothing of them leaves this machine."""
        said = self.get(f"/consultations/{consultation}/ceremony")
        data = base64.b64decode(str(said["record"] or ""))
        protector, _ = self.my_shares(f"/consultations/{consultation}", parse_record(data), protector_seed)
        body = {"sha256": record_hash(data), "protector": protector}
        self.post(f"/consultations/{consultation}/ceremony/rehearsal", body)
        return record_hash(data)

    def twin(self, consultation: str) -> str:
        """The consultation on which the opening of this one is rehearsed. Raises CeremonyRefused."""
        said = self.get(f"/consultations/{consultation}/ceremony")
        if not said["twin"]:
            raise CeremonyRefused("Cette cérémonie n'a pas de consultation jumelle.")
        return str(said["twin"])

    def my_shares(self, path: str, record: Record, seed: bytes) -> tuple[str, dict[str, tuple[int, bytes]]]:
        """The protector whose seed this is, and my shares by kind: (index, share)."""
        public = public_key(seed)
        known = {
            str(row["protector"])
            for row in self.rows("/committee/protectors")
            if base64.b64decode(str(row["public_key"])) == public
        }
        mine: dict[str, tuple[int, bytes]] = {}
        used = ""
        for row in self.rows(f"{path}/shares/mine"):
            if str(row["protector"]) not in known:
                continue
            kind, index, used = str(row["kind"]), int(str(row["index"])), str(row["protector"])
            info = sharing.member_info(record.ceremony, kind, index)
            share = open_with(seed, base64.b64decode(str(row["sealed"])), info)
            salt, expected = record.keys[kind].commitments[index]
            sharing.check_share(record.ceremony, index, salt, share, expected)
            mine[kind] = (index, share)
        if not mine:
            raise ProtectorRefused("Ce protecteur ne garde aucune part de cette consultation.")
        return used, mine

    def start_opening(self, consultation: str) -> dict[str, object]:
        """Open the session, or join the one that is open; refused before the deadline."""
        return self.post(f"/consultations/{consultation}/opening")

    def give_share(
        self, consultation: str, session: Mapping[str, object], seed: bytes, *, rehearsal: bool = False
    ) -> dict[str, object]:
        """Check my shares against their commitments, then seal them to this session's key and send them.

        The server may serve one ceremony for another: a rehearsal's keys have no twin of their own.
        Raises CeremonyRefused, DeadlineNotPassed: this machine's clock is asked too, not only the server.
        """
        said = self.get(f"/consultations/{consultation}/ceremony")
        deadline = datetime.fromisoformat(str(said["deadline"]))
        if datetime.now(UTC) <= deadline:
            raise DeadlineNotPassed(
                "D'après l'horloge de ce poste, la date limite n'est pas passée "
                f"({deadline:%d/%m/%Y %H:%M:%S} UTC)."
            )
        path = f"/consultations/{consultation}"
        record = parse_record(base64.b64decode(str(said["record"] or "")))
        if record.consultation != consultation:
            raise CeremonyRefused("Ces clés sont celles d'une autre consultation.")
        if rehearsal and record.twin:
            raise CeremonyRefused("Ces clés sont celles des vrais plis, pas celles de la répétition.")
        public = base64.b64decode(str(session["public_key"]))
        identifier, asked = str(session["session"]), session["kinds"]
        if not isinstance(asked, list):
            raise CeremonyRefused("Réponse inattendue du serveur.")
        shares = [
            {
                "kind": kind,
                "index": index,
                "sealed": b64(seal_to(public, share, sharing.session_info(identifier, kind, index))),
            }
            for kind, (index, share) in self.my_shares(path, record, seed)[1].items()
            if kind in asked
        ]
        return self.post(f"/openings/{identifier}/shares", {"shares": shares})
