"""Verify lines of a register without the platform: one (« preuve-N.json »), or an export (JSON, sealed PDF).

    verify_lines(Path("preuve-33.json"), journal_key=key, ca_pem=None)

A line proves its kind, its hour and its consultation; what it says, where its record is with it; the words
beside it are the platform's. No line proves that none is missing: all the entries do, once published.
"""

import base64
import hashlib
import json
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from signing.errors import JournalUnreachable, ReceiptRefused, SigningError
from signing.following import UNCOMPARED, Published
from signing.handed import digest_of, handed, is_pdf
from signing.notes import key_for
from signing.receipt import sealed_by
from signing.signers import BROKEN
from signing.timestamps import verify_token
from signing.tlog import Checkpoint, parse_proof, verify_proof

_ENCLOSED = "registre.json"
_LINE = {"index", "type", "time", "leaf", "proof"}
_CLOCKS = timedelta(seconds=60)  # by which an authority's clock and the platform's may differ


@dataclass(frozen=True)
class VerifiedLines:
    """What was verified: lines proven, those too young to be, those whose record is here, tokens judged.

    `consultation` is the one they are of, `seal` who sealed the PDF, or the empty string each. `checked` says
    what was verified, and what was not, in French; `trusted`, on whose word.
    """

    consultation: str
    lines: int
    waiting: int
    records: int
    stamped: int
    seal: str = ""
    checked: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


def is_lines(path: Path) -> bool:
    """Whether this file is a line, or a register, rather than a receipt or a dossier. Raises OSError."""
    try:
        return path.is_file() and bool(_lines(handed(path, name=_ENCLOSED)))
    except SigningError:
        return False


def verify_lines(
    path: Path,
    *,
    journal_key: str,
    ca_pem: bytes | None,
    seal_pem: bytes | None = None,
    published: Published | None = None,
    whole: bool = False,
) -> VerifiedLines:
    """Verify a line or a register, its PDF or its JSON; arguments as for `verify_receipt`.

    `whole`: every entry that is `published` is read, and a register that lacks some is refused. A line
    without proof is refused, unless it is under the seal of a PDF, which is then verified.
    Raises ReceiptRefused, ProofRefused, TimestampRefused, JournalUnreachable.
    """
    said = handed(path, name=_ENCLOSED)
    lines = _lines(said)
    if not lines:
        raise ReceiptRefused("Ce fichier n'est pas un registre, ni la preuve d'une ligne.")
    seen, keys, stamped, told = set[Checkpoint](), dict[str, None](), 0, []
    try:
        proven = [line for line in lines if line["proof"]]
        ranks = [line["index"] for line in lines if line["index"] is not None]
        if len(set(ranks)) != len(ranks):
            raise ReceiptRefused("Une ligne de ce registre y est deux fois.")
        about = {json.loads(line["leaf"])["consultation"] for line in lines}
        about = (about | {said.get("consultation")}) - {None}
        if len(about) > 1:
            raise ReceiptRefused("Une ligne de ce registre est d'une autre consultation que les autres.")
        for line in proven:
            key = key_for(parse_proof(line["proof"])[2], journal_key)
            seen.add(_check_line(line, key))
            keys[key] = None
            if ca_pem is not None and line.get("token"):
                told.append(f"l'entrée {line['index']} est horodatée le {_check_token(line, ca_pem)}")
                stamped += 1
        records = sum(1 for line in proven if line.get("record"))
    except BROKEN as bad:
        raise ReceiptRefused("Ce registre est incomplet ou mal formé.") from bad
    waiting = len(lines) - len(proven)
    checked = [
        f"{len(proven)} ligne(s) du journal signé : nature, heure, consultation et rang, par leur preuve "
        "d'inclusion",
        f"{records} enregistrement(s) joint(s) : ce que dit l'empreinte de leur ligne",
        "NON VÉRIFIÉ : les mots en clair d'un registre, que la plateforme écrit",
    ]
    if records < len(proven):
        checked.append(f"NON COMMUNIQUÉ : ce que disent {len(proven) - records} ligne(s)")
    if waiting:
        checked.append(f"NON VÉRIFIÉ : {waiting} ligne(s) sans preuve, plus jeunes que le point de contrôle")
    trusted = [f"clé du journal : {key}" for key in keys]
    if stamped:
        trusted.append(f"autorités d'horodatage données, SHA-256 {hashlib.sha256(ca_pem or b'').hexdigest()}")
    elif any(line.get("token") for line in proven):
        checked.append("HORODATAGE NON JUGÉ : aucune autorité donnée (--ca)")
    compared, of = published.told(seen) if published else ([UNCOMPARED], [])
    if register := said.get("v") == "register/1":
        compared = [*compared, _completeness(proven, seen, published if whole else None)]
    checked, trusted, seal = [*checked, *told, *compared], [*trusted, *of], ""
    if is_pdf(path) and seal_pem is not None:
        with tempfile.TemporaryDirectory(prefix="dematmp-register-") as scratch:
            seal = sealed_by(path, Path(scratch), seal_pem=seal_pem, ca_pem=ca_pem)
        checked.append(f"le cachet du PDF porte sur tout le fichier, par {seal}")
        trusted.append(f"certificats de cachet donnés, SHA-256 {hashlib.sha256(seal_pem).hexdigest()}")
    elif waiting:
        which = f"{waiting} ligne(s) de ce registre n'ont" if register else "Cette ligne n'a"
        raise ReceiptRefused(
            f"{which} pas de preuve : rien n'en est vérifié. Redemandez ce fichier dans une minute"
            + (", ou vérifiez le PDF avec son cachet (--seal-ca)." if register else ".")
        )
    elif is_pdf(path):
        checked.append("CACHET NON JUGÉ : aucun certificat de cachet donné (--seal-ca)")
    of_which = str(next(iter(about), ""))
    return VerifiedLines(of_which, len(proven), waiting, records, stamped, seal, (*checked,), (*trusted,))


