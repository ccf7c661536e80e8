"""Settings from the environment, safe for production; `dev` and `test` loosen them.

Every name read here begins with DEMATMP_; `deploy/UPGRADE.md` says what changed from one version to the next.
"""

import os
from pathlib import Path

import environ
from celery.schedules import schedule

from dematmp.web import static_headers
from storage.stores import parse_object_store

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parents[2]
STATE_DIR = Path(env.str("DEMATMP_STATE_DIR", default=str(BASE_DIR / "var")))

SECRET_KEY = env.str("DEMATMP_SECRET_KEY", default="")
DEBUG = False
ALLOWED_HOSTS = env.list("DEMATMP_ALLOWED_HOSTS", default=[])
SITE_NAME = env.str("DEMATMP_SITE_NAME", default="dematmp")
SITE_URL = env.str("DEMATMP_SITE_URL", default="http://127.0.0.1:8000").rstrip("/")
OPERATOR_NAME = env.str("DEMATMP_OPERATOR_NAME", default=SITE_NAME)
# Whom to call when something does not work: shown in the footer, the help, the deposit page and the errors.
CONTACT = {
    "email": env.str("DEMATMP_CONTACT_EMAIL", default=""),
    "phone": env.str("DEMATMP_CONTACT_PHONE", default=""),
    "hours": env.str("DEMATMP_CONTACT_HOURS", default=""),
}
CSRF_TRUSTED_ORIGINS = env.list("DEMATMP_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "dematmp.audit",
    "dematmp.mails",
    "dematmp.accounts",
    "dematmp.consultations",
    "dematmp.bids",
    "dematmp.opening",
    "dematmp.awards",
    "dematmp.acts",
    "dematmp.web",
    "storage",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",
    "allauth",
    "allauth.account",
    "ninja",
    "csp",
]

MIDDLEWARE = [
    "dematmp.bids.clock.Arrival",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "dematmp.web.errors.DomainErrors",
]

# "backup-deposit": the same code with the deposit API alone, its own database, bucket, journal and keys, to
# which companies' programs turn by themselves when the platform does not answer.
BACKUP_DEPOSIT = env.str("DEMATMP_ROLE", default="") == "backup-deposit"
# There: the platform that it stands in for, and the key of its passes (`manage.py platform_keys` prints it).
MAIN = {
    "url": env.str("DEMATMP_MAIN_URL", default="").rstrip("/"),
    "key": env.str("DEMATMP_MAIN_KEY", default=""),
}
# Here: the backup channel's address, its journal's key, and what else pages reach there (its object store).
BACKUP_CHANNEL = {
    "url": env.str("DEMATMP_BACKUP_URL", default="").rstrip("/"),
    "journal_key": env.str("DEMATMP_BACKUP_JOURNAL_KEY", default=""),
    "origins": env.list("DEMATMP_BACKUP_ORIGINS", default=[]),
}
if BACKUP_DEPOSIT:
    MIDDLEWARE.insert(1, "dematmp.api.channel.Cors")
ROOT_URLCONF = "dematmp.urls"
WSGI_APPLICATION = "dematmp.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "dematmp" / "web" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["dematmp.web.templatetags.show"],  # its plurals are those of French
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dematmp.web.context.site",
            ],
        },
    },
]

FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

