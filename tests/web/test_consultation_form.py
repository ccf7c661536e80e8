"""What a buyer asks of deposits when preparing a consultation."""

import pytest
from django.test import Client
from django.urls import reverse

from dematmp.consultations.models import Consultation
from tests.world import World


def posted(world: World, **more: object) -> Client:
    browser = Client()
    browser.force_login(world.agent)
    values = {
        "buyer": str(world.buyer.uuid),
        "reference": "2026-OPT",
        "title": "Options",
        "object": "Options de dépôt",
        "procedure": "MAPA-O",
        "cpv": "45212330",
        "kinds": ["offre"],
        **more,
    }
    browser.answer = browser.post(reverse("buyer-new"), values)  # type: ignore[attr-defined]
    return browser


def test_limits_and_the_fingerprint_are_kept_and_shown_again(world: World) -> None:
    browser = posted(world, limit_file="50", limit_envelope="200", limit_files="30", fingerprint_first="on")
    made = Consultation.objects.get(reference="2026-OPT")
    assert made.limits == {"file_bytes": 50 * 1024**2, "envelope_bytes": 200 * 1024**2, "files": 30}
    assert made.fingerprint_first
    form = browser.get(reverse("buyer-correct", args=[made.uuid])).context["form"]
    assert (form.initial["limit_file"], form.initial["limit_files"]) == (50, 30)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"limit_file": "100", "limit_envelope": "50"}, "contient au moins un fichier"),
        ({"limit_file": "99999999"}, "inférieure ou égale"),
        ({"limit_files": "0"}, "supérieure ou égale"),
    ],
)
def test_limits_that_cannot_be_are_told(world: World, more: dict[str, str], said: str) -> None:
    browser = posted(world, **more)
    assert said in browser.answer.content.decode()  # type: ignore[attr-defined]
    assert not Consultation.objects.filter(reference="2026-OPT").exists()
