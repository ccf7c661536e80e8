"""A prefecture gateway that runs beside the platform.

It has the operator's endpoints, and a control authority that answers. It speaks S2LOW's text protocol for
the calls that the platform makes, refuses what a real operator would refuse, keeps what it receives on disk,
and answers later with a true ARActe. It serves demonstrations and tests; it is not an operator.

Environment: GATEWAY_STATE (folder), GATEWAY_LOGIN, GATEWAY_PASSWORD, GATEWAY_DELAY (seconds before the
ARActe), DEMATMP_ACTES_XSD (optional path of actesv1_1.xsd).
Run: `gunicorn "dematmp.acts.gateway:build()"`.
"""

import base64
import hmac
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from filelock import FileLock
from lxml import etree

from dematmp.acts import messages, names, rules
from dematmp.acts.errors import MessageRefused
from dematmp.acts.package import unpack
from dematmp.acts.reading import read, read_envelope
from dematmp.acts.writing import write
from dematmp.acts.xmlio import parse

_ID = re.compile(r"[0-9]{1,12}")
View = Callable[[HttpRequest], HttpResponse]


def _state() -> Path:
    return Path(os.environ["GATEWAY_STATE"])


def _text(text: str | bytes) -> HttpResponse:
    data = text if isinstance(text, bytes) else text.encode("latin-1", errors="xmlcharrefreplace")
    return HttpResponse(data, content_type="text/plain; charset=ISO-8859-1")


def _signed_in(view: View) -> View:
    def checked(request: HttpRequest) -> HttpResponse:
        known = f"{os.environ.get('GATEWAY_LOGIN', '')}:{os.environ.get('GATEWAY_PASSWORD', '')}".encode()
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if not hmac.compare_digest(given, base64.b64encode(known).decode()):
            return _text("KO\nÉchec de l'authentification\n")
        return view(request)

    return checked


def _today() -> date:
    """The date of an act is that of the legal time, not of Greenwich: they differ around midnight."""
    return _now().astimezone(ZoneInfo("Europe/Paris")).date()


def _now() -> datetime:
    return datetime.now(UTC)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, even after a kill."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _transactions() -> dict[int, dict[str, str]]:
    """Every transaction that was taken: its `transaction.json` is the last thing written."""
    found = {}
    for record in sorted(_state().glob("*/transaction.json")):
        found[int(record.parent.name)] = json.loads(record.read_text())
    return found


@lru_cache(maxsize=1)
def _schema() -> etree.XMLSchema | None:
    known = os.environ.get("DEMATMP_ACTES_XSD", "")
    return etree.XMLSchema(etree.parse(known)) if known and Path(known).exists() else None


def _validate(data: bytes) -> None:
    schema = _schema()
    root = parse(data)
    if schema is not None and not schema.validate(root):
        raise MessageRefused(f"Message non conforme au schéma : {schema.error_log}"[:300])


def _check(files: dict[str, bytes]) -> tuple[messages.Act, str]:
    """The act that an archive carries and its identifier. Raises MessageRefused."""
    listed = list(files)
    if len(listed) < 3 or names.ENVELOPE.fullmatch(listed[0]) is None:
        raise MessageRefused("L'archive doit porter l'enveloppe, le message et le document, dans cet ordre.")
    envelope = read_envelope(files[listed[0]])
    if [each.name for each in envelope.messages] != [listed[1]]:
        raise MessageRefused("L'enveloppe n'annonce pas le message que porte l'archive.")
    for name in listed[:2]:
        _validate(files[name])
    act = _act(files[listed[1]])
    if act.document.name not in files or not files[act.document.name].startswith(b"%PDF-"):
        raise MessageRefused("Le document de l'acte manque, ou n'est pas un PDF.")
    if act.decided > _today() or act.nature not in rules.NATURES:
        raise MessageRefused("La date de la décision est dans le futur, ou la nature est inconnue.")
    identifier = rules.act_identifier(
        department=envelope.department,
        siren=envelope.siren,
        decided=act.decided,
        number=act.number,
        nature=act.nature,
    )
    if listed[1] != names.message(identifier, "1-1"):
        raise MessageRefused("Le nom du message ne correspond pas à son contenu.")
    return act, identifier


def _act(data: bytes) -> messages.Act:
    act = read(data)
    if not isinstance(act, messages.Act):
        raise MessageRefused("Un message « Acte » est attendu.")
    return act


