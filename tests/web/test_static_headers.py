"""What the programs of the pages may reach: a worker obeys the policy of its own file."""

from wsgiref.headers import Headers

from pytest_django.fixtures import Settings

from dematmp.web import static_headers
from storage.stores import parse_object_store


def reaches(name: str) -> str:
    headers = Headers()
    static_headers.add(headers, "", f"/static/build/{name}")
    return str(headers["Content-Security-Policy"])


def test_the_deposit_worker_reaches_the_store_and_the_backup_channel(settings: Settings) -> None:
    settings.OBJECT_STORE = parse_object_store("s3://cle:secret@127.0.0.1:9/plis?tls=0")
    settings.BACKUP_CHANNEL = {
        **settings.BACKUP_CHANNEL,
        "url": "https://secours.example",
        "origins": ["https://plis.secours.example"],
    }
    said = "connect-src 'self' http://127.0.0.1:9 https://secours.example https://plis.secours.example"
    for name in ("deposit-worker.js", "deposit-worker.0123456789ab.js"):
        assert reaches(name).endswith(said)
    for name in ("preflight-worker.js", "deposit.js"):
        assert "secours.example" not in reaches(name)


def test_elsewhere_it_reaches_the_platform_alone(settings: Settings) -> None:
    settings.OBJECT_STORE = {"kind": "folder", "root": "/nowhere"}
    settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": "", "origins": []}
    assert reaches("deposit-worker.js").endswith("connect-src 'self'")
