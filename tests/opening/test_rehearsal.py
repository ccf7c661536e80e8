"""The opening is rehearsed on a twin, by the committee and through the real path, before any publication."""

import base64
import json
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.bids.models import Attempt, Bid
from dematmp.consultations import services
from dematmp.consultations.errors import NotReady
from dematmp.consultations.models import Consultation
from dematmp.opening import rehearsals
from dematmp.opening.errors import CeremonyRefused, OpeningError
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpeningSession, PlatformKey, Protector, SealedShare
from dematmp.opening.protectors import add_protector, lose_protector
from dematmp.opening.tasks import prepare_twin, sweep
from dematmp.opening.unsealing import unseal_all
from signing.ceremony import parse_record
from signing.client import ServerRefused
from signing.errors import ProtectorRefused, ShareRefused
from signing.keys import new_seed, public_key, seal_to
from signing.protectors import create_paper, unlock_paper
from signing.sharing import check_share, member_info, session_info
from tests.world import World, client


@pytest.fixture
def made(world: World) -> Consultation:
    """A consultation whose keys are confirmed and whose rehearsal waits for the committee."""
    consultation = world.draft()
    world.keys(consultation, rehearsed=False)
    twin = rehearsals.of(consultation)
    assert twin is not None
    prepare_twin(twin.pk)
    return consultation


def twin_of(consultation: Consultation) -> Consultation:
    found = rehearsals.of(consultation)
    assert found is not None
    return found


def rehearse(world: World, consultation: Consultation) -> None:
    twin = twin_of(consultation)
    session = world.share(twin, 0)
    world.share(twin, 2)
    client(world.members[2], world.buyer).post(f"/openings/{session['session']}/open")
    unseal_all(OpeningSession.objects.get(consultation=twin))
    consultation.refresh_from_db()


def ready(world: World, consultation: Consultation) -> None:
    """All but the rehearsal."""
    at = (timezone.now() + timedelta(days=20)).replace(microsecond=0)
    services.set_deadline(consultation, at=at, by=world.agent, now=timezone.now())
    services.submit(consultation, by=world.agent, now=timezone.now())
    services.validate(consultation, by=world.validator, now=timezone.now())


def test_nothing_is_published_before_the_rehearsal(world: World, made: Consultation) -> None:
    ready(world, made)
    with pytest.raises(NotReady, match="répétition"):
        services.publish(made, by=world.validator, now=timezone.now())
    rehearse(world, made)
    assert made.rehearsed_at is not None
    services.publish(made, by=world.validator, now=timezone.now())


def test_the_dummy_bid_is_opened_by_the_real_path(world: World, made: Consultation) -> None:
    rehearse(world, made)
    session = OpeningSession.objects.get()
    said = json.loads(bytes(session.minutes or b""))
    assert [row["state"] for row in said["envelopes"]] == ["opened", "opened"]
    assert bytes(session.minutes_pdf or b"").startswith(b"%PDF-")
    assert session.wrapped_seed is None


def test_only_the_committee_sees_the_twin(world: World, made: Consultation) -> None:
    twin = twin_of(made)
    assert not Consultation.objects.filter(pk=twin.pk).exists()
    anonymous, buyer, member = Client(), Client(), Client()
    buyer.force_login(world.agent)
    member.force_login(world.members[0])
    doors = {
        reverse("consultation", kwargs={"consultation": twin.uuid}): anonymous,
        reverse("buyer-consultation", kwargs={"consultation": twin.uuid}): buyer,
        f"/api/v1/consultations/{twin.uuid}": anonymous,
    }
    assert {door: by.get(door).status_code for door, by in doors.items()} == dict.fromkeys(doors, 404)
    with pytest.raises(ServerRefused) as error:
        client(world.bidder, world.company).get(f"/consultations/{twin.uuid}/ceremony")
    assert error.value.status in (401, 403, 404)
    # A buyer who only rehearses is not yet among those whose consultations the public may search.
    assert f'value="{world.buyer.uuid}"' not in anonymous.get(reverse("home")).content.decode()
    page = member.get(reverse("session", kwargs={"consultation": made.uuid}))
    assert "Répétition : apporter ma part" in page.content.decode()
    assert "Répétition :" not in buyer.get(reverse("buyer")).content.decode()


def test_the_entries_of_a_twin_wait_as_long_as_those_of_its_consultation(
    world: World, made: Consultation
) -> None:
    withheld = Consultation.every.withheld(now=timezone.now())
    assert {made.pk, twin_of(made).pk} <= set(withheld.values_list("pk", flat=True))


