"""Other holders for the same keys while bids are received; the platform learns nothing of them."""

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.utils import timezone

from dematmp.audit.services import verify
from dematmp.consultations.errors import WrongStep
from dematmp.consultations.models import Consultation
from dematmp.opening import keys, renewals
from dematmp.opening.errors import CeremonyRefused as Refused
from dematmp.opening.models import Ceremony, LentShare, OpenedEnvelope, OpeningSession, Protector
from dematmp.opening.unsealing import unseal_all
from signing import renewal
from signing.ceremony import parse_record, record_hash
from signing.client import ServerRefused
from signing.errors import CeremonyRefused, ProtectorRefused, ShareRefused, StanzaRefused
from signing.keys import key_hash, new_seed, open_with, public_key, seal_to
from signing.sharing import check_share, dealer_info
from tests.world import World, client, person


@pytest.fixture
def published(world: World, tmp_path: Path) -> Consultation:
    """A bid is there already, sealed under the first record."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "before")
    return consultation


def newcomer(world: World) -> None:
    """A fourth member, with two protectors."""
    user = person("membre4", world.buyer, "member")
    world.members.append(user)
    world.protectors(user)


def started(world: World, consultation: Consultation) -> Ceremony:
    """The third member leaves, the fourth comes; 2 of 3 again."""
    newcomer(world)
    members = [world.members[0], world.members[1], world.members[3]]
    return renewals.start(consultation, members=members, threshold=2, by=world.agent, now=timezone.now())


def listed(world: World, uuid: str) -> str:
    """The code that every new holder reads, once they checked what stands beside their name."""
    codes = {
        renewal.check_list(
            client(user, world.buyer), uuid, world.seeds[user.pk], also=world.fingerprints(user)
        )
        for user in (world.members[0], world.members[1], world.members[3])
    }
    (code,) = codes
    return code


def renewed(world: World, consultation: Consultation) -> Ceremony:
    made = started(world, consultation)
    ephemeral, uuid = new_seed(), str(made.uuid)
    code = renewal.offer(client(world.members[3], world.buyer), uuid, ephemeral)
    for user in world.members[:2]:
        renewal.lend(client(user, world.buyer), uuid, world.seeds[user.pk], code.lower())
    renewal.deal(client(world.members[3], world.buyer), uuid, ephemeral, code=listed(world, uuid))
    for user in (world.members[0], world.members[1], world.members[3]):
        also = world.fingerprints(user)
        renewal.confirm(client(user, world.buyer), uuid, world.seeds[user.pk], also=also)
    consultation.refresh_from_db()
    made.refresh_from_db()
    return made


def test_the_new_holders_open_what_was_sealed_before_and_after(
    world: World, published: Consultation, tmp_path: Path
) -> None:
    first = published.ceremony_sha256
    rival, draft = world.seal(published, tmp_path / "during", rival=True)  # sealed under the first record
    made = renewed(world, published)
    assert made.consultation == published
    assert (made.epoch, published.former_ceremonies) == (2, [first])
    assert published.ceremony_sha256 == record_hash(bytes(made.record or b""))
    assert parse_record(bytes(made.record or b"")).previous == first
    assert not LentShare.objects.exists()
    rival.finalise(draft, str(rival.upload(draft)["attempt"]))
    assert published.deadline is not None
    with time_machine.travel(published.deadline + timedelta(seconds=1), tick=True):
        world.share(published, 0)
        session = world.share(published, 3)
        with pytest.raises(ServerRefused):
            world.share(published, 2)  # who left brings nothing
        client(world.members[3], world.buyer).post(f"/openings/{session['session']}/open")
        unseal_all(OpeningSession.objects.get())
        assert set(OpenedEnvelope.objects.values_list("state", flat=True)) == {"opened"}
        said = json.loads(bytes(OpeningSession.objects.get().minutes or b""))
        assert [row["name"] for row in said["members"]][2] == str(world.members[3])
        verify()


def test_a_former_share_is_not_one_of_the_new_sharing(world: World, published: Consultation) -> None:
    former = parse_record(bytes(published.ceremony_record or b""))
    speaker = client(world.members[0], world.buyer)
    path, seed = f"/consultations/{published.uuid}", world.seeds[world.members[0].pk]
    _, before = speaker.my_shares(path, former, seed)
    made = renewed(world, published)
    record = parse_record(bytes(made.record or b""))
    salt, expected = record.keys["offre"].commitments[1]
    with pytest.raises(ShareRefused):
        check_share(record.ceremony, 1, salt, before["offre"][1], expected)


def test_a_key_that_the_platform_would_slip_in_is_refused(world: World, published: Consultation) -> None:
    made = started(world, published)
    code = renewal.offer(client(world.members[3], world.buyer), str(made.uuid), new_seed())
    # Whoever runs the platform puts its own key in the row.
    Ceremony.objects.filter(pk=made.pk).update(dealer_key=public_key(new_seed()))
    with pytest.raises(CeremonyRefused, match="n'allez pas plus loin"):
        speaker = client(world.members[0], world.buyer)
        renewal.lend(speaker, str(made.uuid), world.seeds[world.members[0].pk], code)
    assert not LentShare.objects.exists()


def test_shares_lent_are_sealed_to_the_dealer_alone(world: World, published: Consultation) -> None:
    made = started(world, published)
    ephemeral, uuid = new_seed(), str(made.uuid)
    dealer = client(world.members[3], world.buyer)
    code = renewal.offer(dealer, uuid, ephemeral)
    for user in world.members[:2]:
        renewal.lend(client(user, world.buyer), uuid, world.seeds[user.pk], code)
    with pytest.raises(ServerRefused) as error:
        client(world.members[0], world.buyer).get(f"/renewals/{uuid}/lent")
    assert error.value.status == 404
    with pytest.raises(CeremonyRefused):
        renewal.deal(dealer, uuid, new_seed(), code=listed(world, uuid))
    row = LentShare.objects.first()
    assert row is not None
    with pytest.raises(StanzaRefused):
        open_with(new_seed(), bytes(row.sealed), dealer_info(uuid, row.kind, row.holder.index))
    # Fewer than the quorum deal nothing.
    LentShare.objects.filter(holder__index=2).delete()
    with pytest.raises(ShareRefused, match="Quorum"):
        renewal.deal(dealer, uuid, ephemeral, code=listed(world, uuid))


def test_a_false_share_is_named_by_the_dealer(world: World, published: Consultation) -> None:
    made = started(world, published)
    ephemeral, uuid = new_seed(), str(made.uuid)
    dealer = client(world.members[3], world.buyer)
    code = renewal.offer(dealer, uuid, ephemeral)
    renewal.lend(client(world.members[0], world.buyer), uuid, world.seeds[world.members[0].pk], code)
    public = public_key(ephemeral)
    false = [
        {
            "kind": kind,
            "index": 2,
            "sealed": base64.b64encode(
                seal_to(public, bytes(32) + b"\x02", dealer_info(uuid, kind, 2))
            ).decode(),
        }
        for kind in published.kinds
    ]
    body = {"dealer": key_hash(public), "shares": false}
    client(world.members[1], world.buyer).post(f"/renewals/{uuid}/lent", body)
    with pytest.raises(ShareRefused, match="n° 2"):
        renewal.deal(dealer, uuid, ephemeral, code=listed(world, uuid))


def test_other_keys_under_the_same_name_are_refused(world: World, published: Consultation) -> None:
    made = started(world, published)
    dealer, uuid = client(world.members[3], world.buyer), str(made.uuid)
    renewal.offer(dealer, uuid, new_seed())
    said = dealer.get(f"/renewals/{uuid}")
    with pytest.raises(ServerRefused):
        dealer.deal_one(said, path=f"/renewals/{uuid}", epoch=2, previous=published.ceremony_sha256)
    assert Ceremony.objects.get(pk=made.pk).record is None


def test_once_the_opening_began_the_holders_do_not_change(world: World, published: Consultation) -> None:
    made = started(world, published)
    ephemeral, uuid = new_seed(), str(made.uuid)
    code = renewal.offer(client(world.members[3], world.buyer), uuid, ephemeral)
    for user in world.members[:2]:
        renewal.lend(client(user, world.buyer), uuid, world.seeds[user.pk], code)
    renewal.deal(client(world.members[3], world.buyer), uuid, ephemeral, code=listed(world, uuid))
    for user in (world.members[0], world.members[1]):
        also = world.fingerprints(user)
        renewal.confirm(client(user, world.buyer), uuid, world.seeds[user.pk], also=also)
    assert published.deadline is not None
    with time_machine.travel(published.deadline + timedelta(seconds=1), tick=True):
        client(world.members[0], world.buyer).start_opening(str(published.uuid))
        with pytest.raises(ServerRefused, match="ouverture"):
            renewal.offer(client(world.members[3], world.buyer), uuid, new_seed())
        made.refresh_from_db()
        sha256 = record_hash(bytes(made.record or b""))
        with pytest.raises(WrongStep):
            keys.confirm(made, sha256=sha256, by=world.members[3], now=timezone.now())
        with pytest.raises(Refused):
            renewals.start(
                published, members=world.members[:3], threshold=2, by=world.agent, now=timezone.now()
            )
    made.refresh_from_db()
    assert made.confirmed_at is None


def test_a_sharing_started_again_or_abandoned_confirms_nothing(world: World, published: Consultation) -> None:
    made = started(world, published)
    again = renewals.start(
        published, members=world.members[:3], threshold=2, by=world.agent, now=timezone.now()
    )
    assert renewals.pending(published) == again
    with pytest.raises(ServerRefused) as error:
        renewal.offer(client(world.members[3], world.buyer), str(made.uuid), new_seed())
    assert error.value.status == 404
    renewals.abandon(published, by=world.agent, now=timezone.now())
    assert renewals.pending(published) is None
    published.refresh_from_db()
    assert published.ceremony.epoch == 1


def test_only_who_gathered_a_quorum_deals_again(world: World, published: Consultation) -> None:
    """A leaver, or the dealer alone, would deal shares of another secret under the same public keys."""
    made = started(world, published)
    uuid, previous = str(made.uuid), published.ceremony_sha256
    leaver, dealer = client(world.members[2], world.buyer), client(world.members[3], world.buyer)
    renewal.offer(dealer, uuid, new_seed())
    said = dealer.get(f"/renewals/{uuid}")
    with pytest.raises(ServerRefused, match="quorum"):
        dealer.deal_one(said, path=f"/renewals/{uuid}", epoch=2, previous=previous)
    with pytest.raises(CeremonyRefused, match="l'un des détenteurs"):
        leaver.deal_one(said, path=f"/renewals/{uuid}", epoch=2, previous=previous)
    with pytest.raises(ServerRefused, match="quorum"):
        leaver.post(f"/renewals/{uuid}/ceremony", {"record": "e30=", "shares": []})
    assert Ceremony.objects.get(pk=made.pk).record is None


def test_a_protector_slipped_in_is_seen_before_anything_is_dealt(
    world: World, published: Consultation
) -> None:
    made = started(world, published)
    ephemeral, uuid = new_seed(), str(made.uuid)
    code = renewal.offer(client(world.members[3], world.buyer), uuid, ephemeral)
    honest = listed(world, uuid)
    for user in world.members[:2]:
        renewal.lend(client(user, world.buyer), uuid, world.seeds[user.pk], code)
    # Whoever runs the platform adds a protector of its own beside a holder's name.
    foreign = Protector.objects.create(
        user=world.members[0],
        kind="paper",
        label="Feuille",
        public_key=public_key(new_seed()),
        created_at=timezone.now(),
    )
    written = world.fingerprints(world.members[0])[:2]
    made.holders.get(index=1).protectors.add(foreign)
    with pytest.raises(CeremonyRefused, match="ne répartissez rien"):
        renewal.deal(client(world.members[3], world.buyer), uuid, ephemeral, code=honest)
    with pytest.raises(ProtectorRefused, match="que vous n'avez pas nommé"):
        speaker = client(world.members[0], world.buyer)
        renewal.check_list(speaker, uuid, world.seeds[world.members[0].pk], also=written)
