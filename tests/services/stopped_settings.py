"""The settings of a platform that the tests stop and kill between two steps (see `stops`)."""

from celery.schedules import schedule

from dematmp.settings.dev import *  # noqa: F403
from dematmp.settings.dev import CELERY_BEAT_SCHEDULE, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.services.stops.StopsConfig"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# The sweeps find what a lost task left: a quarter of a minute is long for a test.
CELERY_BEAT_SCHEDULE = {
    name: {**each, "schedule": schedule(0.5)}
    for name, each in CELERY_BEAT_SCHEDULE.items()
    if name in ("sweep-bids", "sweep-opening", "sweep-mails", "copy-journal")
}
CELERY_BEAT_MAX_LOOP_INTERVAL = 0.25
