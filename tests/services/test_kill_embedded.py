"""The same walk with nothing installed: SQLite, a folder, messages as files; kill -9 between two steps."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.platform import EmbeddedPlatform
from tests.services.stops import STOPS
from tests.services.test_kill_matrix import WHOLE, walk

pytestmark = pytest.mark.timeout(600)
DIRECT = [stop for stop in STOPS if re.search(r"S3Store\.target|bids\.direct", stop.where)]
BEHIND = [stop for stop in STOPS if stop.who != "web"]
MATRIX = {
    "web": [stop for stop in STOPS if stop.who == "web" and stop not in DIRECT],
    "process": BEHIND if WHOLE else BEHIND[1::3],  # the suite has its minutes
    "worker": [stop for stop in BEHIND if re.search("no token|quorum|no minutes", stop.name)],
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    made = EmbeddedPlatform(tmp_path_factory.mktemp("platform"), consultations=len(MATRIX) + 3)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("victim", MATRIX)
def test_nothing_is_lost_without_any_service(platform: EmbeddedPlatform, victim: str, tmp_path: Path) -> None:
    try:
        walk(platform, victim, MATRIX[victim], tmp_path)
    finally:
        print(platform.log())  # shown when it fails
