"""The command line of bidders and committee members.

Exit codes: 0 done, 1 refused (the reason is printed), 2 wrong command line, 3 server unreachable (run it
again).
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from signing import client as api
from signing import following
from signing.choosing import check_choice, check_new, sources
from signing.cli_committee import committee_verbs
from signing.cli_signatures import signature_verbs
from signing.delivery import attempts_of
from signing.errors import JournalUnreachable, ProofRefused, SigningError
from signing.evidence import VerifiedEvidence, is_evidence, verify_evidence
from signing.fallback import backup_of, deposit, is_away, remember, went_by_backup
from signing.lines import VerifiedLines, is_lines, verify_lines
from signing.pieces import missing
from signing.receipt import Verified, verify_receipt
from signing.terminal import client_of

DONE, REFUSED, UNREACHABLE = 0, 1, 3
_err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, disable=quiet) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


def _missing(said: Mapping[str, object], plans: Sequence[api.EnvelopePlan]) -> Iterator[str]:
    """What the consultation asks for and these envelopes do not seem to bring: advice, never a refusal."""
    kinds = {plan.kind for plan in plans}
    asked = said.get("kinds")
    for kind in asked if isinstance(asked, list) else []:
        if kind not in kinds:
            yield f"la consultation demande aussi « {kind} »."
    for plan in plans:
        titles = [
            str(piece["title"])
            for piece in api.rows_of(said.get("required_pieces", []))
            if piece["kind"] == plan.kind
        ]
        for title in missing(titles, [source.name for source in plan.files]):
            yield f"aucun fichier de l'enveloppe « {plan.kind} » ne porte le nom de « {title} »."


def seal(options: argparse.Namespace) -> dict[str, object]:
    """Seal files into a draft."""
    check_new(options.draft)
    plans = [
        api.EnvelopePlan(options.lot, kind, sources(paths))
        for kind, paths in (("candidature", options.candidature), ("offre", options.offre))
        if paths
    ]
    sizes = [source.path.stat().st_size for plan in plans for source in plan.files]
    client = client_of(options)
    said = client.get(f"/consultations/{options.consultation}")
    check_choice(said, plans)
    for advice in _missing(said, plans):
        _err.print(f"Attention : {advice}")
    with _progress("Scellement", sum(sizes), quiet=options.json) as advance:
        made = client.seal_draft(options.consultation, plans, options.draft, progress=advance)
    remember(client, options.draft)
    if not options.json:
        _err.print(f"{len(sizes)} fichier(s) scellé(s) dans {options.draft} ; rien n'est encore envoyé.")
        _err.print(f"Empreinte des clés : {made['fingerprint']} ; comparez-la à celle de l'avis.")
        _err.print(f"Étape suivante : python -m signing submit {options.draft}")
        return {"dépôt préparé": made["deposit"]}
    return made


_STATES = {
    "deposited": "déposé dans les délais",
    "late": "HORS DÉLAI : conservé scellé, il n'est pas ouvert sans une décision motivée de l'acheteur",
    "superseded": "remplacé par un dépôt plus récent",
    "withdrawn": "retiré",
}


# R2151-5 leaves nothing to decide of it, unless nobody could begin in time.
_TOO_LATE = (
    "HORS DÉLAI, envoi commencé après la date limite : conservé scellé et éliminé, sauf si la plateforme "
    "était elle-même interrompue avant cette date"
)


def _state(state: str, draft: Path) -> str:
    """A state in French; of a late one, the receipt kept in the draft says whether it began in time."""
    try:
        said = json.loads((draft / "receipt.json").read_bytes())
        began, deadline = (
            datetime.fromisoformat(at) for at in (said["attempt"]["started"], said["deadline"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return _STATES.get(state, state)
    return _TOO_LATE if state == "late" and began > deadline else _STATES.get(state, state)


def submit(options: argparse.Namespace) -> dict[str, object]:
    """Send a draft, resuming where the server says it stopped, then finalise."""
    client = client_of(options)
    client.told = _err.print
    if backup_of(options.draft, timeout=client.timeout) is None:  # sealed before there was a channel
        remember(client, options.draft)

    def turning() -> None:
        _err.print("La plateforme ne répond pas : envoi au canal de secours.")

    with _progress("Envoi", api.draft_bytes(options.draft), quiet=options.json) as advance:
        done = deposit(
            client, options.draft, finalise=not options.upload_only, progress=advance, turning=turning
        )
    attempt, receipt = done.attempt, done.receipt
    if attempt.get("fingerprint") and not options.json:
        _err.print(f"Empreinte reçue le {attempt['fingerprint']} : une preuve, qui ne vaut pas dépôt.")
    if receipt is None and not options.json:
        unsent = "envoyé, RIEN N'EST DÉPOSÉ : relancez sans --upload-only avant la date limite"
        return {"état": unsent, "tentative": attempt["attempt"], "dépôt": attempt["deposit"]}
    if receipt is None:
        return {"state": "uploaded", "attempt": attempt["attempt"], "deposit": attempt["deposit"]}
    said = done.speaker.collect(str(receipt["deposit"]), options.draft)
    if done.by_backup and not options.json:
        _err.print("Reçu par le canal de secours : la plateforme l'ajoutera aux autres dès son retour.")
    if not options.json:
        return {
            "accusé": receipt["number"],
            "reçu le": _local(str(receipt["received"])),
            "état": _state(str(said["state"]), options.draft),
            "dépôt": receipt["deposit"],
            "accusé et preuves": options.draft,
        }
    return {
        "channel": "backup" if done.by_backup else "main",
        "state": receipt["state"],
        "number": receipt["number"],
        "received": receipt["received"],
        "deposit": receipt["deposit"],
    }


def _local(moment: str) -> str:
    """By this machine's clock zone, then as it was signed."""
    return f"{datetime.fromisoformat(moment).astimezone():%d/%m/%Y à %H:%M:%S} (soit {moment})"


