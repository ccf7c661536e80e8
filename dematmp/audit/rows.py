"""One row at a time: a row that fails is logged and never keeps the others waiting."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


def each_row(rows: Iterable[T], act: Callable[[T], object]) -> None:
    """Call `act` on each row; whatever it raises is logged, with the row, and the next one is done."""
    for row in rows:
        try:
            act(row)
        except Exception:
            log.exception("la ligne %s attend le prochain passage", row)
