"""Which address a mail can be sent to: pure functions."""

from django.core.mail.message import sanitize_address

ADDRESS_CHARS = 254  # RFC 5321 §4.5.3.1.3, brackets left out


def is_deliverable(address: str) -> bool:
    """Whether a mail server can be asked to deliver there: its length, and a domain that IDNA can write."""
    if len(address) > ADDRESS_CHARS or address.lower().rstrip(".").endswith(".invalid"):
        return False  # the platform's own robots live under .invalid (RFC 2606), and nobody else
    try:
        sanitize_address(address, "utf-8")
    except ValueError:
        return False
    return True
