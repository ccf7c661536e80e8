"""Whoever deposits a large file, the web process holds a part of it at a time."""

import pytest

from tests.benchmarks.deposit_memory import peaks

pytestmark = pytest.mark.services
MIB = 1024**2


def test_a_deposit_of_200_mb_takes_no_more_memory_than_one_of_16() -> None:
    (small, _), (large, _) = peaks(16 * MIB), peaks(200 * MIB)
    assert large < small + 48  # MiB: some parts of 8, and what allocators keep
