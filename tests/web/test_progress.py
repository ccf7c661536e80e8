"""What takes time is shown as it goes, and what was received, erased or refused is said for what it is."""

from datetime import timedelta
from pathlib import Path

import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.bids import tasks
from dematmp.bids.models import Attempt, Part
from tests.world import World


def test_a_deposit_page_says_what_arrived_what_is_received_and_what_was_erased(
    world: World, tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    speaker, draft = world.seal(consultation, tmp_path)
    speaker.upload(draft)
    attempt = Attempt.objects.get()
    Part.objects.filter(pk=Part.objects.latest("pk").pk).update(received_at=None)
    total = Part.objects.count()
    browser = Client()
    page, listed = reverse("deposit", args=[attempt.deposit]), reverse("deposits")

    def shown(address: str) -> str:
        browser.force_login(world.bidder)  # a session lasts less than what follows
        return browser.get(address).content.decode()

    assert f'<progress value="{total - 1}" max="{total}"' in shown(page)
    assert "hx-get" in shown(page)
    assert "Rien n'est déposé" in shown(listed)
    with time_machine.travel(consultation.deadline + timedelta(minutes=5), tick=True):
        Attempt.objects.filter(pk=attempt.pk).update(finalised_at=consultation.deadline)
        assert "Dépôt reçu le" in shown(page)
        assert "hors délai" not in shown(page)
        assert "en cours d'enregistrement" in shown(listed)
        Attempt.objects.filter(pk=attempt.pk).update(finalised_at=None)
    with time_machine.travel(consultation.deadline + timedelta(days=40), tick=True):
        Part.objects.update(received_at=timezone.now() - timedelta(days=40))
        tasks.expire_uploads()
        assert "a été effacé" in shown(page)
        assert "<progress" not in shown(page)
        assert "hx-get" not in shown(page)
        assert "Effacé" in shown(listed)