def status(options: argparse.Namespace) -> dict[str, object]:
    """What the server holds of a draft."""
    state = api.load_draft(options.draft)
    said = _speaker(options).get(f"/deposits/{state['deposit']}")
    if not options.json:
        shown = _state(str(said["state"]), options.draft)
        return {"dépôt": said["deposit"], "état": shown, "jeton": "reçu" if said["token"] else "attendu"}
    return {"deposit": said["deposit"], "state": said["state"], "token": bool(said["token"])}


def evidence(options: argparse.Namespace) -> dict[str, object]:
    """What each server knows of a draft's attempt, deposited or not, as JSON and as a sealed PDF.

    The platform, and its backup channel where the draft went there too; a server that does not answer is
    named, and asked another time. Without an attempt, what this company was refused before it had one.
    """
    state, main = api.load_draft(options.draft), client_of(options)
    backup, known = backup_of(options.draft, timeout=main.timeout), attempts_of(options.draft)
    into = options.out or options.draft
    into.mkdir(parents=True, exist_ok=True)
    asked = [
        (speaker, f"/attempts/{known[speaker.server]}/evidence.json", name)
        for speaker, name in ((main, "dossier-de-preuve"), (backup, "dossier-de-preuve-secours"))
        if speaker is not None and speaker.server in known
    ]
    if not asked:
        _err.print("Ce brouillon ne connaît aucune tentative : voici ce qui a été refusé d'emblée.")
        each_of = ((main, "envois-refuses"), (backup, "envois-refuses-secours"))
        asked = [(speaker, "/refusals", name) for speaker, name in each_of if speaker is not None]
    written: list[str] = []
    away: api.ServerUnreachable | api.ServerRefused | None = None
    for speaker, where, name in asked:
        try:
            found = {
                "json": speaker.fetch(where),
                "pdf": speaker.fetch(where.removesuffix(".json") + ".pdf"),
            }
        except (api.ServerUnreachable, api.ServerRefused) as failed:
            if not is_away(failed):
                raise
            away = failed
            _err.print(f"{speaker.server} ne répond pas : recommencez pour avoir ce qu'il sait.")
            continue
        for form, data in found.items():
            (into / f"{name}.{form}").write_bytes(data)
            written.append(str(into / f"{name}.{form}"))
    if away is not None and not written:
        raise away
    if not options.json:
        return {"dépôt": state["deposit"], "écrits": ", ".join(written)}
    return {"deposit": state["deposit"], "written": written}


def withdraw(options: argparse.Namespace) -> dict[str, object]:
    """Withdraw a deposit before the deadline."""
    state = api.load_draft(options.draft)
    return _speaker(options).post(f"/deposits/{state['deposit']}/withdraw")


def _speaker(options: argparse.Namespace) -> api.Client:
    """Who knows this deposit: the platform, or its backup channel until the platform is back."""
    main = client_of(options)
    backup = backup_of(options.draft, timeout=main.timeout) if went_by_backup(options.draft) else None
    if backup is None:
        return main
    try:
        main.get(f"/deposits/{api.load_draft(options.draft)['deposit']}")
    except (api.ServerRefused, api.ServerUnreachable):
        return backup
    return main


