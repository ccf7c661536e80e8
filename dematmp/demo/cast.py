"""Who plays the demonstration: three buyers on one platform, four companies, a prefecture."""

import secrets
from dataclasses import dataclass, field
from itertools import product

from stdnum import luhn


def siret(siren8: str, establishment4: str) -> str:
    """A well-formed SIRET from eight digits of SIREN and four of NIC; both check digits are computed."""
    siren = siren8 + luhn.calc_check_digit(siren8)
    return siren + establishment4 + luhn.calc_check_digit(siren + establishment4)


def _password() -> str:
    return secrets.token_urlsafe(9)


# Words that nobody wants to dictate; frontend/committee/phrase.js has the same.
_RUDE = frozenset(
    [
        "bico",
        "biko",
        "bite",
        "caca",
        "caka",
        "cona",
        "cone",
        "coni",
        "cucu",
        "cuku",
        "cula",
        "cule",
        "culi",
        "culo",
        "gode",
        "kaca",
        "kaka",
        "kike",
        "kiki",
        "kucu",
        "kuku",
        "lolo",
        "lope",
        "nazi",
        "naze",
        "nene",
        "nika",
        "nike",
        "niko",
        "pede",
        "pete",
        "pine",
        "pipi",
        "pisa",
        "popo",
        "pube",
        "puta",
        "pute",
        "puto",
        "rote",
        "sida",
        "suca",
        "suce",
        "tare",
        "tepu",
        "vomi",
        "zebi",
        "zizi",
        "zobi",
    ]
)
_SYLLABLES = ["".join(pair) for pair in product("bcdfgjklmnprstvz", "aeiou")]
WORDS = sorted({first + second for first, second in product(_SYLLABLES, repeat=2)} - _RUDE)


def _phrase() -> str:
    """Five words of two syllables, as the committee's page proposes them."""
    return "-".join(secrets.choice(WORDS) for _ in range(5))


@dataclass(frozen=True)
class Person:
    """One actor; the password, and the passphrase of a member's protector, are drawn at each run."""

    slug: str
    first_name: str
    last_name: str
    roles: tuple[str, ...]
    organisation: str
    password: str = field(default_factory=_password)
    phrase: str = field(default_factory=_phrase)

    @property
    def email(self) -> str:
        return (
            f"{self.first_name}.{self.last_name}@{self.organisation}.example.fr".lower()
            .replace("é", "e")
            .replace("è", "e")
            .replace(" ", "")
        )


@dataclass(frozen=True)
class Body:
    """One organisation."""

    slug: str
    kind: str
    name: str
    siret: str
    actes: dict[str, str] = field(default_factory=dict)


_ACTES = {"department": "034", "district": "1"}
BODIES = (
    Body(
        "agglo",
        "buyer",
        "Communauté d'agglomération du Val de Sorne",
        siret("20006512", "0001"),
        {**_ACTES, "authority_nature": "46"},
    ),
    Body(
        "ville",
        "buyer",
        "Ville de Sorne-le-Château",
        siret("21340199", "0001"),
        {**_ACTES, "authority_nature": "31"},
    ),
    Body(
        "hopital",
        "buyer",
        "Centre hospitalier du Val de Sorne",
        siret("26340077", "0001"),
        {**_ACTES, "authority_nature": "22"},
    ),
    Body("batisseurs", "company", "Les Bâtisseurs du Val", siret("41234567", "0001")),
    Body("voirie", "company", "Voirie et Réseaux Martin", siret("43876543", "0002")),
    Body("pierre", "company", "Pierre et Tradition SARL", siret("50112233", "0001")),
    Body("retard", "company", "Travaux du Dernier Moment", siret("51998877", "0003")),
    Body(
        "prefecture",
        "prefecture",
        "Préfecture de l'Hérault (démonstration)",
        siret("17340001", "0001"),
        _ACTES,
    ),
)
PEOPLE = (
    Person("agent", "Claire", "Fontaine", ("agent",), "agglo"),
    Person("valideur", "Hugo", "Lambert", ("validator", "agent"), "agglo"),
    Person("presidente", "Nadia", "Belkacem", ("member",), "agglo"),
    Person("membre2", "Paul", "Rivière", ("member",), "agglo"),
    Person("membre3", "Sylvie", "Garnier", ("member",), "agglo"),
    Person("agent-ville", "Marc", "Ollivier", ("agent",), "ville"),
    Person("agent-hopital", "Anne", "Kessler", ("agent",), "hopital"),
    Person("batisseurs", "Julie", "Moreau", ("administrator", "bidder"), "batisseurs"),
    Person("voirie", "Karim", "Martin", ("administrator", "bidder"), "voirie"),
    Person("pierre", "Louis", "Perrin", ("administrator", "bidder"), "pierre"),
    Person("retard", "Emma", "Tardieu", ("administrator", "bidder"), "retard"),
    Person("controleur", "Thomas", "Leroy", ("controller",), "prefecture"),
)
COMPANIES = ("batisseurs", "voirie", "pierre", "retard")
COMMITTEE = ("presidente", "membre2", "membre3")
