"""However large a file is, the web process and the client hold some parts of it at a time."""

import pytest

from tests.benchmarks.deposit_memory import peaks
from tests.conftest import whole_matrix

pytestmark = pytest.mark.services
MIB = 1024**2


@whole_matrix
def test_a_deposit_of_112_mb_takes_no_more_memory_than_one_of_16() -> None:
    small, large = peaks(16 * MIB), peaks(112 * MIB)
    for before, after in zip(small, large, strict=True):  # the web process, and the client
        assert after < before + 48  # MiB: some parts of 8, and what allocators keep
