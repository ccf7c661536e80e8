"""What a company chose to deposit, checked before a byte of it is sealed: each refusal names its file."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from signing.envelope import Source
from signing.errors import NameRefused, RefusedChoice
from signing.manifest import check_name

_UNITS = ("octets", "Ko", "Mo", "Go", "To")  # as on the site: of 1024


class Plan(Protocol):
    """One envelope to seal."""

    @property
    def lot(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def files(self) -> Sequence[Source]: ...


def sources(paths: Sequence[str]) -> list[Source]:
    """The files, and those of the folders, under the names that the committee will see (in Unicode NFC).

    Raises RefusedChoice, NameRefused.
    """
    found: list[Source] = []
    for path in map(Path, paths):
        if not path.exists():
            raise RefusedChoice(f"« {path} » n'existe pas.")
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file())
            found += [_source(each, f"{path.name}/{each.relative_to(path).as_posix()}") for each in inside]
        else:
            found.append(_source(path, path.name))
    seen: dict[str, Source] = {}
    for each in found:
        other = seen.setdefault(each.name.casefold(), each)
        if other is not each:
            raise NameRefused(f"« {each.path} » et « {other.path} » auraient le même nom : renommez-en un.")
    return found


def _source(path: Path, name: str) -> Source:
    # macOS writes « é » in two characters, which other machines take for another name.
    name = unicodedata.normalize("NFC", name)
    try:
        check_name(name)
    except NameRefused as refused:
        raise NameRefused(f"« {path} » : {refused}") from refused
    if not os.access(path, os.R_OK):
        raise RefusedChoice(f"« {path} » ne se lit pas : vérifiez ses droits.")
    return Source(path, name)


def check_choice(said: Mapping[str, object], plans: Sequence[Plan]) -> None:
    """Against what the consultation publishes: its lots and its limits. Raises RefusedChoice."""
    if not plans:
        raise RefusedChoice("Aucun fichier n'a été donné : --candidature, --offre, ou les deux.")
    rows, limits = said.get("lots"), said.get("limits")
    lots = [str(each["number"]) for each in rows] if isinstance(rows, list) else []
    most = limits if isinstance(limits, dict) else {}
    for plan in plans:
        if lots and plan.lot not in lots:
            raise RefusedChoice(f"Le lot « {plan.lot} » n'existe pas. Lots : {', '.join(lots)}.")
        if not plan.files:
            raise RefusedChoice(f"L'enveloppe « {plan.kind} » n'a aucun fichier.")
        if len(plan.files) > most.get("files", len(plan.files)):
            count = f"{len(plan.files)} fichiers ; {most['files']} au plus"
            raise RefusedChoice(f"L'enveloppe « {plan.kind} » a {count}.")
        sizes = {each.name: each.path.stat().st_size for each in plan.files}
        for name, size in sizes.items():
            if size == 0:
                raise RefusedChoice(f"« {name} » est vide (0 octet) : retirez-le, ou donnez le bon fichier.")
            if size > most.get("file_bytes", size):
                raise RefusedChoice(f"« {name} » fait {_size(size)} ; {_size(most['file_bytes'])} au plus.")
        total = sum(sizes.values())
        if total > most.get("envelope_bytes", total):
            permitted = _size(most["envelope_bytes"])
            raise RefusedChoice(f"L'enveloppe « {plan.kind} » fait {_size(total)} ; {permitted} au plus.")


def check_new(draft: Path) -> None:
    """A draft is one deposit: another one goes elsewhere. Raises RefusedChoice."""
    if (draft / "draft.json").exists():
        raise RefusedChoice(
            f"« {draft} » est déjà un brouillon : envoyez-le (submit), ou scellez dans un autre dossier."
        )


def _size(count: float) -> str:
    """« 1,5 Mo »."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.1f} {unit}".replace(".0 ", " ").replace(".", ",")
        count /= 1024
    raise AssertionError