def test_a_share_of_the_twin_opens_nothing_else(world: World, made: Consultation) -> None:
    twin, seed = twin_of(made), world.seeds[world.members[0].pk]
    mine = client(world.members[0], world.buyer)
    record = parse_record(bytes(made.ceremony_record or b""))
    _, shares = mine.my_shares(
        f"/consultations/{twin.uuid}", parse_record(bytes(twin.ceremony_record or b"")), seed
    )
    real = record.keys["offre"]
    assert real.committee != bytes(twin.envelope_keys.get(kind="offre").committee)
    salt, expected = real.commitments[1]
    with pytest.raises(ShareRefused):
        check_share(record.ceremony, 1, salt, shares["offre"][1], expected)


def test_a_false_share_fails_the_rehearsal_and_names_its_holder(world: World, made: Consultation) -> None:
    twin = twin_of(made)
    session = world.share(twin, 0)
    public = base64.b64decode(str(session["public_key"]))
    shares = [
        {
            "kind": kind,
            "index": 3,
            "sealed": base64.b64encode(
                seal_to(public, bytes(32) + b"\x03", session_info(str(session["session"]), kind, 3))
            ).decode(),
        }
        for kind in twin.kinds
    ]
    speaker = client(world.members[2], world.buyer)
    speaker.post(f"/openings/{session['session']}/shares", {"shares": shares})
    speaker.post(f"/openings/{session['session']}/open")
    with pytest.raises(OpeningError, match="n° 3"):
        unseal_all(OpeningSession.objects.get())
    made.refresh_from_db()
    assert made.rehearsed_at is None


def test_the_dummy_bid_is_made_once_however_often_its_task_runs(made: Consultation) -> None:
    twin = twin_of(made)
    prepare_twin(twin.pk)
    sweep()
    assert Bid.objects.filter(consultation=twin).count() == 1


def test_a_dummy_bid_cut_off_is_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    consultation = world.draft()
    world.keys(consultation, rehearsed=False)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rehearsals, "finalise", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_twin(twin_of(consultation).pk)
    assert Attempt.objects.count() == 1
    with time_machine.travel(timezone.now() + timedelta(minutes=3)):
        sweep()
        assert Bid.objects.get().late is False
        assert rehearsals.unprepared() == []


def test_a_success_that_nobody_wrote_down_is_found_by_the_sweep(
    world: World, made: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dematmp.opening import unsealing

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unsealing, "conclude", killed)
        with pytest.raises(KeyboardInterrupt):
            rehearse(world, made)
    made.refresh_from_db()
    assert made.rehearsed_at is None
    sweep()
    made.refresh_from_db()
    assert made.rehearsed_at is not None


def test_keys_made_again_forget_the_rehearsal(world: World, made: Consultation) -> None:
    rehearse(world, made)
    ready(world, made)
    former = made.ceremony
    start_ceremony(made, members=world.members, threshold=2, by=world.agent, now=timezone.now())
    made.refresh_from_db()
    assert (made.rehearsed_at, made.ceremony_sha256) == (None, "")
    assert not PlatformKey.objects.filter(ceremony=former).exists()
    with pytest.raises(NotReady):
        services.publish(made, by=world.validator, now=timezone.now())
    # The former session, run again, allows nothing.
    assert rehearsals.conclude(OpeningSession.objects.get(), now=timezone.now()) is False


def test_each_holder_has_two_protectors(world: World) -> None:
    for user in world.members:
        add_protector(user, label="un", kind="passphrase", public=public_key(new_seed()), now=timezone.now())
    with pytest.raises(CeremonyRefused, match="il en faut 2"):
        start_ceremony(world.draft(), members=world.members, threshold=2, by=world.agent, now=timezone.now())


def test_a_lost_protector_is_not_a_lost_share(world: World) -> None:
    consultation = world.draft()
    words, public = create_paper()
    user = world.members[0]
    world.seeds[user.pk] = new_seed()
    for kind, key in (("passphrase", public_key(world.seeds[user.pk])), ("paper", public)):
        add_protector(user, label=kind, kind=kind, public=key, now=timezone.now())
    world.keys(consultation)
    lost = Protector.objects.get(user=user, kind="passphrase")
    lose_protector(lost, now=timezone.now())
    with pytest.raises(CeremonyRefused, match="dernier"):
        lose_protector(Protector.objects.get(user=user, kind="paper"), now=timezone.now())
    # The sheet still opens, and seals the shares to a new protector, which then opens them too.
    speaker, again = client(user, world.buyer), new_seed()
    fresh = add_protector(user, label="neuf", kind="passphrase", public=public_key(again), now=timezone.now())
    record = parse_record(bytes(consultation.ceremony_record or b""))
    _, mine = speaker.my_shares(f"/consultations/{consultation.uuid}", record, unlock_paper(words))
    body = {
        "sha256": consultation.ceremony_sha256,
        "shares": [
            {
                "kind": kind,
                "index": index,
                "protector": str(fresh.uuid),
                "sealed": base64.b64encode(
                    seal_to(public_key(again), share, member_info(record.ceremony, kind, index))
                ).decode(),
            }
            for kind, (index, share) in mine.items()
        ],
    }
    path = f"/consultations/{consultation.uuid}/shares/mine"
    speaker.post(path, body)
    assert speaker.rehearse(str(consultation.uuid), again) == consultation.ceremony_sha256
    assert SealedShare.objects.filter(protector=fresh, checked_at__isnull=False).count() == 2
    # Somebody else's protector, or a share short, is refused.
    rival = Protector.objects.filter(user=world.members[1]).first()
    assert rival is not None
    for bad in (
        {**body, "shares": [{**each, "protector": str(rival.uuid)} for each in body["shares"]]},
        {**body, "shares": body["shares"][:1]},
        {**body, "sha256": "0" * 64},
    ):
        with pytest.raises(ServerRefused):
            speaker.post(path, bad)