def _completeness(proven: list[dict[str, Any]], seen: set[Checkpoint], published: Published | None) -> str:
    """Whether a register has every line of its kinds and consultation: what is to be said of it.

    A leaf says its kind and its consultation to everybody, once it is published. Raises ReceiptRefused for
    lines that are left out, ProofRefused for entries that are not those of the journal.
    """
    unproven = "NON VÉRIFIÉ : que ce registre soit entier"
    if published is None or not seen:
        return (
            f"{unproven}, car une preuve montre qu'une ligne est au journal, pas qu'aucune ne manque ici "
            "(--whole le vérifie une fois les entrées publiées) ; le cachet de son PDF dit que la plateforme "
            "l'a donné ainsi"
        )
    then = max(seen, key=lambda each: each.size)
    try:
        leaves = [json.loads(leaf) for leaf in published.leaves(then)]
    except JournalUnreachable as away:
        return f"{unproven} : {away}"
    except BROKEN as bad:
        raise ReceiptRefused("Une entrée publiée du journal ne se lit pas.") from bad
    about, shown = json.loads(proven[0]["leaf"])["consultation"], {line["index"] for line in proven}
    kinds, left_out, others = {line["type"] for line in proven}, list[int](), dict[str, int]()
    for index, leaf in enumerate(leaves):
        if leaf["consultation"] != about or index in shown:
            continue
        if leaf["type"] in kinds:
            left_out.append(index)
        else:
            others[leaf["type"]] = others.get(leaf["type"], 0) + 1
    if left_out:
        ranks = ", ".join(str(index) for index in left_out[:20])
        raise ReceiptRefused(
            f"Il manque à ce registre {len(left_out)} ligne(s) que le journal a, de natures qu'il montre : "
            f"entrées {ranks}{'…' if len(left_out) > 20 else ''}. Redemandez-le."
        )
    later = "" if len(leaves) == then.size else " ; les suivantes ne sont pas encore publiées"
    besides = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    return (
        f"aucune ligne ne manque, des natures que ce registre montre, des {len(leaves)} premières entrées du "
        f"journal (jusqu'au {leaves[-1]['time']}), toutes relues{later}. Il y a aussi, de la consultation, "
        f"d'autres natures : {besides or 'aucune'}"
    )


def _lines(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a register, or the only one; none for another thing."""
    found = said.get("entries") if said.get("v") == "register/1" else [said]
    lines = found if isinstance(found, list) else []
    return lines if all(isinstance(each, dict) and each.keys() >= _LINE for each in lines) else []


def _check_line(line: dict[str, Any], key: str) -> Checkpoint:
    """The checkpoint under which a line is found at the rank it says, saying what its leaf says."""
    leaf = json.loads(line["leaf"])
    index, under = verify_proof(line["proof"], line["leaf"].encode(), key)
    if (line["index"], line["type"], line["time"]) != (index, leaf["type"], leaf["time"]):
        raise ReceiptRefused(f"La ligne {line['index']} ne dit pas ce que dit l'entrée {index} du journal.")
    if line.get("record") is not None:
        record = base64.b64decode(line["record"], validate=True)
        if leaf["digest"] != digest_of(line["nonce"], record):
            raise ReceiptRefused(f"L'enregistrement de la ligne {index} n'est pas celui du journal.")
    return under


def _check_token(line: dict[str, Any], ca_pem: bytes) -> str:
    record, token = base64.b64decode(line["record"]), base64.b64decode(line["token"])
    moment = verify_token(token, digest=hashlib.sha256(record).digest(), ca_pem=ca_pem).gen_time
    if moment < datetime.fromisoformat(line["time"]) - _CLOCKS:
        raise ReceiptRefused(f"Le jeton de la ligne {line['index']} est antérieur à ce qu'il atteste.")
    return moment.isoformat()
