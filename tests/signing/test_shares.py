"""Any quorum opens, nothing less does, and who lies is named."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.errors import ProtectorRefused, ShareRefused, SigningError
from signing.keys import key_hash, new_seed, open_with, public_key, seal_to
from signing.protectors import Cost, create_protector, unlock_protector
from signing.sharing import check_share, combine, commitment, deal, quorum_seed

CEREMONY = "55555555-5555-4555-8555-555555555555"


@pytest.mark.parametrize(("threshold", "holders"), [(2, 2), (2, 3), (3, 5), (5, 7)])
def test_every_quorum_finds_the_seed(threshold: int, holders: int) -> None:
    seed = new_seed()
    dealt = deal(seed, ceremony=CEREMONY, holders=holders, threshold=threshold)
    for quorum in combinations(dealt, threshold):
        assert combine([each.share for each in quorum]) == seed


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4))
def test_one_share_less_than_the_quorum_is_refused(threshold: int) -> None:
    seed = new_seed()
    dealt = deal(seed, ceremony=CEREMONY, holders=5, threshold=threshold)
    commitments = {each.index: (each.salt, each.commitment) for each in dealt}
    quorum = {each.index: each.share for each in dealt[:threshold]}
    public = public_key(seed)
    assert quorum_seed(CEREMONY, quorum, commitments, threshold=threshold, public=public) == seed
    del quorum[threshold]
    with pytest.raises(ShareRefused, match="Quorum incomplet"):
        quorum_seed(CEREMONY, quorum, commitments, threshold=threshold, public=public)


def test_shares_that_give_another_key_are_refused_and_name_nobody() -> None:
    dealt = deal(new_seed(), ceremony=CEREMONY, holders=3, threshold=2)
    commitments = {each.index: (each.salt, each.commitment) for each in dealt}
    shares = {each.index: each.share for each in dealt[:2]}
    with pytest.raises(ShareRefused) as error:
        quorum_seed(CEREMONY, shares, commitments, threshold=2, public=public_key(new_seed()))
    assert error.value.index is None


def test_one_unsound_share_among_more_than_the_quorum_does_not_stop_an_opening() -> None:
    """It is the share to which its commitment was made: nobody can say that its holder lies."""
    seed = new_seed()
    dealt = deal(seed, ceremony=CEREMONY, holders=5, threshold=3)
    unsound = bytes(32) + dealt[1].share[-1:]
    commitments = {each.index: (each.salt, each.commitment) for each in dealt}
    commitments[2] = (dealt[1].salt, commitment(CEREMONY, 2, dealt[1].salt, unsound))
    shares = {each.index: each.share for each in dealt[:4]} | {2: unsound}
    assert quorum_seed(CEREMONY, shares, commitments, threshold=3, public=public_key(seed)) == seed
    del shares[4]
    with pytest.raises(ShareRefused, match="ne reconstituent pas"):
        quorum_seed(CEREMONY, shares, commitments, threshold=3, public=public_key(seed))


def test_a_false_share_is_refused_and_its_holder_named() -> None:
    seed = new_seed()
    dealt = deal(seed, ceremony=CEREMONY, holders=3, threshold=2)
    commitments = {each.index: (each.salt, each.commitment) for each in dealt}
    shares = {1: dealt[0].share, 2: bytes(33)}
    with pytest.raises(ShareRefused) as error:
        quorum_seed(CEREMONY, shares, commitments, threshold=2, public=public_key(seed))
    assert error.value.index == 2


def test_a_share_of_another_ceremony_is_refused() -> None:
    each = deal(new_seed(), ceremony=CEREMONY, holders=2, threshold=2)[0]
    check_share(CEREMONY, 1, each.salt, each.share, each.commitment)
    with pytest.raises(ShareRefused):
        check_share(CEREMONY.replace("5", "6"), 1, each.salt, each.share, each.commitment)


def test_what_is_sealed_to_a_key_opens_with_its_seed_and_context_only() -> None:
    seed = new_seed()
    sealed = seal_to(public_key(seed), b"k" * 32, b"context")
    assert open_with(seed, sealed, b"context") == b"k" * 32
    for other, info in ((new_seed(), b"context"), (seed, b"autre")):
        with pytest.raises(SigningError):
            open_with(other, sealed, info)


@pytest.mark.parametrize("public", [b"", bytes(1215), bytes(1217)])
def test_a_key_of_another_size_is_refused(public: bytes) -> None:
    with pytest.raises(SigningError):
        key_hash(public)


CHEAP = Cost(memory=1024, passes=1, lanes=1)


def test_a_protector_opens_with_its_phrase_only() -> None:
    data, public = create_protector("une phrase longue et secrète", CHEAP)
    assert public_key(unlock_protector(data, "une phrase longue et secrète")) == public
    with pytest.raises(ProtectorRefused):
        unlock_protector(data, "une autre phrase")


@pytest.mark.parametrize(
    "change", [(b'"v"', b'"w"'), (b"protector/1", b"protector/2"), (b"{", b"["), (b"1024", b"99999999999")]
)
def test_a_protector_outside_the_specification_is_refused(change: tuple[bytes, bytes]) -> None:
    data, _ = create_protector("une phrase longue et secrète", CHEAP)
    with pytest.raises(ProtectorRefused):
        unlock_protector(data.replace(*change), "une phrase longue et secrète")
