"""The verbs about people's signatures: `check` before depositing, `sign`, and the trusted lists.

python -m signing check offre.pdf.p7s --detached offre.pdf --trust autorite.pem
"""

import argparse
import getpass
import hashlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from signing import lists
from signing.contents import stem_of
from signing.errors import SignatureRefused
from signing.preserving import read_kept
from signing.report import LABELS, PASSED, Report
from signing.sniffing import Kind, kind_of
from signing.trust import certificates_in, is_stale
from signing.validation import validate_isolated

Verb = Callable[[str, Callable[[argparse.Namespace], dict[str, object]], str], argparse.ArgumentParser]
NOT_PASSED = 1


def signature_verbs(verb: Verb) -> None:
    one = verb("check", check, "vérifier les signatures d'un fichier, avant de le déposer")
    one.add_argument("file", type=Path, metavar="FICHIER")
    one.add_argument(
        "--detached",
        type=Path,
        action="append",
        default=[],
        metavar="CONTENU",
        help="fichier signé, quand la signature en est séparée ; par défaut, celui de même nom",
    )
    one.add_argument(
        "--trust",
        type=Path,
        action="append",
        default=[],
        metavar="PEM",
        help="certificats d'autorités, ou dossier des listes de confiance (peut être répété)",
    )
    one.add_argument(
        "--online", action="store_true", help="demander la révocation aux autorités des listes de confiance"
    )
    one.add_argument(
        "--report",
        type=Path,
        metavar="RAPPORT",
        help="rapport conservé (JSON) : juger à l'heure de son premier jeton, avec ses preuves, sans réseau",
    )
    one.add_argument(
        "--tsa-ca", type=Path, metavar="PEM", help="autorité des jetons du rapport conservé, à vérifier aussi"
    )
    one.add_argument("--at", type=_instant, help="date à laquelle juger (ISO 8601) ; par défaut, maintenant")
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="rapport en JSON")
    one = verb("sign", sign, "signer un fichier : dans le PDF même, ou à côté de tout autre fichier")
    one.add_argument("file", type=Path, metavar="FICHIER")
    one.add_argument("--out", type=Path, help="fichier à écrire ; par défaut, à côté du premier")
    one.add_argument("--p12", type=Path, help="fichier PKCS#12 (.p12, .pfx) du signataire")
    one.add_argument("--pkcs11-module", type=Path, help="bibliothèque de la carte à puce")
    one.add_argument("--label", default="", help="nom de la carte, s'il y en a plusieurs")
    one.add_argument("--secret-file", type=Path, help="fichier du mot de passe ou du code de la carte")
    one.add_argument("--chain", type=Path, help="certificats (PEM) des autorités à joindre")
    one.add_argument("--tsa", help="adresse d'une autorité d'horodatage (RFC 3161) : niveau T")
    one.add_argument("--long-term", type=Path, help="autorités (PEM) : garder la révocation, niveau LT")
    one.add_argument("--reason", default="", help="motif écrit dans le PDF")
    one = verb("lists-update", lists_update, "mettre à jour les listes de confiance européennes")
    one.add_argument("store", type=Path, metavar="DOSSIER", help="où elles sont gardées")
    one.add_argument("--from", dest="source", type=Path, help="dossier de listes copiées, sans réseau")
    one.add_argument("--lotl", help="adresse de la liste des listes")
    one.add_argument("--signers", type=Path, help="certificats (PEM) qui signent la liste des listes")
    one.add_argument("--territory", action="append", default=[], help="FR, BE… ; toutes par défaut")
    one = verb("lists-status", lists_status, "dire si les listes de confiance sont à jour")
    one.add_argument("store", type=Path, metavar="DOSSIER")


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check(options: argparse.Namespace) -> dict[str, object]:
    """Exit code 0 when every signature passes, else 1. Raises SignatureRefused, TimestampRefused, OSError."""
    for path in (options.file, *options.detached, *options.trust):
        if not path.exists():
            raise SignatureRefused(f"« {path} » n'existe pas.")
    since, lines = _kept(options) if options.report else (None, [])
    beside = options.file.with_name(stem_of(options.file.name))
    report = validate_isolated(
        options.file,
        at=options.at or since or datetime.now(UTC),
        trust=options.trust,
        detached=options.detached or ([beside] if beside != options.file and beside.is_file() else []),
        online=options.online and since is None,
        kept=options.report,
    )
    options.exit_code = 0 if report.indication == PASSED else NOT_PASSED
    if options.json:
        return report.as_dict()
    for line in [*explain(report, options.file.name), *lines]:
        sys.stdout.write(line + "\n")
    return {}


