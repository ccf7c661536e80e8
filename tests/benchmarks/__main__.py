"""`./deploy/bench [group…]`: one JSON line per figure, its reference measured in the same run.

Groups: seal, unseal, chromium, memory, journal, opening, storage, signatures, acts. Without one, all of them.
"""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import chain

from tests.benchmarks import (
    acts,
    chromium,
    journal,
    memory,
    opening,
    proof,
    sealing,
    signatures,
    storage,
)
from tests.benchmarks.figures import Figure

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "seal": sealing.seal_figures,
    "unseal": sealing.unseal_figures,
    "chromium": chromium.figures,
    "memory": memory.figures,
    "journal": journal.figures,
    "opening": opening.figures,
    "storage": storage.figures,
    "signatures": lambda: chain(signatures.figures(), proof.figures()),
    "acts": acts.figures,
}


def main() -> int:
    """Exit code 2 for a group that does not exist."""
    asked = sys.argv[1:] or [name for name in GROUPS if name != "journal"]  # part of the signatures too
    if unknown := [name for name in asked if name not in GROUPS]:
        sys.stderr.write(f"deploy/bench : groupe inconnu : {', '.join(unknown)} ({', '.join(GROUPS)})\n")
        return 2
    for name in asked:
        for figure in GROUPS[name]():
            sys.stdout.write(json.dumps(figure.as_line(), ensure_ascii=False) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
