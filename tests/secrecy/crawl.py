"""Every address of the site, with every identifier that exists, as each kind of visitor; then every store."""

import itertools
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from django.urls import URLPattern, URLResolver, get_resolver

from dematmp.accounts.models import ApiToken, Invitation, Membership, Organisation
from dematmp.acts.models import Act, PrefectureLetter, Subscription
from dematmp.audit.models import Entry
from dematmp.awards.models import Award
from dematmp.bids.models import Attempt, Bid, Envelope
from dematmp.consultations.models import Consultation, Document, DocumentVersion, Question
from dematmp.opening.models import OpenedFile, OpeningSession, Protector

ANSWERS = {200, 301, 302, 400, 401, 403, 404, 405, 422}
_SLASHES = "(?:/)*"  # as many as the client writes: one is enough here
_NAMES = (
    "0.cob",
    "1.cob",
    "t.cob",
    "header.json",
    "keys.bin",
    "message.xml",
    "checkpoint",
    "key",
)
_PIECES = ("record", "receipt.json", "receipt.pdf", "token.tst", "proof", "minutes.json", "minutes.pdf")
# The administration's pages are for staff: who stands for all the others is enough.
_OF_ADMIN = ("superutilisateur", "membre")
# A POST that a GET never reaches, the sign-out, and pages that answer for their own libraries.
# The web process closes an idle connection whenever it likes: under load, just as it is used again.
_NO_KEEP_ALIVE = httpx.Limits(max_keepalive_connections=0)
_SKIPPED = re.compile(
    r"^modules/|^common/|^admin/(?:users|authorities)/|"  # each asks for a certificate first
    r"compte/(?:logout|confirm-email|password/reset/key)|jsi18n|autocomplete|admin/r/|api/docs"
)


def identifiers() -> dict[str, list[str]]:
    """Parameter of an address → the values that exist for it."""

    def values(rows: object, field: str = "uuid") -> list[str]:
        return [str(value) for value in rows.order_by("pk").values_list(field, flat=True)[:6]]  # type: ignore[attr-defined]

    bids = values(Bid.objects)
    return {
        "consultation": values(Consultation.every),
        "deposit": values(Attempt.objects, "deposit"),
        "attempt": values(Attempt.objects),
        "envelope": values(Envelope.objects),
        "version": values(DocumentVersion.objects),
        "document": values(Document.objects, "pk"),
        "question": values(Question.objects),
        "organisation": values(Organisation.objects),
        "invitation": values(Invitation.objects),
        "membership": values(Membership.objects, "pk")[:3],
        "token": values(ApiToken.objects, "pk")[:3],
        "award": values(Award.objects, "pk"),
        "act": values(Act.objects),
        "file": values(OpenedFile.objects),
        "session": values(OpeningSession.objects),
        "object_id": [
            *values(Entry.objects, "pk")[:3],
            *values(Bid.objects, "pk"),
            *values(Attempt.objects, "pk"),
        ],
        "name": list(_NAMES),
        "piece": list(_PIECES),
        "form": ["pdf", "json"],
        "kind": ["phrase", "feuille", "cle-d-acces"],
        "protector": values(Protector.objects),
        "number": ["1"],
        "rank": ["1", "2"],
        "letter": values(PrefectureLetter.objects, "pk"),
        "feed": values(Subscription.objects, "feed"),
        "path": ["checkpoint", "key", "ca.pem", "tile/0/000.p/1", "tile/entries/000.p/1"],
        "content_type_id": ["1"],
        "app_label": ["bids", "audit", "opening", "accounts"],
        "url": [],
        "key": bids,
    }


def addresses(known: Mapping[str, Sequence[str]]) -> list[str]:
    """Every address of the resolver, filled with what exists."""
    found = set()
    for path, names in _patterns(get_resolver()):
        if _SKIPPED.search(path):
            continue
        for chosen in itertools.product(*(known.get(name, []) for name in names)):
            address = path
            for name, value in zip(names, chosen, strict=True):
                address = re.sub(rf"<(?:[^<>:]+:)?{name}>", value, address, count=1)
            found.add("/" + address)
    return sorted(found)


def _patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    for each in resolver.url_patterns:
        path = prefix + str(each.pattern).removeprefix("^").removesuffix("$").removesuffix("\\Z")
        path = path.replace(_SLASHES, "")
        if isinstance(each, URLResolver):
            yield from _patterns(each, path)
        elif isinstance(each, URLPattern) and "(?P" not in path:
            yield path, re.findall(r"<(?:[^<>:]+:)?([^<>]+)>", path)


@dataclass
class Visitor:
    """A kind of visitor: their name in reports and their signed-in client."""

    name: str
    client: httpx.Client
    organisation: str = ""


def sign_in(
    name: str, server: str, *, email: str = "", password: str = "", organisation: str = ""
) -> Visitor:
    """By the site's own form."""
    client = httpx.Client(limits=_NO_KEEP_ALIVE, base_url=server, timeout=60)
    if email:
        page = client.get("/compte/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "login": email, "password": password}
        answer = client.post("/compte/login/", data=form, headers={"Referer": f"{server}/compte/login/"})
        assert answer.status_code == 302, (name, answer.status_code)
    return Visitor(name, client, organisation)


def crawl(
    visitors: Sequence[Visitor], paths: Sequence[str], search: Callable[[bytes], set[str]]
) -> tuple[dict[str, set[str]], list[str], int]:
    """Visitor → secrets seen; addresses whose answer is not one of ANSWERS; how many answers were read."""
    seen: dict[str, set[str]] = {}
    wrong: list[str] = []

    def visit(visitor: Visitor) -> int:
        headers = {"X-Organisation": visitor.organisation} if visitor.organisation else {}
        mine = [path for path in paths if visitor.name in _OF_ADMIN or not path.startswith("/admin/")]
        for path in mine:
            answer = visitor.client.get(path, headers=headers)
            if answer.status_code not in ANSWERS:
                wrong.append(f"{visitor.name} {path} : {answer.status_code}")
            found = search(answer.content) | search(str(answer.headers).encode())
            if found:
                seen.setdefault(visitor.name, set()).update(f"{name} {path}" for name in found)
        return len(mine)

    with ThreadPoolExecutor(max_workers=4) as pool:
        count = sum(pool.map(visit, visitors))
    return seen, sorted(wrong), count


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a store: database, objects, broker, mails, logs, temporary files.

    Read by another process: closing SQLite's files in this one would drop the locks of its own connection.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            done = subprocess.run(["cat", path], capture_output=True, check=False)
            yield str(path.relative_to(folder)), done.stdout


def process_dump(pid: int) -> Iterator[tuple[str, bytes]]:
    """Environment and memory of a process. Raises PermissionError where the machine forbids it."""
    proc = Path(f"/proc/{pid}")
    yield f"{pid} environ", (proc / "environ").read_bytes()
    with (proc / "mem").open("rb", buffering=0) as memory:
        for line in (proc / "maps").read_text().splitlines():
            span, rights = line.split()[:2]
            start, end = (int(each, 16) for each in span.split("-"))
            if "r" not in rights or "w" not in rights or "[v" in line or end - start > 512 * 1024**2:
                continue
            try:
                memory.seek(start)
                yield f"{pid} {line.split()[-1]}", memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
