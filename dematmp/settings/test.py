"""Tests.

A private state folder, cheap passwords, tasks run in place (real workers are tested by the journeys).
"""

import os
import tempfile

_state = tempfile.TemporaryDirectory(prefix="dematmp-test-")  # removed when the process ends
if "PYTEST_XDIST_WORKER" in os.environ or "DEMATMP_STATE_DIR" not in os.environ:
    # Each worker its own, whatever its parent has: one that travels in time moves its authority's clock.
    os.environ["DEMATMP_STATE_DIR"] = _state.name
    os.environ["DEMATMP_SECRETS_DIR"] = f"{_state.name}/secrets"
os.environ.setdefault("DEMATMP_ANTIVIRUS_URL", "none")

from dematmp.settings.base import STATE_DIR  # noqa: E402
from dematmp.settings.dev import *  # noqa: E402, F403
from dematmp.settings.dev import DATABASES  # noqa: E402

ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, so that each thread of a live server has its own connection, as in production; never synced.
    DATABASES["default"]["TEST"] = {"NAME": str(STATE_DIR / "test.sqlite3")}
    options = DATABASES["default"]["OPTIONS"]
    options["init_command"] = options["init_command"].replace("synchronous=FULL", "synchronous=OFF")
DATABASE_CLOCK = False  # tests travel in time; tests/services/test_deadline_race.py runs on the real one
