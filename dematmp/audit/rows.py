"""One row at a time: a row that fails is logged and never keeps the others waiting."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


SWEEP_SECONDS = 60.0


def each_row(rows: Iterable[T], act: Callable[[T], object], *, within: float = SWEEP_SECONDS) -> None:
    """Call `act` on each row; whatever it raises is logged, with the row, and the next one is done.

    No other is begun after that many seconds: what is left is for the next pass. Give the rows at random
    (`order_by("?")`) where some could fail for ever: none then keeps the others waiting.
    """
    until = time.monotonic() + within
    for row in rows:
        if time.monotonic() > until:
            return
        try:
            act(row)
        except Exception:
            log.exception("la ligne %s attend le prochain passage", row)