def verify(options: argparse.Namespace) -> dict[str, object]:
    """Verify a receipt (its PDF, its JSON, or a folder), a « dossier de preuve » or a register (PDF, JSON).

    Offline, unless `--checkpoint` is an address.
    """
    keys = options.journal_key.read_text(errors="replace")
    witnesses = [
        line
        for path in options.witness
        for line in path.read_text(errors="replace").splitlines()
        if line.strip()
    ]
    if witnesses and options.checkpoint is None:
        raise ProofRefused("Un témoin cosigne les points de contrôle publiés : donnez --checkpoint.")
    if options.whole and options.checkpoint is None:
        raise ProofRefused("Les entrées publiées sont à côté du point de contrôle : donnez --checkpoint.")
    ca_pem, seal_pem = (path.read_bytes() if path else None for path in (options.ca, options.seal_ca))
    published = following.read(options.checkpoint, keys, witnesses=witnesses) if options.checkpoint else None
    given = {"journal_key": keys, "ca_pem": ca_pem, "seal_pem": seal_pem, "published": published}
    found: Verified | VerifiedEvidence | VerifiedLines
    if is_evidence(options.receipt):
        found = verify_evidence(options.receipt, **given)
    elif is_lines(options.receipt):
        found = verify_lines(options.receipt, **given, whole=options.whole)
    else:
        found = verify_receipt(options.receipt, **given)
    if options.json:
        return vars(found)
    lists = {"vérifié": found.checked, "sur la foi de": found.trusted}
    said = {name: value for name, value in vars(found).items() if name not in ("checked", "trusted")}
    return said | {name: "".join(f"\n  - {line}" for line in lines) for name, lines in lists.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m signing", description="Sceller, déposer, vérifier ; clés de la commission."
    )
    parser.add_argument("--server", help="adresse de la plateforme (ou DEMATMP_SERVER)")
    parser.add_argument("--token-file", help="fichier du jeton d'accès (ou DEMATMP_TOKEN)")
    parser.add_argument("--json", action="store_true", help="réponse en JSON, sans barre de progression")
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(
        name: str, run: Callable[[argparse.Namespace], dict[str, object]], help_text: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help_text)
        added.set_defaults(run=run)
        return added

    one = verb("seal", seal, "sceller des fichiers dans un brouillon")
    one.add_argument("consultation")
    one.add_argument("--lot", default="1")
    one.add_argument("--candidature", nargs="+", default=[], metavar="FICHIER")
    one.add_argument("--offre", nargs="+", default=[], metavar="FICHIER")
    one.add_argument("--draft", type=Path, required=True, help="dossier du brouillon")
    one = verb("submit", submit, "envoyer un brouillon (reprend où il s'est arrêté) et finaliser")
    one.add_argument("draft", type=Path)
    one.add_argument(
        "--upload-only", action="store_true", help="envoyer sans finaliser : rien n'est alors déposé"
    )
    one = verb("status", status, "état d'un dépôt")
    one.add_argument("draft", type=Path)
    one = verb("evidence", evidence, "dossier de preuve d'une tentative, déposée ou non")
    one.add_argument("draft", type=Path)
    one.add_argument("--out", type=Path, help="dossier où l'écrire ; celui du brouillon sinon")
    one = verb("withdraw", withdraw, "retirer un dépôt, avant la date limite")
    one.add_argument("draft", type=Path)
    one = verb("verify", verify, "vérifier un accusé, un dossier de preuve ou un registre sans la plateforme")
    one.add_argument("receipt", type=Path, help="l'un d'eux, PDF ou JSON, ou dossier du brouillon")
    one.add_argument(
        "--journal-key",
        type=Path,
        required=True,
        metavar="CLE",
        help="fichier de la clé du journal ; après une succession, des clés, une par ligne",
    )
    one.add_argument(
        "--checkpoint",
        metavar="FICHIER|URL",
        help="point de contrôle publié, sa copie ou le dossier de l'un d'eux (https://…/journal/), avec ses "
        "tuiles : il doit prolonger le journal de l'accusé",
    )
    one.add_argument(
        "--witness",
        type=Path,
        action="append",
        default=[],
        metavar="CLE",
        help="fichier de clés de témoins, une par ligne : chacun doit avoir cosigné ce point de contrôle",
    )
    one.add_argument(
        "--whole",
        action="store_true",
        help="pour un registre : relire toutes les entrées publiées, et refuser s'il y manque des lignes",
    )
    one.add_argument("--ca", type=Path, metavar="PEM", help="autorités des jetons d'horodatage")
    one.add_argument(
        "--seal-ca", type=Path, metavar="PEM", help="autorité de la plateforme, ou certificat de son cachet"
    )
    signature_verbs(verb)
    committee_verbs(verb)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; see the exit codes above."""
    options = _parser().parse_args(arguments)
    try:
        result = options.run(options)
    except api.ServerRefused as refused:
        _err.print(f"Refusé [{refused.reason}] : {refused}")
        if refused.next:
            _err.print(f"Étape suivante : {refused.next}")
        return REFUSED
    except (api.ServerUnreachable, JournalUnreachable) as unreachable:
        _err.print(f"[{unreachable.code}] {unreachable}")
        return UNREACHABLE
    except (SigningError, OSError) as refused:
        _err.print(f"Refusé [{getattr(refused, 'code', 'fichier')}] : {refused}")
        return REFUSED
    if options.json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        for name, value in result.items():
            sys.stdout.write(f"{name} : {value}\n")
    return int(getattr(options, "exit_code", DONE))
