"""The register of backup copies, and what the law lets a buyer do of a late bid."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.models import Entry
from dematmp.bids.copies import destroy_copy, open_copy, record_copy
from dematmp.bids.errors import CopyRefused
from dematmp.bids.models import BackupCopy
from dematmp.bids.rules import decision_path, late_article
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpeningSession
from tests.opening.test_opening import opened
from tests.world import World

T = datetime(2026, 12, 1, 11, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("started", "received", "facts", "codes"),
    [
        (-60, 0, "copy incident fingerprint", {"in-time": "R2151-5 ; R2151-6"}),
        (-60, 1, "", {"eliminated": "R2151-5"}),
        (-60, 1, "applications", {"eliminated": "R2143-2"}),
        (-60, 1, "copy", {"backup-copy": "annexe 6, article 2, II, 2°"}),
        (-60, 1, "incident", {"incident": "R2151-5 ; CE, 23 septembre 2021, n° 449250 (RATP)"}),
        (-60, 1, "copy incident", {"backup-copy": "annexe 6", "incident": "449250"}),
        (-60, 1, "fingerprint", {"eliminated": "R2151-5", "fingerprint": "R2151-5 ; preuve de diligence"}),
        (-60, 1, "incident fingerprint", {"incident": "449250", "fingerprint": "R2151-5"}),
        (0, 1, "copy", {"backup-copy": "annexe 6, article 2, II, 2°"}),
        (1, 2, "copy incident", {"eliminated": "R2151-5"}),
    ],
)
def test_each_branch_names_its_article(
    started: int, received: int, facts: str, codes: dict[str, str]
) -> None:
    found = decision_path(
        started=T + started * SECOND,
        received=T + received * SECOND,
        deadline=T,
        copy_in_time="copy" in facts,
        incident="incident" in facts,
        fingerprint_in_time="fingerprint" in facts,
        article=late_article(["candidature"] if "applications" in facts else ["candidature", "offre"]),
    )
    assert [each.code for each in found] == list(codes)
    assert all(source in each.source for each, source in zip(found, codes.values(), strict=True))


def kept(world: World, consultation: Consultation, at: datetime, **more: str) -> BackupCopy:
    said = {"company": "Maçonnerie du Val", "siret": "", "medium": "paper", "lots": "lot 1", **more}
    return record_copy(consultation, **said, received_at=at, by=world.agent, now=at)


def test_a_copy_is_kept_then_opened_for_a_reason_or_destroyed(world: World) -> None:
    consultation, by = world.publish(closes_in=timedelta(hours=1)), world.agent
    assert consultation.deadline is not None
    copy = kept(world, consultation, timezone.now())
    with pytest.raises(CopyRefused, match="avant la date limite"):
        open_copy(copy, reason="malware", words="", by=by, now=consultation.deadline)
    with pytest.raises(CopyRefused, match="au moins jusqu'à"):
        destroy_copy(copy, by=by, now=consultation.deadline)
    after = consultation.deadline + SECOND
    with pytest.raises(CopyRefused):
        open_copy(copy, reason="curiosity", words="", by=by, now=after)
    open_copy(copy, reason="malware", words="Win.Test", by=by, now=after)
    open_copy(copy, reason="late", words="", by=by, now=after)  # already opened: the first reason stands
    with pytest.raises(CopyRefused, match="a été ouverte"):
        destroy_copy(copy, by=by, now=after)
    copy.refresh_from_db()
    assert copy.open_reason == "malware"
    assert copy.destroyed_at is None
    assert Entry.objects.filter(kind="backup-copy", subject=copy.uuid).count() == 2
    closed = kept(world, consultation, timezone.now())
    destroy_copy(closed, by=by, now=after)
    closed.refresh_from_db()
    assert closed.destroyed_at == after
    with pytest.raises(CopyRefused):
        open_copy(closed, reason="late", words="", by=by, now=after)
    assert Entry.objects.filter(kind="backup-copy", subject=closed.uuid).count() == 2


def test_a_copy_that_came_late_is_never_opened(world: World) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    copy = kept(world, consultation, consultation.deadline + SECOND)
    with pytest.raises(CopyRefused, match="après la date limite"):
        now = consultation.deadline + timedelta(hours=1)
        open_copy(copy, reason="late", words="", by=world.agent, now=now)


def test_a_copy_has_arrived(world: World) -> None:
    consultation, now = world.publish(), timezone.now()
    for at in (now - timedelta(days=30), now + timedelta(hours=1)):
        with pytest.raises(CopyRefused):
            record_copy(
                consultation,
                company="X",
                siret="",
                medium="paper",
                lots="",
                received_at=at,
                by=world.agent,
                now=now,
            )


def test_the_register_by_its_pages(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    agent, stranger = Client(), Client()
    agent.force_login(world.agent)
    stranger.force_login(world.bidder)
    record = reverse("record-copy", args=[consultation.uuid])
    assert stranger.get(record).status_code in (403, 404)
    form = agent.get(record).context["form"]
    values = {
        "company": world.company.name,
        "siret": world.company.siret,
        "medium": "medium",
        "lots": "lot 1",
        "date": form.initial["date"].isoformat(),
        "time": form.initial["time"].isoformat(),
    }
    assert agent.post(record, {**values, "siret": "123"}).status_code == 400
    assert agent.post(record, values).status_code == 302
    copy = BackupCopy.objects.get()
    registers = reverse("buyer-registers", args=[consultation.uuid])
    assert "Gardée fermée" in agent.get(registers).content.decode()
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + SECOND):
        speaker.finalise(draft, attempt)
        agent.force_login(world.agent)
        page = agent.get(registers).content.decode()
        assert "peut être ouverte : l&#x27;envoi avait commencé" in page
        assert "annexe 6, article 2, II, 2°" in page
        opening = reverse("open-copy", args=[consultation.uuid, copy.uuid])
        assert opening in page
        destroying = reverse("destroy-copy", args=[consultation.uuid, copy.uuid])
        assert destroying not in page
        assert "Gardée jusqu'à la clôture" in page
        assert agent.get(destroying).status_code == 405
        assert "clôture du procès-verbal" in agent.post(destroying, follow=True).content.decode()
        opened(world, consultation)
        assert destroying not in agent.get(registers).content.decode()
        OpeningSession.objects.update(closed_at=timezone.now())
        assert destroying in agent.get(registers).content.decode()
        assert agent.post(destroying).status_code == 302
        page = agent.get(registers).content.decode()
        assert "Détruite le" in page
        assert "peut être ouverte" not in page
        other = kept(world, consultation, consultation.deadline, company=world.company.name)
        opening = reverse("open-copy", args=[consultation.uuid, other.uuid])
        assert agent.post(opening, {"reason": "late", "words": ""}).status_code == 302
        agent.post(reverse("destroy-copy", args=[consultation.uuid, other.uuid]))
        late = kept(world, consultation, consultation.deadline + SECOND)
        page = agent.get(registers).content.decode()
        assert "Conservée avec les pièces de la procédure" in page
        assert "Arrivée hors délai" in page
        assert reverse("open-copy", args=[consultation.uuid, late.uuid]) not in page
    other.refresh_from_db()
    assert (other.opened_by, other.destroyed_at) == (world.agent, None)
