"""Verify a receipt without the platform.

Record, journal proof, timestamp, and the sealed objects if one has them.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from signing.errors import ReceiptRefused
from signing.timestamps import verify_token
from signing.tlog import verify_proof


@dataclass(frozen=True)
class Verified:
    """What a verified receipt proves. `stamped` is the token's time in ISO 8601, or the empty string."""

    deposit: str
    received: str
    late: bool
    index: int
    stamped: str


def verify_receipt(folder: Path, *, journal_key: str, ca_pem: bytes | None) -> Verified:
    """Verify receipt.json, record, proof.tlog-proof and token.tst of a folder.

    Raises ReceiptRefused, ProofRefused…

    `journal_key` is the verifier key line published by the platform; without `ca_pem` the token is not
    judged.
    """
    try:
        receipt = json.loads((folder / "receipt.json").read_bytes())
        record_bytes = (folder / "record").read_bytes()
        proof = (folder / "proof.tlog-proof").read_text()
        record = json.loads(record_bytes)
        nonce = bytes.fromhex(receipt["journal"]["nonce"])
        if base64.b64decode(receipt["record"]) != record_bytes:
            raise ReceiptRefused("L'accusé ne porte pas sur cet enregistrement.")
        leaf = {
            "consultation": record["consultation"],
            "digest": hashlib.sha256(nonce + record_bytes).hexdigest(),
            "time": record["received"],
            "type": "deposit",
        }
    except (OSError, ValueError, KeyError, TypeError) as bad:
        raise ReceiptRefused("L'accusé de réception est incomplet ou mal formé.") from bad
    data = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    index, _ = verify_proof(proof, data, journal_key)
    stamped = ""
    token = folder / "token.tst"
    if ca_pem is not None and token.exists():
        digest = hashlib.sha256(record_bytes).digest()
        stamped = verify_token(token.read_bytes(), digest=digest, ca_pem=ca_pem).gen_time.isoformat()
    return Verified(str(record["deposit"]), str(record["received"]), bool(record["late"]), index, stamped)