DATABASES = {
    "default": env.db_url("DEMATMP_DATABASE_URL", default=f"sqlite:///{STATE_DIR / 'dematmp.sqlite3'}")
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # One writer at a time: take the write lock at BEGIN (no upgrade, hence no lost race), wait for it,
    # survive kill -9.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ACCOUNT_ADAPTER = "dematmp.accounts.adapter.StoredMailAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_SIGNUP_FORM_CLASS = "dematmp.accounts.forms.NamesForm"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/mon-espace/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"

LANGUAGE_CODE = "fr"
LANGUAGES = [("fr", "Français")]
TIME_ZONE = env.str("DEMATMP_TIME_ZONE", default="Europe/Paris")
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
# A worker obeys the policy of its own script: ours, and WebAssembly for the digests that WebCrypto lacks.
WHITENOISE_ADD_HEADERS_FUNCTION = static_headers.add
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": STATE_DIR / "media"},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Where sealed objects, documents and opened files live: folder:///path or
# s3://key:secret@host:port/bucket?tls=1
OBJECT_STORE = parse_object_store(
    env.str("DEMATMP_OBJECT_STORE", default=f"folder://{(STATE_DIR / 'objects').as_posix()}")
)
# tcp://host:port or unix:///path, several with commas (the least busy is asked), or the explicit word "none":
# files are then labelled "non analysé", never "sain".
ANTIVIRUS_URL = env.str("DEMATMP_ANTIVIRUS_URL", default="")
# How many of them, of different signature bases, must agree that a file is clean.
ANTIVIRUS_AGREE = env.int("DEMATMP_ANTIVIRUS_AGREE", default=1)
# After each update of the signatures, what was received or opened in these last days is scanned again.
RESCAN_DAYS = env.int("DEMATMP_RESCAN_DAYS", default=7)
# Ordered RFC 3161 authorities; "embedded" is this platform's own, never called qualified.
TSA_URLS = env.list("DEMATMP_TSA_URLS", default=["embedded"])
# PEM files of the authorities behind the addresses above; the embedded one needs none.
TSA_TRUST = env.list("DEMATMP_TSA_TRUST", default=[])
TSA_POLICIES = env.list("DEMATMP_TSA_POLICIES", default=[])
# The platform's own keys: journal, timestamp authority, seal, key-encryption key. Mode 0700.
SECRETS_DIR = Path(env.str("DEMATMP_SECRETS_DIR", default=str(STATE_DIR / "secrets")))
# What seals receipts and minutes: the platform's own key unless said, pkcs12:///path or pkcs11:///module?label=…
SEAL = {
    "url": env.str("DEMATMP_SEAL", default=""),
    "secret_file": env.str("DEMATMP_SEAL_SECRET_FILE", default=""),
    # PEM files: that seal's own certificate, and those of former ones.
    "certificates": env.list("DEMATMP_SEAL_CERTIFICATES", default=[]),
}
# « https://temoin.ville.example KEY »: who cosigns the journal's checkpoints (python -m signing.witness).
WITNESSES = env.list("DEMATMP_WITNESSES", default=[])
JOURNAL_ORIGIN = env.str("DEMATMP_JOURNAL_ORIGIN", default="dematmp.example/journal")
# PEM files of authorities whose certificates may sign bids, added to none by default (trusted lists: their
# own issue).
REPORT_RENEWAL_DAYS = env.int("DEMATMP_REPORT_RENEWAL_DAYS", default=365)
SIGNATURE_TRUST = env.list("DEMATMP_SIGNATURE_TRUST", default=[])
S2LOW = {
    "url": env.str("DEMATMP_S2LOW_URL", default=""),
    "login": env.str("DEMATMP_S2LOW_LOGIN", default=""),
    "password": env.str("DEMATMP_S2LOW_PASSWORD", default=""),
    "timeout": env.float("DEMATMP_S2LOW_TIMEOUT", default=60.0),  # seconds
}
# The transmission service that this platform offers to its buyers, in the way of S2LOW.
ACTES = {
    "application": env.str("DEMATMP_ACTES_APPLICATION", default="TACT"),  # EACT in production
    "trigram": env.str("DEMATMP_ACTES_TRIGRAM", default="SLO"),  # attributed by the ministry
    "return_mail": env.str("DEMATMP_ACTES_RETURN_MAIL", default="tdt@dematmp.example.fr"),
    # maildir:///path, imaps://login:password@host/INBOX, or https://… ; the ministry's answers
    "return_box": env.str("DEMATMP_ACTES_RETURN_BOX", default=""),
    "ministry_url": env.str("DEMATMP_ACTES_MINISTRY_URL", default=""),
    "ministry_ca": env.str("DEMATMP_ACTES_MINISTRY_CA", default=""),  # PEM file, pinned
    "ministry_certificate": env.str("DEMATMP_ACTES_MINISTRY_CERTIFICATE", default=""),  # PEM file
    "ministry_key": env.str("DEMATMP_ACTES_MINISTRY_KEY", default=""),
    "ministry_auth": env.str("DEMATMP_ACTES_MINISTRY_AUTH", default="none"),  # none, basic or post
    "ministry_login": env.str("DEMATMP_ACTES_MINISTRY_LOGIN", default=""),
    "ministry_password": env.str("DEMATMP_ACTES_MINISTRY_PASSWORD", default=""),
    "schema": env.str("DEMATMP_ACTES_XSD", default=""),  # path of the official actesv1_1.xsd
    # PEM files of the RGS authorities whose certificates may transmit; without any, each known one may
    "rgs": env.list("DEMATMP_ACTES_RGS", default=[]),
    # PEM files of the authorities between these and the certificates; lists of what they revoked (PEM, DER)
    "rgs_intermediates": env.list("DEMATMP_ACTES_RGS_INTERMEDIATES", default=[]),
    "rgs_crl": env.list("DEMATMP_ACTES_RGS_CRL", default=[]),
    # The word by which the front proves itself: without it no certificate is believed
    "front_secret": env.str("DEMATMP_ACTES_FRONT_SECRET", default=""),
    "retry_seconds": env.float("DEMATMP_ACTES_RETRY_SECONDS", default=300.0),
    "claim_seconds": env.float("DEMATMP_ACTES_CLAIM_SECONDS", default=300.0),
    "uncertain_seconds": env.float("DEMATMP_ACTES_UNCERTAIN_SECONDS", default=1800.0),
    # What was posted less long ago is left by the sweep to the task that was asked for it
    "grace_seconds": env.float("DEMATMP_ACTES_GRACE_SECONDS", default=60.0),
    "alert_hours": env.float("DEMATMP_ACTES_ALERT_HOURS", default=4.0),
    # A sending that takes longer is slow: the ministry then has one sender at a time
    "slow_seconds": env.float("DEMATMP_ACTES_SLOW_SECONDS", default=20.0),
    # Who is told of the ministry's mails that were put aside; the administrators of the platform without any
    "alert_mail": env.list("DEMATMP_ACTES_ALERT_MAIL", default=[]),
    "close_early": env.bool("DEMATMP_ACTES_CLOSE_EARLY", default=False),
}

# Limits announced on the public page and checked at every door (CE 13 November 2025, n° 506640).
DEPOSIT_LIMITS = {
    "file_bytes": env.int("DEMATMP_LIMIT_FILE_BYTES", default=10 * 1024**3),
    "envelope_bytes": env.int("DEMATMP_LIMIT_ENVELOPE_BYTES", default=20 * 1024**3),
    "files": env.int("DEMATMP_LIMIT_FILES", default=5000),
    "name_chars": 255,
    "attempts": 200,  # begun and not finalised, of one company for one consultation
    "late_attempts": 10,  # begun after the deadline: received, receipted late, and never opened
    "company_bytes": env.int("DEMATMP_LIMIT_COMPANY_BYTES", default=500 * 1024**3),  # of its deposits, in one
}
# Lateness is decided by the database's clock where it has one: web nodes may disagree by some milliseconds.
DATABASE_CLOCK = env.bool("DEMATMP_DATABASE_CLOCK", default=True)
# The front door that the probe uses, as companies do: what stands behind it (proxy, nodes) is measured too.
PROBE_URL = env.str("DEMATMP_PROBE_URL", default=SITE_URL)
# The lock of each sealed object in S3 (days): ten years, as the files of a contract are kept. 0 for none.
DEPOSIT_RETENTION_DAYS = env.int("DEMATMP_DEPOSIT_RETENTION_DAYS", default=3650)
# Envelopes opened at a time by the process of an opening, each scanned by its own stream to the antivirus.
OPENING_WORKERS = env.int("DEMATMP_OPENING_WORKERS", default=min(4, os.cpu_count() or 1))
DOCUMENT_BYTES = env.int("DEMATMP_LIMIT_DOCUMENT_BYTES", default=2 * 1024**3)
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024  # bytes, JSON bodies and forms; parts of bids are streamed

vars().update(env.email_url("DEMATMP_EMAIL_URL", default="smtp://localhost:25"))
DEFAULT_FROM_EMAIL = env.str("DEMATMP_FROM_EMAIL", default="ne-pas-repondre@dematmp.example.fr")

# Celery. The embedded default needs no server: messages are files in the state folder (folder_broker).
BROKER_DIR = STATE_DIR / "broker"
CELERY_BROKER_URL = env.str("DEMATMP_BROKER_URL", default="folder://localhost/")
if CELERY_BROKER_URL.startswith("folder"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
        "polling_interval": 0.1,  # seconds
    }
elif CELERY_BROKER_URL.startswith("redis"):
    # Redis' defaults redeliver a killed worker's task after 100 s; these bring it to the visibility timeout.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": env.int("DEMATMP_BROKER_VISIBILITY", default=3600),  # seconds
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
else:
    # "classic" on a lone node: a quorum queue of RabbitMQ 3.10 was seen unusable for ever after kill -9. What
    # a queue loses the sweeps find again.
    CELERY_TASK_DEFAULT_QUEUE_TYPE = env.str("DEMATMP_BROKER_QUEUES", default="quorum")
    CELERY_BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE = "quorum"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1}
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(STATE_DIR / "beat-schedule")
_acts_poll = env.float("DEMATMP_S2LOW_POLL_SECONDS", default=60.0)
_acts_sweep = env.float("DEMATMP_ACTES_SWEEP_SECONDS", default=30.0)
# Where the sendings to the ministry wait, for a worker of their own (-Q): with the rest unless it is named.
if _acts_queue := env.str("DEMATMP_ACTES_QUEUE", default=""):
    _sends = ("check_transaction", "send_transaction", "sweep_service")
    CELERY_TASK_ROUTES = {f"dematmp.acts.tasks.{each}": {"queue": _acts_queue} for each in _sends}
