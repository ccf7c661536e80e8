"""Verify a receipt without the platform.

Record, journal proof, timestamp, and the sealed objects if one has them.
"""

import base64
import hashlib
import json
import re
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from signing.enclosed import FILE_LIMIT, enclosed
from signing.errors import ReceiptRefused
from signing.following import UNCOMPARED, Published
from signing.handed import digest_of
from signing.header import header_hash
from signing.isolation import validate_isolated
from signing.notes import key_for
from signing.report import PASSED, in_french
from signing.signers import BROKEN
from signing.strict import load_object
from signing.timestamps import verify_token
from signing.tlog import Checkpoint, parse_proof, verify_proof

# What a receipt says of its attempt → where the record says it.
_HISTORY = {"uuid": "attempt", "started": "started", "first_part": "first_part", "last_part": "last_part"}
VERSION = "receipt/1"
_KEYS = {"v", "number", "deposit", "operator", "buyer", "consultation", "bidder", "received", "deadline"}
_KEYS |= {"state", "attempt", "envelopes", "record", "journal", "timestamp"}
# By the backup channel or not, the UTC day, the beginning of the deposit, its entry if that was taken.
_NUMBER = "(?i:ARS?-[0-9]{{8}}-{deposit}(-[0-9]+)?)"
_NAMED = "opérateur, noms et SIRET, référence, intitulé et objet"
MENTIONS = f"l'enregistrement prouve aussi : {_NAMED}"
_TOO_OLD = (
    "Un horodatage d'archive, ajouté au PDF avant la fin de celui d'avant, l'aurait prolongé. Sans lui, ce "
    "qui est imprimé n'est plus prouvé ; le JSON joint l'est encore par le journal (retirez --seal-ca)."
)
_CLOCKS = timedelta(seconds=60)  # by which an authority's clock and the platform's may differ
_NAMES = {"receipt.json", "record", "proof.tlog-proof", "token.tst"}


@dataclass(frozen=True)
class Verified:
    """What a verified receipt proves.

    `stamped` is the token's time in ISO 8601, or the empty string; `seal` who sealed the PDF, or the empty
    string. `sealed_here`: what was received is what this machine sealed; false when the folder is not a
    draft, and nothing was compared. `checked` says what was verified, and what was not, in French;
    `trusted`, on whose word.
    """

    deposit: str
    received: str
    late: bool
    index: int
    stamped: str
    sealed_here: bool
    seal: str = ""
    checked: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


def verify_receipt(
    path: Path,
    *,
    journal_key: str,
    ca_pem: bytes | None,
    seal_pem: bytes | None = None,
    published: Published | None = None,
) -> Verified:
    """Verify a receipt: its PDF, its JSON, or the folder of its pieces, and its draft if it is one.

    `journal_key` is the verifier key line published by the platform, or several, one a line; `published` is
    the journal of today, which must be the continuation of the receipt's (signing/following.py). Without
    `ca_pem` (authorities of time) the token is not judged, without `seal_pem` (the platform's authority, or
    its seal's own certificate) neither is the seal of the PDF. Raises ReceiptRefused, ProofRefused,
    TimestampRefused, JournalUnreachable.
    """
    with tempfile.TemporaryDirectory(prefix="dematmp-receipt-") as scratch:
        folder, pdf = _pieces(path, Path(scratch))
        verified, receipt, seen = _verify(folder, journal_key=journal_key, ca_pem=ca_pem)
        checked, trusted = published.told([seen]) if published else ([UNCOMPARED], [])
        verified = replace(
            verified, checked=(*verified.checked, *checked), trusted=(*verified.trusted, *trusted)
        )
        if pdf is None or seal_pem is None:
            why = "aucun PDF ici" if pdf is None else "aucun certificat de cachet donné (--seal-ca)"
            said = f"CACHET NON JUGÉ : {why}"
            if MENTIONS not in verified.checked:
                said += f". {_NAMED.capitalize()} ne sont prouvés que par le cachet du PDF"
            return replace(verified, checked=(*verified.checked, said))
        seal = _judge_seal(pdf, receipt, Path(scratch), seal_pem, ca_pem)
    names = f"numéro {receipt['number']}, {receipt['bidder']['name']}, {receipt['consultation']['reference']}"
    said = f"le cachet du PDF porte sur tout le fichier, par {seal} ; il prouve aussi : {names}"
    given = f"certificats de cachet donnés, SHA-256 {hashlib.sha256(seal_pem).hexdigest()}"
    return replace(verified, seal=seal, checked=(*verified.checked, said), trusted=(*verified.trusted, given))


