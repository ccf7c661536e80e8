"""The command line of bidders and committee members.

Exit codes: 0 done, 1 refused (the reason is printed), 2 wrong command line, 3 server unreachable (run it
again).
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

from signing import cards, renewal
from signing import client as api
from signing.ceremony import fingerprint, record_hash
from signing.committee import Committee
from signing.envelope import Source
from signing.errors import ProtectorRefused, SigningError
from signing.keys import new_seed, public_key
from signing.pieces import missing
from signing.protectors import (
    PASSPHRASE_CHARS,
    create_paper,
    create_protector,
    protector_public,
    unlock_paper,
    unlock_protector,
)
from signing.receipt import verify_receipt

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


def _client(options: argparse.Namespace) -> Committee:
    token = (
        Path(options.token_file).read_text().strip()
        if options.token_file
        else os.environ.get("DEMATMP_TOKEN", "")
    )
    server = options.server or os.environ.get("DEMATMP_SERVER", "http://127.0.0.1:8000")
    return Committee(server, token)


def _passphrase(options: argparse.Namespace) -> str:
    if options.passphrase_file:
        return Path(options.passphrase_file).read_text().strip()
    try:
        return getpass.getpass("Phrase secrète : ")
    except EOFError as closed:
        raise ProtectorRefused("Aucune phrase secrète n'a été donnée.") from closed


def _new_passphrase(options: argparse.Namespace) -> str:
    """A passphrase typed twice: a typing mistake would lose the share for ever."""
    chosen = _passphrase(options)
    if len(chosen) < PASSPHRASE_CHARS:
        raise ProtectorRefused(f"Une phrase secrète compte au moins {PASSPHRASE_CHARS} caractères.")
    if not options.passphrase_file and getpass.getpass("La même, pour vérifier : ") != chosen:
        raise ProtectorRefused("Les deux phrases diffèrent : recommencez.")
    return chosen


def _sources(paths: Sequence[str]) -> list[Source]:
    found: list[Source] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file())
            found += [Source(each, f"{path.name}/{each.relative_to(path).as_posix()}") for each in inside]
        else:
            found.append(Source(path, path.name))
    return found


def _missing(said: Mapping[str, object], plans: Sequence[api.EnvelopePlan]) -> Iterator[str]:
    """What the consultation asks for and these envelopes do not seem to bring: advice, never a refusal."""
    kinds = {plan.kind for plan in plans}
    for kind in said["kinds"] if isinstance(said.get("kinds"), list) else []:  # type: ignore[attr-defined]
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
    plans = [
        api.EnvelopePlan(options.lot, kind, _sources(paths))
        for kind, paths in (("candidature", options.candidature), ("offre", options.offre))
        if paths
    ]
    sizes = [source.path.stat().st_size for plan in plans for source in plan.files]
    empty = sum(1 for size in sizes if size == 0)
    if empty:
        _err.print(f"Attention : {empty} fichier(s) vide(s) (0 octet) dans ce dépôt.")
    client = _client(options)
    for advice in _missing(client.get(f"/consultations/{options.consultation}"), plans):
        _err.print(f"Attention : {advice}")
    with _progress("Scellement", sum(sizes), quiet=options.json) as advance:
        made = client.seal_draft(options.consultation, plans, options.draft, progress=advance)
    if not options.json:
        _err.print(f"{len(sizes)} fichier(s) scellé(s) dans {options.draft} ; rien n'est encore envoyé.")
        _err.print(f"Étape suivante : python -m signing submit {options.draft}")
        return {"dépôt préparé": made["deposit"]}
    return made


def submit(options: argparse.Namespace) -> dict[str, object]:
    """Send a draft, resuming where the server says it stopped, then finalise."""
    client = _client(options)
    with _progress("Envoi", api.draft_bytes(options.draft), quiet=options.json) as advance:
        attempt = client.upload(options.draft, progress=advance)
    if options.upload_only:
        return {"state": "uploaded", "attempt": attempt["attempt"], "deposit": attempt["deposit"]}
    receipt = client.finalise(options.draft, str(attempt["attempt"]))
    client.collect(str(receipt["deposit"]), options.draft)
    return {
        "state": receipt["state"],
        "number": receipt["number"],
        "received": receipt["received"],
        "deposit": receipt["deposit"],
    }


def status(options: argparse.Namespace) -> dict[str, object]:
    """What the server holds of a draft."""
    state = api.load_draft(options.draft)
    said = _client(options).get(f"/deposits/{state['deposit']}")
    return {"deposit": said["deposit"], "state": said["state"], "token": bool(said["token"])}


def withdraw(options: argparse.Namespace) -> dict[str, object]:
    """Withdraw a deposit before the deadline."""
    state = api.load_draft(options.draft)
    return _client(options).post(f"/deposits/{state['deposit']}/withdraw")


def verify(options: argparse.Namespace) -> dict[str, object]:
    """Verify a receipt folder offline."""
    key = Path(options.journal_key).read_text().strip()
    ca_pem = Path(options.ca).read_bytes() if options.ca else None
    return vars(verify_receipt(options.folder, journal_key=key, ca_pem=ca_pem))


def protector(options: argparse.Namespace) -> dict[str, object]:
    """Make a protector and enrol its public key; a file that is already there is enrolled again.

    A sheet of paper is a text of 33 words: it is printed, put away, and its file deleted.
    """
    paper = options.kind == "paper"
    if options.file.exists():
        data = options.file.read_bytes()
        public = public_key(unlock_paper(data.decode())) if paper else protector_public(data)
    else:
        if paper:
            words, public = create_paper()
            data = _sheet(words).encode()
        else:
            data, public = (
                cards.create_card(*_card(options), label=options.token_label)
                if options.kind == "card"
                else create_protector(_new_passphrase(options))
            )
        descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    labels = {"paper": "Feuille de secours", "card": "Carte à puce"}
    label = options.label or labels.get(options.kind, "Phrase secrète")
    body = {"label": label, "kind": options.kind, "public_key": api.b64(public)}
    if options.keep_on_platform:
        if paper:
            raise ProtectorRefused("Les mots d'une feuille de secours ne quittent jamais la feuille.")
        body["wrapped"] = api.b64(data)
    return _client(options).post("/committee/protectors", body)


def _sheet(words: str) -> str:
    """The words, numbered, four to a line."""
    numbered = [f"{number}. {word}" for number, word in enumerate(words.split(), start=1)]
    return "\n".join("   ".join(numbered[at : at + 4]) for at in range(0, len(numbered), 4)) + "\n"


def deal(options: argparse.Namespace) -> dict[str, object]:
    """The president's part of the ceremony."""
    sha256 = record_hash(_client(options).deal(options.consultation))
    return {"sha256": sha256, "fingerprint": fingerprint(sha256)}


