"""Verify a receipt without the platform.

Record, journal proof, timestamp, and the sealed objects if one has them.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from signing.errors import ReceiptRefused
from signing.header import header_hash
from signing.timestamps import verify_token
from signing.tlog import verify_proof

# What a receipt says of its attempt → where the record says it.
_HISTORY = {"uuid": "attempt", "started": "started", "first_part": "first_part", "last_part": "last_part"}


@dataclass(frozen=True)
class Verified:
    """What a verified receipt proves.

    `stamped` is the token's time in ISO 8601, or the empty string. `sealed_here`: what was received is what
    this machine sealed; false when the folder is not a draft, and nothing was compared. `checked` says what
    was verified, and what was not, in French; `trusted`, on whose word.
    """

    deposit: str
    received: str
    late: bool
    index: int
    stamped: str
    sealed_here: bool
    checked: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


def verify_receipt(folder: Path, *, journal_key: str, ca_pem: bytes | None) -> Verified:
    """Verify receipt.json, record, proof.tlog-proof and token.tst of a folder, and its draft if it is one.

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
        shown = (receipt["deposit"], receipt["received"], receipt["deadline"], receipt["state"] == "late")
        if shown != (record["deposit"], record["received"], record["deadline"], record["late"]):
            raise ReceiptRefused("L'accusé ne dit pas ce que dit l'enregistrement.")
        if receipt["envelopes"] != record["envelopes"] or receipt["bidder"]["uuid"] != record["bidder"]:
            raise ReceiptRefused("L'accusé ne dit pas ce que dit l'enregistrement.")
        history = receipt.get("attempt")  # receipts of before have none
        if history is not None and any(history[name] != record[of] for name, of in _HISTORY.items()):
            raise ReceiptRefused("L'accusé ne dit pas de la tentative ce que dit l'enregistrement.")
        sealed_here = (folder / "draft.json").exists()
        if sealed_here:
            _check_draft(folder, record)
        leaf = {
            "consultation": record["consultation"],
            "digest": hashlib.sha256(nonce + record_bytes).hexdigest(),
            "time": record["received"],
            "type": "deposit",
        }
        data = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as bad:
        raise ReceiptRefused("L'accusé de réception est incomplet ou mal formé.") from bad
    index, _ = verify_proof(proof, data, journal_key)
    stamped = ""
    token = folder / "token.tst"
    if ca_pem is not None and token.exists():
        digest = hashlib.sha256(record_bytes).digest()
        stamped = verify_token(token.read_bytes(), digest=digest, ca_pem=ca_pem).gen_time.isoformat()
    checked = [
        "l'accusé dit ce que dit l'enregistrement : dépôt, heure, date limite, enveloppes, identifiant de "
        "l'entreprise" + (", heures de la tentative" if history is not None else ""),
        f"l'enregistrement est à l'entrée {index} du journal signé (preuve d'inclusion, point de contrôle)",
        "ce qui a été reçu est ce que ce poste a scellé, à l'empreinte près"
        if sealed_here
        else "NON COMPARÉ : ce dossier n'est pas celui du brouillon, rien de scellé n'y est",
    ]
    if history is not None:
        checked.append("NON VÉRIFIÉ : le nombre de parties et de refus de la tentative, que rien ne signe")
    checked.append(
        "NON VÉRIFIÉ ICI : numéro, opérateur, noms et SIRET, référence, intitulé et objet, que le cachet du "
        "PDF seul prouve (pdfsig, ou la page « Vérifier un accusé »)"
    )
    trusted = [f"clé du journal : {journal_key.strip()}"]
    if stamped:
        checked.append(f"le jeton d'horodatage porte sur l'enregistrement, le {stamped}")
        trusted.append(f"autorités d'horodatage données, SHA-256 {hashlib.sha256(ca_pem or b'').hexdigest()}")
    else:
        why = "aucun jeton dans ce dossier" if ca_pem is not None else "aucune autorité donnée (--ca)"
        checked.append(f"HORODATAGE NON JUGÉ : {why}")
    return Verified(
        str(record["deposit"]),
        str(record["received"]),
        bool(record["late"]),
        index,
        stamped,
        sealed_here,
        tuple(checked),
        tuple(trusted),
    )


def _check_draft(folder: Path, record: dict[str, object]) -> None:
    """The envelopes received are those of the draft, to the last digest. Raises ReceiptRefused."""
    draft = json.loads((folder / "draft.json").read_bytes())
    sealed = {
        each["envelope"]: (
            each["lot"],
            each["kind"],
            header_hash((folder / each["envelope"] / "header.json").read_bytes()).hex(),
            hashlib.sha256((folder / each["envelope"] / "keys.bin").read_bytes()).hexdigest(),
            {row["name"]: (row["size"], row["sha256"]) for row in each["objects"]},
        )
        for each in draft["envelopes"]
    }
    envelopes = record["envelopes"]
    received = {
        each["envelope"]: (
            each["lot"],
            each["kind"],
            each["header"],
            each["keys"],
            {row["name"]: (row["size"], row["sha256"]) for row in each["objects"]},
        )
        for each in (envelopes if isinstance(envelopes, list) else [])
    }
    if (draft["deposit"], sealed) != (record["deposit"], received):
        raise ReceiptRefused("Ce qui a été reçu n'est pas ce que ce poste a scellé : prévenez l'acheteur.")
