"""What the verbs of the command line share: the client of this token, passphrases typed and typed again."""

import argparse
import getpass
import os
from pathlib import Path

from signing.committee import Committee
from signing.errors import ProtectorRefused
from signing.protectors import PASSPHRASE_CHARS


def client_of(options: argparse.Namespace) -> Committee:
    token = (
        Path(options.token_file).read_text().strip()
        if options.token_file
        else os.environ.get("DEMATMP_TOKEN", "")
    )
    server = options.server or os.environ.get("DEMATMP_SERVER", "http://127.0.0.1:8000")
    return Committee(server, token)


def passphrase(options: argparse.Namespace) -> str:
    if options.passphrase_file:
        return Path(options.passphrase_file).read_text().strip()
    try:
        return getpass.getpass("Phrase secrète : ")
    except EOFError as closed:
        raise ProtectorRefused("Aucune phrase secrète n'a été donnée.") from closed


def new_passphrase(options: argparse.Namespace) -> str:
    """A passphrase typed twice: a typing mistake would lose the share for ever."""
    chosen = passphrase(options)
    if len(chosen) < PASSPHRASE_CHARS:
        raise ProtectorRefused(f"Une phrase secrète compte au moins {PASSPHRASE_CHARS} caractères.")
    if not options.passphrase_file and getpass.getpass("La même, pour vérifier : ") != chosen:
        raise ProtectorRefused("Les deux phrases diffèrent : recommencez.")
    return chosen
