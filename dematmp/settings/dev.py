"""One machine, nothing installed but Python: SQLite, folder storage, mail written to a folder."""

import os
from pathlib import Path

os.environ.setdefault("DEMATMP_ANTIVIRUS_URL", "none")

from dematmp.settings.base import *  # noqa: F403
from dematmp.settings.base import STATE_DIR, STORAGES, env

SECRET_KEY = env.str("DEMATMP_SECRET_KEY", default="dev-only-" + "0" * 50)
DEBUG = env.bool("DEMATMP_DEBUG", default=False)
ALLOWED_HOSTS = env.list("DEMATMP_ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
SECURE_SSL_REDIRECT = False
SECURE_PROXY_SSL_HEADER = None
SECURE_HSTS_SECONDS = 0
SESSION_COOKIE_SECURE = False
CSRF_COOKIE_SECURE = False
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http"
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
WHITENOISE_USE_FINDERS = True
if not env.str("DEMATMP_EMAIL_URL", default=""):
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = STATE_DIR / "mails"
for folder in (
    STATE_DIR,
    STATE_DIR / "broker" / "queue",
    STATE_DIR / "broker" / "control",
    STATE_DIR / "static",
):
    Path(folder).mkdir(parents=True, exist_ok=True)
