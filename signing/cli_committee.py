"""The verbs of a committee's member: protectors, ceremony, rehearsal, other holders, opening."""

import argparse
import getpass
import os
from collections.abc import Callable
from pathlib import Path

from signing import cards, renewal
from signing import client as api
from signing.ceremony import fingerprint, record_hash
from signing.committee import Committee
from signing.errors import ProtectorRefused
from signing.keys import key_hash, new_seed, public_key
from signing.protectors import (
    create_paper,
    create_protector,
    protector_public,
    unlock_paper,
    unlock_protector,
)
from signing.terminal import client_of, new_passphrase, passphrase

Run = Callable[[argparse.Namespace], dict[str, object]]
Verb = Callable[[str, Run, str], argparse.ArgumentParser]


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
                else create_protector(new_passphrase(options))
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
    made = client_of(options).post("/committee/protectors", body)
    return {**made, "fingerprint": fingerprint(key_hash(public))}


def _sheet(words: str) -> str:
    """The words, numbered, four to a line."""
    numbered = [f"{number}. {word}" for number, word in enumerate(words.split(), start=1)]
    return "\n".join("   ".join(numbered[at : at + 4]) for at in range(0, len(numbered), 4)) + "\n"


def deal(options: argparse.Namespace) -> dict[str, object]:
    """The president's part of the ceremony."""
    sha256 = record_hash(client_of(options).deal(options.consultation))
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
    return unlock_protector(data, passphrase(options))


def confirm(options: argparse.Namespace) -> dict[str, object]:
    """A member's part of the ceremony."""
    client = client_of(options)
    sha256 = client.confirm(options.consultation, _seed(options), also=options.also)
    return {"sha256": sha256, "dealer": client.dealer(options.consultation)}


def check(options: argparse.Namespace) -> dict[str, object]:
    """Check that one's shares open, and say so."""
    return {"sha256": client_of(options).rehearse(options.consultation, _seed(options))}


def _opening_of(client: Committee, options: argparse.Namespace) -> str:
    return client.twin(options.consultation) if options.rehearsal else str(options.consultation)


def renew_offer(options: argparse.Namespace) -> dict[str, object]:
    """The dealer of a new sharing gives an ephemeral key, kept in a file, and reads its code aloud."""
    seed = new_seed()
    descriptor = os.open(options.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(seed)
    code = renewal.offer(client_of(options), options.renewal, seed)
    return {"code": code, "étape suivante": "dictez ce code à chaque détenteur, de vive voix"}


def renew_lend(options: argparse.Namespace) -> dict[str, object]:
    """A former holder lends its shares to the dealer whose code this is."""
    renewal.lend(client_of(options), options.renewal, _seed(options), options.code)
    return {"state": "lent"}


def renew_deal(options: argparse.Namespace) -> dict[str, object]:
    """The dealer deals again, then its key's file is deleted."""
    seed = Path(options.key).read_bytes()
    sha256 = renewal.deal(client_of(options), options.renewal, seed, code=options.list_code)
    Path(options.key).unlink()
    return {"sha256": sha256, "fingerprint": fingerprint(sha256)}


def renew_confirm(options: argparse.Namespace) -> dict[str, object]:
    """A new holder checks its shares and confirms."""
    sha256 = renewal.confirm(client_of(options), options.renewal, _seed(options), also=options.also)
    return {"sha256": sha256}


def renew_list(options: argparse.Namespace) -> dict[str, object]:
    """A new holder checks the list, and reads its code to the dealer."""
    code = renewal.check_list(client_of(options), options.renewal, _seed(options), also=options.also)
    return {"code": code, "étape suivante": "dictez ce code à la personne qui répartit, de vive voix"}


def share(options: argparse.Namespace) -> dict[str, object]:
    """Bring one's share to the opening session, or to its rehearsal."""
    client = client_of(options)
    consultation = _opening_of(client, options)
    session = client.start_opening(consultation)
    return client.give_share(consultation, session, _seed(options), rehearsal=options.rehearsal)


def open_session(options: argparse.Namespace) -> dict[str, object]:
    """Release the platform's key, once the quorum is there."""
    client = client_of(options)
    session = client.start_opening(_opening_of(client, options))
    return client.post(f"/openings/{session['session']}/open", {"leave_undecided": options.leave_undecided})


def resume(options: argparse.Namespace) -> dict[str, object]:
    """The session goes on for an offer that was received in time, and known once the others were open."""
    client = client_of(options)
    session = client.start_opening(options.consultation)
    return client.post(f"/openings/{session['session']}/resume")


def _card_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pkcs11-module", help="bibliothèque PKCS#11 de la carte")
    parser.add_argument("--pin-file", help="fichier du code de la carte (sinon il est demandé)")
    parser.add_argument("--token-label", default="", help="nom de la carte, s'il y en a plusieurs")


def _also(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="EMPREINTE",
        help="empreinte d'un autre de mes protecteurs (répétable)",
    )


def committee_verbs(verb: Verb) -> None:
    """Add these verbs to the command line."""
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
        ("check-share", check, "vérifier que ma part s'ouvre, et le dire"),
        ("share", share, "ouverture : apporter ma part"),
    ):
        one = verb(name, run, help_text)
        one.add_argument("consultation")
        one.add_argument(
            "--protector", required=True, help="fichier du protecteur, ou des mots de la feuille"
        )
        one.add_argument("--passphrase-file")
        _card_options(one)
        if name == "confirm":
            _also(one)
        if name == "share":
            one.add_argument("--rehearsal", action="store_true", help="à la répétition, sur le pli d'essai")
    for name, run, help_text in (
        ("renew-offer", renew_offer, "nouvelle répartition : donner ma clé éphémère et lire son code"),
        ("renew-lend", renew_lend, "nouvelle répartition : prêter ma part à qui répartit"),
        ("renew-list", renew_list, "nouvelle répartition : vérifier la liste et lire son code"),
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
        if name in ("renew-list", "renew-confirm"):
            _also(one)
        if name == "renew-deal":
            one.add_argument("--list-code", required=True, help="code que chaque nouveau détenteur a lu")
        if name == "renew-lend":
            one.add_argument("--code", required=True, help="code dicté par la personne qui répartit")
    one = verb("open", open_session, "ouverture : libérer la clé de la plateforme, le quorum étant réuni")
    one.add_argument("consultation")
    one.add_argument(
        "--leave-undecided",
        action="store_true",
        help="ouvrir même si un dépôt hors délai attend une décision de l'acheteur : il restera scellé",
    )
    one.add_argument("--rehearsal", action="store_true", help="à la répétition, sur le pli d'essai")
    one = verb("resume", resume, "ouverture : reprendre la séance pour une offre reçue à temps, connue après")
    one.add_argument("consultation")
