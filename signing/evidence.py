"""Verify a « dossier de preuve » without the platform: its journal entries, its tokens, the seal of its PDF.

    verify_evidence(Path("dossier-de-preuve.pdf"), journal_key=key, ca_pem=None, seal_pem=seals)

What nothing but the platform's word holds is said to be so: the JSON alone proves the entries of the journal
and what their records say; the PDF's seal holds the rest.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from signing.digests import composite_of_parts
from signing.errors import ReceiptRefused, SigningError
from signing.following import UNCOMPARED, Published
from signing.handed import digest_of, handed, is_pdf
from signing.notes import key_for
from signing.receipt import sealed_by
from signing.signers import BROKEN
from signing.timestamps import verify_token
from signing.tlog import Checkpoint, parse_proof, verify_proof

_ENCLOSED = "dossier-de-preuve.json"
_CLOCKS = timedelta(seconds=60)  # by which an authority's clock and the platform's may differ

_JUDGED = ("deposit-judged", "deposit-imported")


@dataclass(frozen=True)
class VerifiedEvidence:
    """What a verified dossier proves.

    `received` and `late` are what the journal proves of the deposit, whatever the dossier says: the empty
    string and False where it proves nothing. `entries`: how many of the journal were verified, and `waiting`,
    how many had no proof yet; `seal` who sealed the PDF, or the empty string. `checked` says what was
    verified, and what was not, in French; `trusted`, on whose word.
    """

    attempt: str
    deposit: str
    started: str
    received: str
    late: bool
    entries: int
    waiting: int
    seal: str = ""
    checked: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


def is_evidence(path: Path) -> bool:
    """Whether this file is a dossier, PDF or JSON, rather than a receipt. Raises OSError."""
    try:
        return path.is_file() and bool(_dossier(path))
    except SigningError:
        return False


def verify_evidence(
    path: Path,
    *,
    journal_key: str,
    ca_pem: bytes | None,
    seal_pem: bytes | None = None,
    published: Published | None = None,
) -> VerifiedEvidence:
    """Verify a dossier, its PDF or its JSON; arguments as for `verify_receipt`.

    An entry without proof was younger than the public checkpoint: it is counted, and proves nothing yet.
    Raises ReceiptRefused, ProofRefused, TimestampRefused.
    """
    said = _dossier(path)
    if not said:
        raise ReceiptRefused("Ce fichier n'est pas un dossier de preuve.")
    try:
        consultation, journal = str(said["consultation"]["uuid"]), said["journal"]
        found_at, seen, keys = list[tuple[int, str, dict[str, Any]]](), set[Checkpoint](), dict[str, None]()
        for each in journal["entries"]:
            if each["proof"]:
                key = key_for(parse_proof(each["proof"])[2], journal_key)
                record, under = _record_of(each, consultation, key)
                found_at.append((int(each["index"]), str(each["type"]), record))
                seen.add(under)
                keys[key] = None
        # In the order of the journal, whatever that of the file.
        proven = [(kind, record) for _, kind, record in sorted(found_at, key=lambda each: each[0])]
        waiting = len(journal["entries"]) - len(proven)
        checked = [
            f"{len(proven)} entrée(s) du journal signé, chacune par sa preuve d'inclusion : "
            f"{', '.join(dict.fromkeys(kind for kind, _ in proven)) or 'aucune'}"
        ]
        if waiting:
            checked.append(
                f"NON VÉRIFIÉ : {waiting} entrée(s) sans preuve, plus jeunes que le point de contrôle. "
                "Redemandez le dossier dans une minute"
            )
        checked += _begun(said, proven)
        received, late, about_reception = _received(said, proven)
        checked += about_reception
        checked += _withdrawn(said, proven)
        checked.append(
            "NON VÉRIFIÉ : que ce dossier soit entier, car une preuve montre qu'une entrée est au journal, "
            "pas qu'aucune ne manque ici (un dépôt, un retrait) ; le cachet de son PDF dit que la plateforme "
            "l'a donné ainsi"
        )
        if said.get("backup_channel"):
            checked.append(
                "NON VÉRIFIÉ ICI : le dossier du canal de secours, joint sous la clé de son propre journal ; "
                "il se télécharge à part, et se vérifie de même"
            )
        stamped, about_stamps = _stamped(said, proven, ca_pem)
        checked += about_stamps
        found = VerifiedEvidence(
            str(said["attempt"]),
            str(said["deposit"]),
            str(said["started"]),
            received,
            late,
            len(proven),
            waiting,
        )
    except BROKEN as bad:
        raise ReceiptRefused("Le dossier de preuve est incomplet ou mal formé.") from bad
    trusted = [f"clé du journal : {key}" for key in keys]
    compared, of = published.told(seen) if published else ([UNCOMPARED], [])
    checked += compared
    trusted += of
    if stamped:
        trusted.append(f"autorités d'horodatage données, SHA-256 {hashlib.sha256(ca_pem or b'').hexdigest()}")
    seal = ""
    word = (
        "heure de chaque partie, refus, dates limites, horloge du poste, noms et SIRET, opérateur, référence"
    )
    if is_pdf(path) and seal_pem is not None:
        with tempfile.TemporaryDirectory(prefix="dematmp-evidence-") as scratch:
            seal = sealed_by(path, Path(scratch), seal_pem=seal_pem, ca_pem=ca_pem)
        checked.append(f"le cachet du PDF porte sur tout le fichier, par {seal} ; lui seul prouve : {word}")
        trusted.append(f"certificats de cachet donnés, SHA-256 {hashlib.sha256(seal_pem).hexdigest()}")
    else:
        why = "aucun certificat de cachet donné (--seal-ca)" if is_pdf(path) else "aucun PDF ici"
        checked.append(f"CACHET NON JUGÉ : {why}. Ce que le journal n'a pas n'est pas prouvé : {word}")
    return VerifiedEvidence(**{**vars(found), "seal": seal, "checked": (*checked,), "trusted": (*trusted,)})


def _dossier(path: Path) -> dict[str, Any]:
    """What the dossier says; empty for another thing. Raises ReceiptRefused for a PDF that is not read."""
    said = handed(path, name=_ENCLOSED)
    return said if said.get("v") == "evidence/1" else {}


def _record_of(entry: dict[str, Any], consultation: str, key: str) -> tuple[dict[str, Any], Checkpoint]:
    """The record of an entry, once it is found at the rank it says under a signed checkpoint, and which."""
    record = base64.b64decode(entry["record"], validate=True)
    leaf = {
        "consultation": consultation,
        "digest": digest_of(entry["nonce"], record),
        "time": entry["time"],
        "type": entry["type"],
    }
    data = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    index, under = verify_proof(entry["proof"], data, key)
    if entry["index"] != index:
        raise ReceiptRefused("Le dossier ne dit pas à quelle entrée du journal est inscrit ce qu'il montre.")
    made: dict[str, Any] = json.loads(record)
    return made, under


def _begun(said: dict[str, Any], proven: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """What the dossier shows of the attempt is what the record of its entry says. Raises ReceiptRefused."""
    begun = [record for kind, record in proven if kind == "attempt"]
    for record in begun:
        shown = (said["attempt"], said["deposit"], said["started"], said["client_clock"])
        names = ("attempt", "deposit", "server_clock", "client_clock")
        announced = (said["announced"]["bytes"], _headers(said))
        if shown != tuple(record[name] for name in names) or announced != (
            record["bytes"],
            sorted(record["headers"]),
        ):
            raise ReceiptRefused("Le dossier ne dit pas de la tentative ce que dit le journal.")
    yield (
        "début de la tentative, octets annoncés et en-têtes des enveloppes : ce que dit le journal"
        if begun
        else "NON VÉRIFIÉ : le début de la tentative, dont l'entrée n'est pas ici"
    )


def _headers(said: dict[str, Any]) -> list[str]:
    return sorted(each["header"] for each in said["envelopes"])


def _received(said: dict[str, Any], proven: list[tuple[str, dict[str, Any]]]) -> tuple[str, bool, list[str]]:
    """When the journal proves that the deposit came, whether late, and what is to be said of it.

    Raises ReceiptRefused for a dossier that says otherwise.
    """
    deposited, receipt = [record for kind, record in proven if kind == "deposit"], said["receipt"]
    # What was judged since: an extension that was being written, an earlier copy of the backup channel.
    since = [record for kind, record in proven if kind in _JUDGED and record["deposit"] == said["deposit"]]
    if receipt is None:
        if deposited or since:
            raise ReceiptRefused("Le dossier tait un dépôt que le journal a reçu.")
        return "", False, []
    lines = []
    for record in deposited:
        if any(record[name] != said[name] for name in ("attempt", "deposit", "started")):
            raise ReceiptRefused("Le dossier ne dit pas du dépôt ce que dit le journal.")
        if _described(record) != _described(said):
            raise ReceiptRefused("Le dossier ne montre pas les enveloppes que le journal a reçues.")
        lines.append(f"empreinte de chacune des {_parts(said, record)} parties : celles du journal")
    if not deposited:
        lines.append("NON VÉRIFIÉ : lot et nature de chaque enveloppe, que l'entrée de son dépôt dit")
        lines.append("NON VÉRIFIÉ : le dépôt, dont l'entrée n'est pas ici (canal de secours, ou trop jeune)")
    if not deposited and not since:
        return "", False, [*lines, f"NON VÉRIFIÉ : la réception que dit le dossier ({_instants(receipt)})"]
    last = [*deposited, *since][-1]
    if all(receipt[name] == last[name] for name in ("received", "late", "deadline")):
        lines.append("heure de réception, date limite et retard : ceux du journal")
    elif _is_judged_too_lately(said):
        lines.append(
            f"NON VÉRIFIÉ : la réception que dit le dossier ({_instants(receipt)}), d'une entrée sans "
            f"preuve ; le journal prouve : {_instants(last)}"
        )
    else:
        raise ReceiptRefused("Le dossier ne dit pas du dépôt ce que dit le journal.")
    return str(last["received"]), bool(last["late"]), lines


def _described(of: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Lot, kind and header of each envelope."""
    return {each["envelope"]: (each["lot"], each["kind"], each["header"]) for each in of["envelopes"]}


