"""Tests.

A private state folder, cheap passwords, tasks run in place (real workers are tested by the journeys).
"""

import os
import tempfile

_state = tempfile.TemporaryDirectory(prefix="dematmp-test-")  # removed when the process ends
os.environ.setdefault("DEMATMP_STATE_DIR", _state.name)
os.environ.setdefault("DEMATMP_ANTIVIRUS_URL", "none")

from dematmp.settings.dev import *  # noqa: E402, F403

ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