def _kept(options: argparse.Namespace) -> tuple[datetime, list[str]]:
    """Since when the preserved report of this very file proves that it existed, and what its tokens say.

    The hour that the report itself gives proves nothing: whoever made it wrote it.
    """
    kept = read_kept(options.report)
    with options.file.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != kept.sha256:
            raise SignatureRefused("Ce rapport est celui d'un autre fichier.")
    if options.tsa_ca is None or not options.trust:
        raise SignatureRefused(
            "Un rapport ne dit pas lui-même à qui se fier : donnez les autorités des signatures (--trust) et "
            "celle des jetons (--tsa-ca)."
        )
    tokens = kept.verify(options.tsa_ca.read_bytes())
    times = [f"{each.gen_time.isoformat()} par {each.authority}" for each in tokens]
    lines = ["", "Rapport conservé sans changement depuis :", *(f"  {each}" for each in times)]
    first = tokens[0].gen_time
    if options.at is None and (said := datetime.fromisoformat(kept.report.at)) < first:
        lines += [
            "",
            f"Le rapport dit avoir jugé au {said.isoformat()} ; rien ici ne le prouve : jugé à l'heure du "
            "premier jeton. Quand le reçu du dépôt prouve cette heure, donnez-la (--at).",
        ]
    return first, lines


def sign(options: argparse.Namespace) -> dict[str, object]:
    """Raises SignatureRefused, ProtectorRefused, TimestampRefused, OSError."""
    from signing.signatories import HttpStamper, from_card, from_pkcs12
    from signing.signatures import sign_file

    if bool(options.p12) == bool(options.pkcs11_module):
        raise SignatureRefused("Choisissez un fichier PKCS#12 (--p12) ou une carte (--pkcs11-module).")
    secret = (
        options.secret_file.read_text().strip()
        if options.secret_file
        else getpass.getpass("Mot de passe ou code de la carte : ")
    )
    chain = certificates_in(options.chain.read_bytes()) if options.chain else []
    long_term = certificates_in(options.long_term.read_bytes()) if options.long_term else []
    inside = kind_of(options.file) is Kind.PDF
    out = options.out or options.file.with_name(
        f"{options.file.stem}-signe.pdf" if inside else f"{options.file.name}.p7s"
    )
    card = (
        from_card(options.pkcs11_module, secret, label=options.label, chain=chain)
        if options.pkcs11_module
        else nullcontext(from_pkcs12(options.p12.read_bytes(), secret, chain=chain))
    )
    with card as signer:
        made = sign_file(
            options.file,
            out,
            signer,
            reason=options.reason,
            stamper=HttpStamper(options.tsa) if options.tsa else None,
            long_term=long_term,
        )
    return {"signature": made, "fichier": str(out)}


def lists_update(options: argparse.Namespace) -> dict[str, object]:
    """Exit code 1 when a list could not be taken. Raises TrustRefused, OSError."""
    from signing import lists_update  # long to load, and of no use to the other verbs

    rows = lists_update.update(
        options.store,
        fetch=lists_update.from_folder(options.source) if options.source else lists_update.from_network,
        now=datetime.now(UTC),
        lotl_url=options.lotl or lists_update.LOTL_URL,
        signers=certificates_in(options.signers.read_bytes()) if options.signers else (),
        territories=options.territory,
    )
    options.exit_code = NOT_PASSED if any(row.error for row in rows) else 0
    return {row.territory: _said(row, datetime.now(UTC)) for row in rows}


def lists_status(options: argparse.Namespace) -> dict[str, object]:
    """Exit code 1 for a list that is stale, in error or missing: an alarm for whoever watches."""
    now = datetime.now(UTC)
    rows = lists.read_state(options.store)
    options.exit_code = NOT_PASSED if not rows or any(is_stale(row, now) or row.error for row in rows) else 0
    return {row.territory: _said(row, now) for row in rows} or {"listes": "aucune"}


def _said(row: lists.TrustedList, now: datetime) -> str:
    if not row.sha256:
        return f"absente : {row.error}"
    stale = ", PÉRIMÉE" if is_stale(row, now) else ""
    error = f" ; la dernière reçue est refusée : {row.error}" if row.error else ""
    return (
        f"n° {row.sequence} du {row.issued[:10]}, à remplacer avant le {row.next_update[:10]}{stale}{error}"
    )


def explain(report: Report, name: str) -> list[str]:
    """The report in French, for a person."""
    if not report.has_signature:
        return [f"{name} : {report.reason}"]
    lines = [f"{name} : signature {LABELS[report.indication]}"]
    for number, signature in enumerate(report.signatures, start=1):
        role = "Contre-signature" if signature.role == "counter-signature" else "Signature"
        lines += ["", f"{role} {number}"]
        lines += [f"  {label} : {value}" for label, value in signature.lines()]
    return lines