def _withdrawn(said: dict[str, Any], proven: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """What is to be said of a withdrawal. Raises ReceiptRefused for a dossier that says otherwise."""
    told = said["receipt"].get("withdrawn") if said["receipt"] else None
    known = [record["at"] for kind, record in proven if kind == "withdrawal"]
    if known and told != known[-1]:
        raise ReceiptRefused("Le dossier ne dit pas du retrait ce que dit le journal.")
    if known:
        yield f"retrait du dépôt, le {told} : ce que dit le journal"
    elif told:
        yield f"NON VÉRIFIÉ : le retrait que dit le dossier ({told}), d'une entrée absente ou trop jeune"


def _instants(of: dict[str, Any]) -> str:
    return f"{of['received']}, {'hors délai' if of['late'] else 'dans les délais'}"


def _is_judged_too_lately(said: dict[str, Any]) -> bool:
    """Whether it says of the deposit what an entry without proof yet says: that comes within a minute."""
    young = [each for each in said["journal"]["entries"] if each["type"] in _JUDGED and not each["proof"]]
    words = [json.loads(base64.b64decode(each["record"], validate=True)) for each in young]
    told = (said["deposit"], said["receipt"]["received"], said["receipt"]["late"])
    return any((each["deposit"], each["received"], each["late"]) == told for each in words)


def _parts(said: dict[str, Any], record: dict[str, Any]) -> int:
    """How many parts, whose digests make those of the deposit's record. Raises ReceiptRefused."""
    sealed = {
        (envelope["envelope"], each["name"]): (each["size"], each["sha256"])
        for envelope in record["envelopes"]
        for each in envelope["objects"]
    }
    shown = {
        (envelope["envelope"], each["name"]): (
            each["size"],
            composite_of_parts([bytes.fromhex(part["sha256"]) for part in each["parts"]]),
        )
        for envelope in said["envelopes"]
        for each in envelope["objects"]
    }
    if shown != sealed:
        raise ReceiptRefused("Les parties du dossier ne font pas les objets que le journal a reçus.")
    return sum(len(each["parts"]) for envelope in said["envelopes"] for each in envelope["objects"])


def _stamped(
    said: dict[str, Any], proven: list[tuple[str, dict[str, Any]]], ca_pem: bytes | None
) -> tuple[bool, list[str]]:
    """Whether a token was judged, and what is to be said of those of the dossier."""
    lines = []
    if any(kind == "timestamp" for kind, _ in proven):
        # The journal has the digest of the deposit's token; its bytes are in the receipt alone.
        lines.append("HORODATAGE DU DÉPÔT NON JUGÉ : son jeton est dans l'accusé de réception, pas ici")
    first = said["fingerprint"]
    if first is None:
        return False, lines
    record = base64.b64decode(first["record"])
    held = json.loads(record)
    if (held["attempt"], held["received"]) != (said["attempt"], first["received"]):
        raise ReceiptRefused("L'empreinte reçue n'est pas celle de cette tentative.")
    journalled = [each for kind, each in proven if kind == "fingerprint"]
    if journalled and held not in journalled:
        raise ReceiptRefused("L'empreinte reçue n'est pas celle que dit le journal.")
    lines.append(
        "empreinte reçue avant les fichiers : ce que dit le journal"
        if journalled
        else "NON VÉRIFIÉ : l'empreinte reçue avant les fichiers, dont l'entrée n'est pas ici"
    )
    if ca_pem is None or first["token"] is None:
        why = "aucune autorité donnée (--ca)" if ca_pem is None else "aucun jeton ici"
        return False, [*lines, f"HORODATAGE DE L'EMPREINTE NON JUGÉ : {why}"]
    token = base64.b64decode(first["token"])
    moment = verify_token(token, digest=hashlib.sha256(record).digest(), ca_pem=ca_pem).gen_time
    if datetime.fromisoformat(first["time"]) != moment:
        raise ReceiptRefused("Le dossier ne dit pas l'heure que dit le jeton d'horodatage de l'empreinte.")
    if moment < datetime.fromisoformat(first["received"]) - _CLOCKS:
        raise ReceiptRefused("Le jeton d'horodatage est antérieur à la réception qu'il atteste.")
    return True, [*lines, f"le jeton d'horodatage porte sur l'empreinte, le {moment.isoformat()}"]
