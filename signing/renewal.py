"""Other holders for the same keys: the former ones lend their shares to a dealer, who deals them again.

The dealer's ephemeral key comes from the platform, which could give its own: nobody lends anything before the
code that the dealer tells by another way (voice, in person) is the one of that key.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection, Mapping

from signing import sharing
from signing.ceremony import Holder, fingerprint, parse_record, record_hash
from signing.client import b64, rows_of
from signing.committee import Committee, check_own
from signing.errors import CeremonyRefused, ProtectorRefused
from signing.keys import key_hash, open_with, public_key, seal_to


def dealer_code(public: bytes) -> str:
    """What the dealer reads aloud: 16 hex digits of the hash of its ephemeral key, in groups of four."""
    return fingerprint(key_hash(public))


def offer(client: Committee, renewal: str, seed: bytes) -> str:
    """The dealer's first step: give the key of this ephemeral seed; the code to tell the former holders."""
    public = public_key(seed)
    client.post(f"/renewals/{renewal}/dealer", {"public_key": b64(public)})
    return dealer_code(public)


def list_code(said: Mapping[str, object]) -> str:
    """What every new holder and the dealer compare aloud: the new holders, and all that is sealed to them."""
    lines = sorted(
        f"{member['member']} {key_hash(base64.b64decode(str(protector['public_key'])))}"
        for member in rows_of(said["members"])
        for protector in rows_of(member["protectors"])
    )
    text = "\n".join(["pli/1 new holders", str(said["ceremony"]), str(said["threshold"]), *lines])
    return fingerprint(hashlib.sha256(text.encode()).hexdigest())


def check_list(client: Committee, renewal: str, protector_seed: bytes, *, also: Collection[str] = ()) -> str:
    """A new holder's first step: only its own protectors are beside its name; the code to tell the dealer."""
    said = client.get(f"/renewals/{renewal}")
    mine = key_hash(public_key(protector_seed))
    for row in rows_of(said["members"]):
        hashes = [
            (str(each["protector"]), key_hash(base64.b64decode(str(each["public_key"]))))
            for each in rows_of(row["protectors"])
        ]
        if mine in {sha256 for _, sha256 in hashes}:
            holder = Holder(int(str(row["index"])), str(row["name"]), str(row["member"]), hashes)
            check_own(holder, protector_seed, also)
            return list_code(said)
    raise ProtectorRefused("Ce protecteur n'est pas dans la nouvelle liste.")


def _dealer(said: Mapping[str, object]) -> bytes:
    dealer = said["dealer"]
    if not isinstance(dealer, dict):
        raise CeremonyRefused("Personne ne répartit encore : attendez son code.")
    return base64.b64decode(str(dealer["public_key"]))


def lend(client: Committee, renewal: str, protector_seed: bytes, code: str) -> None:
    """A former holder's part: compare the code, check one's shares, seal them to the dealer.

    Raises CeremonyRefused when the code is not that of the key given by the platform.
    """
    said = client.get(f"/renewals/{renewal}")
    public = _dealer(said)
    typed = re.sub(r"[^0-9A-F]", "", code.upper())
    if not hmac.compare_digest(typed, dealer_code(public).replace(" ", "")):
        raise CeremonyRefused(
            "Ce code n'est pas celui de la clé que la plateforme présente : n'allez pas plus loin. "
            "Demandez de nouveau le code, de vive voix ; s'il diffère encore, prévenez la commission."
        )
    record = parse_record(base64.b64decode(str(said["former"])))
    _, mine = client.my_shares(f"/consultations/{said['consultation']}", record, protector_seed)
    shares = [
        {
            "kind": kind,
            "index": index,
            "sealed": b64(seal_to(public, share, sharing.dealer_info(str(said["ceremony"]), kind, index))),
        }
        for kind, (index, share) in mine.items()
    ]
    client.post(f"/renewals/{renewal}/lent", {"dealer": key_hash(public), "shares": shares})


def deal(client: Committee, renewal: str, seed: bytes, *, code: str) -> str:
    """The dealer's second step, once a quorum lent its shares; the hash of the new record.

    `code` is what every new holder told: the list to which the shares are sealed is the one they checked.
    Check each against the former commitments, combine, compare with the committee's key, deal again.
    Raises ShareRefused (naming the holder of a false share), CeremonyRefused.
    """
    said = client.get(f"/renewals/{renewal}")
    if _dealer(said) != public_key(seed):
        raise CeremonyRefused("Cette clé n'est pas celle que vous avez donnée pour cette répartition.")
    if re.sub(r"[^0-9A-F]", "", code.upper()) != list_code(said).replace(" ", ""):
        raise CeremonyRefused(
            "Ce code n'est pas celui de la liste que la plateforme présente : ne répartissez rien. "
            "Demandez de nouveau son code à chaque nouveau détenteur, de vive voix."
        )
    former = base64.b64decode(str(said["former"]))
    record = parse_record(former)
    lent: dict[str, dict[int, bytes]] = {kind: {} for kind in record.keys}
    for row in rows_of(client.rows(f"/renewals/{renewal}/lent")):
        kind, index = str(row["kind"]), int(str(row["index"]))
        info = sharing.dealer_info(str(said["ceremony"]), kind, index)
        lent[kind][index] = open_with(seed, base64.b64decode(str(row["sealed"])), info)
    seeds = {
        kind: sharing.quorum_seed(
            record.ceremony,
            lent[kind],
            keys.commitments,
            threshold=record.threshold,
            public=keys.committee,
        )
        for kind, keys in record.keys.items()
    }
    made = client.deal_one(
        said,
        path=f"/renewals/{renewal}",
        seeds=seeds,
        epoch=int(str(said["epoch"])),
        previous=record_hash(former),
        twin=record.twin,
    )
    return record_hash(made)


def confirm(client: Committee, renewal: str, protector_seed: bytes, *, also: Collection[str] = ()) -> str:
    """A new holder's part: check one's shares and that the keys are the same, then confirm."""
    said = client.get(f"/renewals/{renewal}")
    data = base64.b64decode(str(said["record"] or ""))
    record, former = parse_record(data), base64.b64decode(str(said["former"]))
    before = parse_record(former)
    same = {kind: keys.committee for kind, keys in before.keys.items()}
    if record.previous != record_hash(former) or same != {
        kind: keys.committee for kind, keys in record.keys.items()
    }:
        raise CeremonyRefused("Cette répartition n'est pas celle des mêmes clés : ne confirmez pas.")
    protector, mine = client.my_shares(f"/renewals/{renewal}", record, protector_seed)
    check_own(record.holders[next(iter(mine.values()))[0] - 1], protector_seed, also)
    sha256 = record_hash(data)
    client.post(f"/renewals/{renewal}/confirm", {"sha256": sha256, "protector": protector})
    return sha256
