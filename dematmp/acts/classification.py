"""The codes of an act are data: natures, typologies and matters of the last RetourClassification received."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dematmp.acts.errors import ActRefused, MessageRefused
from dematmp.acts.messages import Classification, Matter, Typology
from dematmp.acts.reading import read

# Shipped for an authority that has received none yet: the codes in force on 1 March 2019.
SHIPPED = Path(__file__).resolve().parent / "codes" / "classification-2019-03-01.xml"
_SIGNATURE = "99_SE"


@lru_cache(maxsize=1)
def shipped() -> bytes:
    """The bytes of the default version."""
    return SHIPPED.read_bytes()


@lru_cache(maxsize=64)
def parsed(data: bytes) -> Classification:
    """A version from its bytes. Raises MessageRefused."""
    found = read(data)
    if not isinstance(found, Classification):
        raise MessageRefused("Le message reçu n'est pas une classification.")
    return found


@dataclass(frozen=True)
class Codes:
    """Questions asked of one version."""

    version: Classification

    def typologies(self, nature: str) -> list[Typology]:
        """Those of a nature, its own `99_` first, the detached signature last; empty when it names none."""
        found = [each for kind in self.version.natures if kind.code == nature for each in kind.typologies]
        return sorted(found, key=lambda each: (each.code == _SIGNATURE, not each.code.startswith("99_")))

    def default_typology(self, nature: str) -> str:
        """The nature's `99_` code. Raises ActRefused when the version has none."""
        found = [each.code for each in self.typologies(nature) if each.code.startswith("99_")]
        if not found:
            raise ActRefused("La classification en vigueur n'a pas de typologie générale pour cette nature.")
        return found[0]

    def label(self, nature: str, typology: str) -> str:
        """The label of a typology, or its code."""
        found = [each.label for each in self.typologies(nature) if each.code == typology]
        return found[0] if found else typology

    def permits(self, nature: str, typology: str) -> bool:
        """Whether a file of an act of this nature may have this typology.

        A version that names no typology for the nature checks nothing.
        """
        known = [each.code for each in self.typologies(nature)]
        return not known or typology in known

    def short(self, nature: str) -> str:
        """`DE`, `CC`… Raises ActRefused for an unknown nature."""
        for each in self.version.natures:
            if each.code == nature:
                return each.short
        raise ActRefused(f"La nature « {nature} » n'existe pas dans la classification en vigueur.")

    def nature_label(self, nature: str) -> str:
        return next((each.label for each in self.version.natures if each.code == nature), nature)

    def matter_label(self, codes: tuple[int, ...]) -> str:
        """The label of the deepest known level, or the empty string."""
        label, level = "", self.version.matters
        for code in codes:
            found = _find(level, code)
            if found is None:
                return label
            label, level = found.label, found.below
        return label

    def check_codes(self, codes: tuple[int, ...]) -> None:
        """Two levels at least, each in the tree that was received. Raises ActRefused."""
        if len(codes) < 2:
            raise ActRefused(
                "Les deux premiers niveaux de la classification sont obligatoires.", field="matter"
            )
        level = self.version.matters
        for depth, code in enumerate(codes):
            found = _find(level, code)
            if found is None:
                if depth < 2 or level:
                    written = ".".join(map(str, codes))
                    why = f"La classification {written} n'existe pas dans la version en vigueur."
                    raise ActRefused(why, field="matter")
                return  # deeper than what was received: the ministry decides
            level = found.below

    def leaves(self) -> list[tuple[tuple[int, ...], str]]:
        """Every deepest node, in the order of numbers (7.10 after 7.9)."""
        return list(_leaves(self.version.matters, ()))


def _find(level: tuple[Matter, ...], code: int) -> Matter | None:
    return next((each for each in level if each.code == code), None)


def _leaves(level: tuple[Matter, ...], above: tuple[int, ...]) -> list[tuple[tuple[int, ...], str]]:
    found: list[tuple[tuple[int, ...], str]] = []
    for each in sorted(level, key=lambda matter: matter.code):
        codes = (*above, each.code)
        found += _leaves(each.below, codes) or [(codes, each.label)]
    return found