def _pieces(path: Path, scratch: Path) -> tuple[Path, Path | None]:
    """The folder of the pieces, and the PDF if there is one."""
    if path.is_dir():
        pdf = path / "receipt.pdf"
        return path, pdf if pdf.is_file() else None
    if path.stat().st_size > FILE_LIMIT:
        raise ReceiptRefused("Ce fichier est trop gros pour être un accusé de réception.")
    out = scratch / "pieces"
    out.mkdir()
    with path.open("rb") as file:
        is_pdf = file.read(4) == b"%PDF"
    if is_pdf:
        found = enclosed(path)
    else:
        data = path.read_bytes()
        try:
            said = json.loads(data)
            found = {
                "receipt.json": data,
                "record": base64.b64decode(said["record"]),
                "proof.tlog-proof": said["journal"]["proof"].encode(),
            }
            if said["timestamp"]["token"]:
                found["token.tst"] = base64.b64decode(said["timestamp"]["token"])
        except BROKEN as bad:
            raise ReceiptRefused("L'accusé de réception est incomplet ou mal formé.") from bad
    for name in _NAMES & found.keys():
        (out / name).write_bytes(found[name])
    return out, path if is_pdf else None


def _verify(
    folder: Path, *, journal_key: str, ca_pem: bytes | None
) -> tuple[Verified, dict[str, Any], Checkpoint]:
    """What the pieces of a folder prove, but for the PDF's seal; and the checkpoint that they rest on."""
    try:
        receipt: dict[str, Any] = load_object(
            (folder / "receipt.json").read_bytes(),
            limit=FILE_LIMIT,
            keys=frozenset(_KEYS),
            optional=frozenset({"attempt"}),
            refuse=ReceiptRefused,
        )
        if receipt["v"] != VERSION:
            raise ReceiptRefused("Ce n'est pas un accusé de réception d'une version connue.")
        record_bytes = (folder / "record").read_bytes()
        proof = (folder / "proof.tlog-proof").read_text()
        record = json.loads(record_bytes)
        if base64.b64decode(receipt["record"], validate=True) != record_bytes:
            raise ReceiptRefused("L'accusé ne porte pas sur cet enregistrement.")
        if not re.fullmatch(
            _NUMBER.format(deposit=record["deposit"].replace("-", "")[:10]), receipt["number"]
        ):
            raise ReceiptRefused("Le numéro de l'accusé n'est pas celui de ce dépôt.")
        shown = (receipt["deposit"], receipt["received"], receipt["deadline"], receipt["state"])
        state = "late" if record["late"] else "in-time"
        if shown != (record["deposit"], record["received"], record["deadline"], state):
            raise ReceiptRefused("L'accusé ne dit pas ce que dit l'enregistrement.")
        same = _canonical(receipt["envelopes"]) == _canonical(record["envelopes"])
        if not same or receipt["bidder"]["uuid"] != record["bidder"]:
            raise ReceiptRefused("L'accusé ne dit pas ce que dit l'enregistrement.")
        if receipt["consultation"]["uuid"] != record["consultation"]:
            raise ReceiptRefused("L'accusé ne dit pas de quelle consultation est l'enregistrement.")
        named = _check_mentions(receipt, record)
        history = receipt.get("attempt")  # receipts of before have none
        if history is not None and any(history[name] != record[of] for name, of in _HISTORY.items()):
            raise ReceiptRefused("L'accusé ne dit pas de la tentative ce que dit l'enregistrement.")
        said_index, said_time = receipt["journal"]["index"], receipt["timestamp"]["time"]
        encoded = receipt["timestamp"]["token"]
        said_token = None if encoded is None else base64.b64decode(encoded, validate=True)
        sealed_here = (folder / "draft.json").exists()
        if sealed_here:
            _check_draft(folder, record)
        leaf = {
            "consultation": record["consultation"],
            "digest": digest_of(receipt["journal"]["nonce"], record_bytes),
            "time": record["received"],
            "type": "deposit",
        }
        data = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except (OSError, *BROKEN) as bad:
        raise ReceiptRefused("L'accusé de réception est incomplet ou mal formé.") from bad
    token = folder / "token.tst"
    if said_time is not None and not token.exists():
        raise ReceiptRefused("L'accusé dit une heure d'horodatage, et n'en porte pas le jeton.")
    if said_token is not None and (not token.exists() or token.read_bytes() != said_token):
        raise ReceiptRefused("Le jeton de l'accusé n'est pas celui du dossier.")
    key = key_for(parse_proof(proof)[2], journal_key)
    index, seen = verify_proof(proof, data, key)
    if said_index != index:
        raise ReceiptRefused("L'accusé ne dit pas à quelle entrée du journal il est inscrit.")
    stamped = ""
    if ca_pem is not None and token.exists():
        digest = hashlib.sha256(record_bytes).digest()
        moment = verify_token(token.read_bytes(), digest=digest, ca_pem=ca_pem).gen_time
        if said_time is not None and not _is(said_time, moment):
            raise ReceiptRefused("L'accusé ne dit pas l'heure que dit son jeton d'horodatage.")
        if moment < datetime.fromisoformat(record["received"]) - _CLOCKS:
            raise ReceiptRefused("Le jeton d'horodatage est antérieur à la réception qu'il atteste.")
        stamped = moment.isoformat()
    checked = [
        "l'accusé dit ce que dit l'enregistrement : dépôt, heure, date limite, enveloppes, identifiant de "
        "l'entreprise" + (", heures de la tentative" if history is not None else ""),
        MENTIONS if named else f"NON PROUVÉS par l'enregistrement : {_NAMED}",
        f"l'enregistrement est à l'entrée {index} du journal signé (preuve d'inclusion, point de contrôle)",
        "ce qui a été reçu est ce que ce poste a scellé, à l'empreinte près"
        if sealed_here
        else "NON COMPARÉ : ce dossier n'est pas celui du brouillon, rien de scellé n'y est",
    ]
    if history is not None:
        checked.append("NON VÉRIFIÉ : le nombre de parties et de refus, que le journal n'a pas")
    trusted = [f"clé du journal : {key}"]
    if stamped:
        checked.append(f"le jeton d'horodatage porte sur l'enregistrement, le {stamped}")
        checked.append("NON VÉRIFIÉ : qu'il est qualifié, et le nom de son autorité, que l'accusé seul dit")
        trusted.append(f"autorités d'horodatage données, SHA-256 {hashlib.sha256(ca_pem or b'').hexdigest()}")
    else:
        why = "aucun jeton ici" if ca_pem is not None else "aucune autorité donnée (--ca)"
        checked.append(f"HORODATAGE NON JUGÉ : {why}")
    verified = Verified(
        str(record["deposit"]),
        str(record["received"]),
        bool(record["late"]),
        index,
        stamped,
        sealed_here,
        "",
        tuple(checked),
        tuple(trusted),
    )
    return verified, receipt, seen