def _card(options: argparse.Namespace) -> tuple[Path, str]:
    """The PKCS#11 module and the PIN of the card."""
    if not options.pkcs11_module:
        raise ProtectorRefused("Indiquez le module de la carte : --pkcs11-module CHEMIN.")
    if options.pin_file:
        return Path(options.pkcs11_module), Path(options.pin_file).read_text().strip()
    return Path(options.pkcs11_module), getpass.getpass("Code de la carte : ")


def _seed(options: argparse.Namespace) -> bytes:
    """The seed of a protector's file, of a card, or of the words of a sheet."""
    data = Path(options.protector).read_bytes()
    if b'"card/1"' in data[:64]:
        return cards.unlock_card(data, *_card(options), label=options.token_label)
    if not data.lstrip().startswith(b"{"):
        try:
            return unlock_paper(data.decode())
        except UnicodeDecodeError as unreadable:
            raise ProtectorRefused(
                "Ce fichier n'est ni un protecteur ni une feuille de mots."
            ) from unreadable
    return unlock_protector(data, _passphrase(options))


def confirm(options: argparse.Namespace) -> dict[str, object]:
    """A member's part of the ceremony."""
    return {"sha256": _client(options).confirm(options.consultation, _seed(options))}


def check(options: argparse.Namespace) -> dict[str, object]:
    """Check that one's shares open, and say so."""
    return {"sha256": _client(options).rehearse(options.consultation, _seed(options))}


def _opening_of(client: Committee, options: argparse.Namespace) -> str:
    return client.twin(options.consultation) if options.rehearsal else str(options.consultation)


