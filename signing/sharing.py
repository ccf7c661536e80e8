"""Shamir shares of a seed, commitments that name the holder of a false one, and how shares travel sealed."""

import hashlib
import hmac
import itertools
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyshamir

from signing.errors import ShareRefused
from signing.keys import public_key

SHARE_BYTES = 33  # 32 of secret, one of abscissa
MAX_HOLDERS = 20


@dataclass(frozen=True)
class Dealt:
    """One holder's share (secret), its salt and its public commitment."""

    index: int
    share: bytes
    salt: bytes
    commitment: str


def commitment(ceremony: str, index: int, salt: bytes, share: bytes) -> str:
    """Lower-hex SHA-256("pli/1 share" 0x00 || ceremony id (16) || i (1) || salt (32) || share)."""
    data = b"pli/1 share\x00" + uuid.UUID(ceremony).bytes + bytes([index]) + salt + share
    return hashlib.sha256(data).hexdigest()


def check_share(ceremony: str, index: int, salt: bytes, share: bytes, expected: str) -> None:
    """Raises ShareRefused, which names the holder, when the share is not the one that was dealt."""
    if not hmac.compare_digest(commitment(ceremony, index, salt, share), expected):
        raise ShareRefused(f"La part du détenteur n° {index} n'est pas celle de la cérémonie.", index)


def combine(shares: Sequence[bytes]) -> bytes:
    """The seed from a quorum of shares; a wrong or missing share gives other bytes, hence the commitments."""
    if len(shares) < 2 or len({share[-1] for share in shares if share}) != len(shares):
        raise ShareRefused("Il faut au moins deux parts différentes.")
    if any(len(share) != SHARE_BYTES for share in shares):
        raise ShareRefused("Une part n'a pas la longueur attendue.")
    return bytes(pyshamir.combine([bytearray(share) for share in shares]))


def deal(seed: bytes, *, ceremony: str, holders: int, threshold: int) -> list[Dealt]:
    """Split a seed, commit to each share, and recombine every quorum before giving anything.

    Raises ShareRefused.
    """
    if not 2 <= threshold <= holders <= MAX_HOLDERS:
        raise ShareRefused(f"Le quorum va de 2 au nombre de détenteurs ({MAX_HOLDERS} au plus).")
    shares = [bytes(share) for share in pyshamir.split(seed, holders, threshold)]
    for quorum in itertools.combinations(shares, threshold):
        if combine(quorum) != seed:
            raise ShareRefused("Un quorum ne reconstitue pas la clé : la cérémonie est abandonnée.")
    dealt = []
    for index, share in enumerate(shares, start=1):
        salt = os.urandom(32)
        dealt.append(Dealt(index, share, salt, commitment(ceremony, index, salt, share)))
    return dealt


def member_info(ceremony: str, kind: str, index: int) -> bytes:
    """HPKE info of a share sealed to its holder's protector."""
    return b"pli/1 share-to-member\x00" + uuid.UUID(ceremony).bytes + kind.encode() + b"\x00" + bytes([index])


def session_info(session: str, kind: str, index: int) -> bytes:
    """HPKE info of a share sealed to an opening session's ephemeral key."""
    return b"pli/1 share-to-session\x00" + uuid.UUID(session).bytes + kind.encode() + b"\x00" + bytes([index])


def dealer_info(ceremony: str, kind: str, index: int) -> bytes:
    """HPKE info of a former share lent to who deals the ceremony of the next epoch."""
    return b"pli/1 share-to-dealer\x00" + uuid.UUID(ceremony).bytes + kind.encode() + b"\x00" + bytes([index])


def quorum_seed(
    ceremony: str,
    shares: Mapping[int, bytes],
    commitments: Mapping[int, tuple[bytes, str]],
    *,
    threshold: int,
    public: bytes,
) -> bytes:
    """The seed from checked shares, whose public key is `public`.

    Index → share, index → (salt, commitment). A share may keep its commitment and be unsound: it was dealt
    so. As many others as the quorum are then enough. Raises ShareRefused: naming the holder of a false share,
    or nobody when there are fewer than `threshold` or no quorum of them gives the key.
    """
    for index, share in shares.items():
        if index not in commitments:
            raise ShareRefused(f"Le détenteur n° {index} n'est pas de la cérémonie.", index)
        salt, expected = commitments[index]
        check_share(ceremony, index, salt, share, expected)
    if len(shares) < threshold:
        raise ShareRefused(f"Quorum incomplet : {len(shares)} part(s) sur {threshold}.")
    given = [shares[index] for index in sorted(shares)]
    quorums = itertools.combinations(given, threshold) if len(given) > threshold else ()
    for quorum in itertools.chain([given], quorums):  # some seconds at the very worst
        seed = combine(quorum)
        if public_key(seed) == public:
            return seed
    raise ShareRefused("Les parts ne reconstituent pas la clé de la commission.")
