"""Certificates that make more paths than anybody can follow end in a verdict, at once."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.signing.authority import NOW, Identity, Key, World, _build, _name, new_key
from tests.signing.cms_cases import cades
from tests.signing.judged import judge, verdict

WORLD = World()
OFFER = b"12 000 euros"
AT_ONCE = 2.0  # seconds of the processor
UNKNOWN = ("INDETERMINATE", "NO_CERTIFICATE_CHAIN_FOUND")


def _twice_each(levels: int, times: int, *, by: Identity | None, back: bool = False) -> Identity:
    """A signer below `levels` authorities that have `times` certificates each, the first of them of `by`.

    Without it, of nobody; `back`: of the last, which makes a ring.
    """
    keys: list[Key] = [new_key() for _ in range(levels)]
    above: list[x509.Certificate] = []
    for level, key in enumerate(keys):
        if level:
            name, signer = _name(f"Niveau {level - 1}"), keys[level - 1]
        elif by is not None:
            name, signer = by.certificate.subject, by.key
        else:
            name, signer = (_name(f"Niveau {levels - 1}"), keys[-1]) if back else (_name("Nul"), new_key())
        for each in range(times):
            start = NOW - timedelta(days=100 + each)
            above.append(
                _build(
                    _name(f"Niveau {level}"), name, key, signer, ca=True, start=start, issuer=_Named(signer)
                )
            )
    key, last = new_key(), _name(f"Niveau {levels - 1}")
    start, usages = NOW - timedelta(days=9), ("digital_signature",)
    leaf = _build(_name("Julie"), last, key, keys[-1], start=start, usages=usages, issuer=_Named(keys[-1]))
    return Identity(leaf, key, above)


class _Named:
    """What names a key as the one that issued."""

    def __init__(self, key: Key) -> None:
        self.public_key = key.public_key


@pytest.mark.parametrize(("levels", "times"), [(14, 2), (20, 4), (12, 8)])
@pytest.mark.parametrize("back", [False, True])
def test_paths_that_lead_nowhere_are_left_in_time(
    levels: int, times: int, back: bool, tmp_path: Path
) -> None:
    signed = cades(_twice_each(levels, times, by=None, back=back), OFFER, attached=True)
    started = time.process_time()
    assert verdict(judge(signed, tmp_path, WORLD.trust)) == UNKNOWN
    assert time.process_time() - started < AT_ONCE


def test_paths_that_are_all_false_are_left_in_time(tmp_path: Path) -> None:
    """They name an authority that did not issue them."""
    false = Identity(WORLD.root.identity.certificate, new_key())
    made = _twice_each(12, 3, by=false)
    signed = cades(made, OFFER, attached=True)
    started = time.process_time()
    assert judge(signed, tmp_path, WORLD.trust).indication == "INDETERMINATE"
    assert time.process_time() - started < AT_ONCE


def test_authorities_with_two_certificates_each_are_trusted(tmp_path: Path) -> None:
    """As in a renewal, at every level."""
    signed = cades(_twice_each(4, 2, by=WORLD.root.identity), OFFER, attached=True)
    assert verdict(judge(signed, tmp_path, WORLD.trust)) == ("TOTAL_PASSED", "")