def renew_offer(options: argparse.Namespace) -> dict[str, object]:
    """The dealer of a new sharing gives an ephemeral key, kept in a file, and reads its code aloud."""
    seed = new_seed()
    descriptor = os.open(options.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(seed)
    code = renewal.offer(_client(options), options.renewal, seed)
    return {"code": code, "étape suivante": "dictez ce code à chaque détenteur, de vive voix"}


def renew_lend(options: argparse.Namespace) -> dict[str, object]:
    """A former holder lends its shares to the dealer whose code this is."""
    renewal.lend(_client(options), options.renewal, _seed(options), options.code)
    return {"state": "lent"}


def renew_deal(options: argparse.Namespace) -> dict[str, object]:
    """The dealer deals again, then its key's file is deleted."""
    sha256 = renewal.deal(_client(options), options.renewal, Path(options.key).read_bytes())
    Path(options.key).unlink()
    return {"sha256": sha256, "fingerprint": fingerprint(sha256)}


def renew_confirm(options: argparse.Namespace) -> dict[str, object]:
    """A new holder checks its shares and confirms."""
    return {"sha256": renewal.confirm(_client(options), options.renewal, _seed(options))}


def share(options: argparse.Namespace) -> dict[str, object]:
    """Bring one's share to the opening session, or to its rehearsal."""
    client = _client(options)
    consultation = _opening_of(client, options)
    session = client.start_opening(consultation)
    return client.give_share(consultation, session, _seed(options))


def open_session(options: argparse.Namespace) -> dict[str, object]:
    """Release the platform's key, once the quorum is there."""
    client = _client(options)
    session = client.start_opening(_opening_of(client, options))
    return client.post(f"/openings/{session['session']}/open")


def _card_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pkcs11-module", help="bibliothèque PKCS#11 de la carte")
    parser.add_argument("--pin-file", help="fichier du code de la carte (sinon il est demandé)")
    parser.add_argument("--token-label", default="", help="nom de la carte, s'il y en a plusieurs")


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
    one = verb("withdraw", withdraw, "retirer un dépôt, avant la date limite")
    one.add_argument("draft", type=Path)
    one = verb("verify", verify, "vérifier un accusé de réception sans la plateforme")
    one.add_argument("folder", type=Path)
    one.add_argument("--journal-key", required=True)
    one.add_argument("--ca")
    one = verb("protector", protector, "créer et enregistrer un protecteur")
    one.add_argument("file", type=Path)
    one.add_argument(
        "--kind",
        choices=("passphrase", "paper", "card"),
        default="passphrase",
        help="passphrase : un fichier sous une phrase ; paper : 33 mots à imprimer ; card : une carte",
    )
    one.add_argument("--label", default="")
    one.add_argument(
        "--keep-on-platform",
        action="store_true",
        help="garder aussi le fichier, scellé par la phrase, sur la plateforme",
    )
    one.add_argument("--passphrase-file")
    _card_options(one)
    one = verb("deal", deal, "cérémonie : faire les clés et les parts (président)")
    one.add_argument("consultation")
    for name, run, help_text in (
        ("confirm", confirm, "cérémonie : vérifier ma part et confirmer"),
        ("check", check, "vérifier que ma part s'ouvre, et le dire"),
        ("share", share, "ouverture : apporter ma part"),
    ):
        one = verb(name, run, help_text)
        one.add_argument("consultation")
        one.add_argument(
            "--protector", required=True, help="fichier du protecteur, ou des mots de la feuille"
        )
        one.add_argument("--passphrase-file")
        _card_options(one)
        if name == "share":
            one.add_argument("--rehearsal", action="store_true", help="à la répétition, sur le pli d'essai")
    for name, run, help_text in (
        ("renew-offer", renew_offer, "nouvelle répartition : donner ma clé éphémère et lire son code"),
        ("renew-lend", renew_lend, "nouvelle répartition : prêter ma part à qui répartit"),
        ("renew-deal", renew_deal, "nouvelle répartition : répartir de nouveau les mêmes clés"),
        ("renew-confirm", renew_confirm, "nouvelle répartition : vérifier ma nouvelle part et confirmer"),
    ):
        one = verb(name, run, help_text)
        one.add_argument("renewal", help="identifiant de la nouvelle répartition (sur sa page)")
        if name in ("renew-offer", "renew-deal"):
            one.add_argument("--key", type=Path, required=True, help="fichier de la clé éphémère")
        else:
            one.add_argument("--protector", required=True, help="fichier du protecteur, ou des mots")
            one.add_argument("--passphrase-file")
            _card_options(one)
        if name == "renew-lend":
            one.add_argument("--code", required=True, help="code dicté par la personne qui répartit")
    one = verb("open", open_session, "ouverture : libérer la clé de la plateforme, le quorum étant réuni")
    one.add_argument("consultation")
    one.add_argument("--rehearsal", action="store_true", help="à la répétition, sur le pli d'essai")
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
    except api.ServerUnreachable as unreachable:
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
    return DONE