def env_serial(request: HttpRequest) -> HttpResponse:
    with FileLock(_state() / "lock"):
        counter = _state() / f"serial-{_now():%Y%m%d}"
        serial = int(counter.read_text()) + 1 if counter.exists() else 1
        _write(counter, str(serial).encode())
    return _text(f"OK\n{serial}\n")


def submit(request: HttpRequest) -> HttpResponse:
    """Take an archive: everything is on disk before the answer."""
    posted = request.FILES.get("enveloppe") if request.method == "POST" else None
    if not isinstance(posted, UploadedFile):
        return _text("KO\nAucune enveloppe n'a été postée\n")
    if (posted.size or 0) > rules.ARCHIVE_BYTES:
        return _text(f"KO\nTaille trop importante (max : {rules.ARCHIVE_BYTES})\n")
    data = posted.read()
    try:
        act, identifier = _check(unpack(data))
    except MessageRefused as refused:
        return _text(f"KO\n{refused}\n")
    with FileLock(_state() / "lock"):
        known = _transactions()
        if any(each["number"] == act.number for each in known.values()):
            return _text(f"KO\nUn acte portant le même numéro interne {act.number} existe déjà\n")
        number = max(known, default=0) + 1
        folder = _state() / str(number)
        folder.mkdir(exist_ok=True)
        _write(folder / "archive.tar.gz", data)
        record = {
            "number": act.number,
            "identifier": identifier,
            "at": _now().isoformat(),
            "subject": act.subject,
        }
        _write(folder / "transaction.json", json.dumps(record).encode())
    return _text(f"OK\n1\n{number}\n")


def _status(number: int, record: dict[str, str]) -> int:
    delay = float(os.environ.get("GATEWAY_DELAY", "1"))
    age = (_now() - datetime.fromisoformat(record["at"])).total_seconds()
    if age < delay / 3:
        return rules.POSTED
    return rules.SENT if age < delay else rules.ACKNOWLEDGED


def get_status(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("transaction") or request.POST.get("transaction") or ""
    record = _transactions().get(int(asked)) if _ID.fullmatch(asked) else None
    if record is None:
        return _text("KO\nNuméro de transaction invalide.\n")
    status = _status(int(asked), record)
    if status != rules.ACKNOWLEDGED:
        return _text(f"OK\n{status}\n")
    return _text(b"OK\n4\n" + _acknowledgement(int(asked), record))


def _acknowledgement(number: int, record: dict[str, str]) -> bytes:
    """The ARActe, made once and then always the same bytes."""
    path = _state() / str(number) / "aracte.xml"
    with FileLock(_state() / "lock"):
        if not path.exists():
            files = unpack((path.parent / "archive.tar.gz").read_bytes())
            act = _act(files[list(files)[1]])
            receipt = messages.ActReceipt(record["identifier"], _today(), act, act.classification_date)
            _write(path, write(receipt))
    return path.read_bytes()


def list_actes(request: HttpRequest) -> HttpResponse:
    wanted = request.GET.get("status_id", "")
    rows = [
        {"id": str(number), "number": record["number"], "subject": record["subject"], "type": "1"}
        for number, record in _transactions().items()
        if str(_status(number, record)) == wanted
    ]
    return JsonResponse({"status_id": wanted, "transactions": rows})


def test_connexion(request: HttpRequest) -> HttpResponse:
    return _text("OK")


_MODULE = "modules/actes/"
urlpatterns = [
    path("api/test-connexion.php", test_connexion),
    path(f"{_MODULE}actes_transac_get_env_serial.php", _signed_in(env_serial)),
    path(f"{_MODULE}actes_transac_submit.php", _signed_in(submit)),
    path(f"{_MODULE}actes_transac_get_status.php", _signed_in(get_status)),
    path(f"{_MODULE}api/list_actes.php", _signed_in(list_actes)),
]


def build() -> WSGIHandler:
    """The WSGI application, in a process of its own."""
    import django
    from django.conf import settings

    settings.configure(
        ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"], SECRET_KEY=os.urandom(32).hex(),
        USE_TZ=True,
        INSTALLED_APPS=[], DATABASES={}, FILE_UPLOAD_MAX_MEMORY_SIZE=1024 * 1024,
    )  # fmt: skip
    django.setup(set_prefix=False)
    _state().mkdir(parents=True, exist_ok=True)
    return WSGIHandler()