def test_a_protector_slipped_in_by_the_platform_is_refused_by_its_holder(world: World) -> None:
    consultation = world.draft()
    for user in world.members:
        world.protectors(user)
    made = start_ceremony(
        consultation, members=world.members, threshold=2, by=world.agent, now=timezone.now()
    )
    user = world.members[0]
    written = world.fingerprints(user)
    foreign = Protector.objects.create(
        user=user, kind="paper", label="x", public_key=public_key(new_seed()), created_at=timezone.now()
    )
    made.holders.get(index=1).protectors.add(foreign)
    client(user, world.buyer).deal(str(consultation.uuid))
    with pytest.raises(ProtectorRefused, match="que vous n'avez pas nommé"):
        client(user, world.buyer).confirm(str(consultation.uuid), world.seeds[user.pk], also=written)


def test_a_protector_that_alone_keeps_a_share_is_not_lost(world: World, made: Consultation) -> None:
    user = world.members[0]
    add_protector(user, label="neuf", kind="passphrase", public=public_key(new_seed()), now=timezone.now())
    old = list(user.protectors.kept())[:2]
    lose_protector(old[0], now=timezone.now())
    with pytest.raises(CeremonyRefused, match="ne garde votre part"):
        lose_protector(old[1], now=timezone.now())
    assert made.ceremony.able == 3


def test_a_protector_is_enrolled_once_and_eight_are_the_most(world: World) -> None:
    user, key = world.members[0], public_key(new_seed())
    add_protector(user, label="un", kind="paper", public=key, now=timezone.now())
    for somebody in (user, world.members[1]):
        with pytest.raises(CeremonyRefused, match="déjà enregistré"):
            add_protector(somebody, label="deux", kind="paper", public=key, now=timezone.now())
    for _ in range(7):
        add_protector(user, label="x", kind="paper", public=public_key(new_seed()), now=timezone.now())
    with pytest.raises(CeremonyRefused, match="8 protecteurs"):
        add_protector(user, label="x", kind="paper", public=public_key(new_seed()), now=timezone.now())


def test_nobody_registers_as_the_robot_and_stops_the_rehearsals(world: World, made: Consultation) -> None:
    robot = Attempt.objects.get(consultation=twin_of(made)).bidder
    visitor = Client()
    answer = visitor.post(
        reverse("account_signup"),
        {
            "email": User.objects.get(uuid=robot.uuid).email.replace("repetition", "repetition2"),
            "first_name": "A",
            "last_name": "B",
            "password1": "phrase de passe 42",
            "password2": "phrase de passe 42",
        },
    )
    assert "ne peut pas recevoir de courriel" in answer.content.decode()
    owner = Client()
    owner.force_login(world.agent)
    squat = {"name": "x", "siret": "", "country": robot.country, "foreign_number": robot.foreign_number}
    assert owner.post(reverse("new-company"), squat).status_code == 302
    again = world.draft("2026-99")
    world.keys(again, rehearsed=False)
    prepare_twin(twin_of(again).pk)
    assert Bid.objects.filter(consultation=twin_of(again)).get().bidder == robot
    zeros = owner.post(reverse("new-company"), {"name": "y", "siret": "00000000000000", "country": "FR"})
    assert zeros.status_code == 400


def test_a_rehearsal_dealt_with_a_key_of_the_real_ceremony_is_refused(world: World) -> None:
    """It would open what is real, without its deadline."""
    consultation = world.draft()
    for user in world.members:
        world.protectors(user)
    start_ceremony(consultation, members=world.members, threshold=2, by=world.agent, now=timezone.now())
    speaker = client(world.members[0], world.buyer)
    said = speaker.get(f"/consultations/{consultation.uuid}/ceremony")
    seeds = {kind: new_seed() for kind in ("candidature", "offre")}
    twin = str(said["twin"])
    speaker.deal_one(said, seeds=seeds, twin=twin)
    with pytest.raises(ServerRefused, match="ne correspond pas"):
        speaker.deal_one(speaker.get(f"/consultations/{twin}/ceremony"), seeds=seeds)
