"""Where a deposit goes from the browser, besides the platform."""

from django.conf import settings

from storage.stores import object_store


def reached() -> list[str]:
    """Origins: sealed parts go straight to the store, or to the backup channel and its own store."""
    channel = settings.BACKUP_CHANNEL
    return [each for each in (object_store().direct, channel["url"], *channel["origins"]) if each]