def _check_mentions(receipt: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether the record has the names that the receipt says; records of before have none."""
    written = record.get("mentions")
    if written is None:
        return False
    without = {
        name: {each: value for each, value in receipt[name].items() if each != "uuid"}
        for name in ("buyer", "consultation", "bidder")
    }
    if _canonical({"operator": receipt["operator"], **without}) != _canonical(written):
        raise ReceiptRefused("L'accusé ne dit pas les noms, l'intitulé ou l'objet que dit l'enregistrement.")
    return True


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _is(said: object, moment: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(said)) == moment
    except (ValueError, TypeError):
        return False


def _judge_seal(
    pdf: Path, receipt: dict[str, Any], scratch: Path, seal_pem: bytes, ca_pem: bytes | None
) -> str:
    """Who sealed the whole PDF, which encloses this very receipt. Raises ReceiptRefused."""
    sealer = sealed_by(pdf, scratch, seal_pem=seal_pem, ca_pem=ca_pem)
    try:
        held = json.loads(enclosed(pdf)["receipt.json"])
        same = _untimed(held) == _untimed(receipt)
    except BROKEN as bad:
        raise ReceiptRefused("Ce PDF ne contient pas d'accusé vérifiable.") from bad
    if not same:
        raise ReceiptRefused("Le PDF est l'accusé d'un autre dépôt que celui de ce dossier.")
    return sealer


def sealed_by(pdf: Path, scratch: Path, *, seal_pem: bytes, ca_pem: bytes | None) -> str:
    """Who sealed the whole PDF, by these certificates; files are laid in `scratch`. Raises ReceiptRefused."""
    seals, stampers = scratch / "seals.pem", scratch / "stampers.pem"
    seals.write_bytes(seal_pem)
    stampers.write_bytes(ca_pem or b"")
    report = validate_isolated(
        pdf, at=datetime.now(UTC), trust=[seals], stampers=[stampers] if ca_pem else []
    )
    if report.indication != PASSED or not report.signatures:
        why = " ".join(each.reason for each in report.signatures if each.indication != PASSED)
        if any(each.sub_indication == "OUT_OF_BOUNDS_NO_POE" for each in report.signatures):
            why += " " + _TOO_OLD
        raise ReceiptRefused(f"Le cachet du PDF n'est pas vérifié. {why or report.reason}".strip())
    return ", ".join(dict.fromkeys(in_french(each.signer) for each in report.signatures))


def _untimed(receipt: dict[str, Any]) -> dict[str, Any]:
    """A receipt without its token, which comes after it."""
    return {name: value for name, value in receipt.items() if name != "timestamp"}


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