CELERY_BEAT_SCHEDULE = {
    # The database is the queue of record: what a lost task left undone is found here.
    "copy-journal": {"task": "dematmp.audit.tasks.copy_journal", "schedule": schedule(60.0)},
    "journal-client-code": {"task": "dematmp.web.tasks.journal_client_code", "schedule": schedule(60.0)},
    "sweep-mails": {"task": "dematmp.mails.tasks.sweep", "schedule": schedule(15.0)},
    "sweep-documents": {"task": "dematmp.consultations.tasks.sweep", "schedule": schedule(15.0)},
    "journal-withdrawals": {
        "task": "dematmp.consultations.tasks.journal_withdrawals",
        "schedule": schedule(60.0),
    },
    "rescan-documents": {"task": "dematmp.consultations.tasks.rescan", "schedule": schedule(3600.0)},
    "preserve-reports": {"task": "dematmp.opening.tasks.preserve_reports", "schedule": schedule(900.0)},
    "rescan-opened": {"task": "dematmp.opening.tasks.rescan", "schedule": schedule(3600.0)},
    "pad-journal": {"task": "dematmp.consultations.tasks.pad_journal", "schedule": schedule(15.0)},
    "purge-trials": {"task": "dematmp.bids.tasks.purge_trials", "schedule": schedule(3600.0)},
    "expire-uploads": {"task": "dematmp.bids.tasks.expire_uploads", "schedule": schedule(3600.0)},
    "watch-deadlines": {
        "task": "dematmp.bids.tasks.watch",
        "schedule": schedule(60.0),
        "options": {"expires": 55},  # measured when it was to be, or not at all
    },
    "sweep-bids": {"task": "dematmp.bids.tasks.sweep", "schedule": schedule(15.0)},
    "sweep-acts": {
        "task": "dematmp.acts.tasks.sweep",
        "schedule": schedule(_acts_poll),
        "options": {"expires": _acts_poll},  # when workers are late, one pass is enough
    },
    "sweep-transmissions": {
        "task": "dematmp.acts.tasks.sweep_service",
        "schedule": schedule(_acts_sweep),
        "options": {"expires": _acts_sweep},
    },
    # Apart from the sendings, which may take minutes each
    "collect-returns": {
        "task": "dematmp.acts.tasks.collect_returns",
        "schedule": schedule(_acts_sweep),
        "options": {"expires": _acts_sweep},
    },
    "renew-act-codes": {"task": "dematmp.acts.tasks.renew_codes", "schedule": schedule(3600.0)},
    "alert-acts": {"task": "dematmp.acts.tasks.tell_alerts", "schedule": schedule(3600.0)},
    "tell-subscribers": {"task": "dematmp.acts.tasks.tell_subscribers", "schedule": schedule(60.0)},
    "watch-trusted-lists": {"task": "dematmp.opening.tasks.watch_lists", "schedule": schedule(3600.0)},
    "remind-holders": {"task": "dematmp.opening.tasks.remind_holders", "schedule": schedule(600.0)},
    "sweep-opening": {"task": "dematmp.opening.tasks.sweep", "schedule": schedule(15.0)},
}

if BACKUP_CHANNEL["url"]:
    CELERY_BEAT_SCHEDULE["visit-channel"] = {
        "task": "dematmp.bids.tasks.visit_channel",
        "schedule": schedule(60.0),
    }
if BACKUP_DEPOSIT:  # what a deposit needs, and the consultations of the platform
    _deposits = ("copy-journal", "sweep-mails", "pad-journal", "expire-uploads", "sweep-bids")
    CELERY_BEAT_SCHEDULE = {name: CELERY_BEAT_SCHEDULE[name] for name in _deposits} | {
        "mirror": {"task": "dematmp.bids.tasks.mirror_consultations", "schedule": schedule(60.0)}
    }

# Transport and browser security
SECURE_SSL_REDIRECT = env.bool("DEMATMP_HTTPS", default=True)
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("DEMATMP_BEHIND_PROXY", default=True) else None
)
SECURE_HSTS_SECONDS = 31536000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = True
CSRF_FAILURE_VIEW = "dematmp.web.errors.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "worker-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "manifest-src": ["'self'"],
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"httpx": {"level": "WARNING"}, "httpcore": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": env.str("DEMATMP_LOG_LEVEL", default="INFO")},
}
