"""What `storage check` says of a store, whichever it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, whether it is as it should be, and what to do when it is not."""

    what: str
    good: bool
    advice: str = ""
