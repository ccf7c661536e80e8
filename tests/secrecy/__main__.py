"""Plant secrets in a bid and in the committee's keys, then look for them everywhere, stage after stage.

`python -m tests.secrecy FOLDER [--services]` starts a platform of its own in FOLDER (web, worker; SQLite and
folders, or PostgreSQL, S3 and RabbitMQ), and prints one JSON object: stage → who saw what, in which store,
which addresses failed. It runs in a process of its own, as an operator who holds everything would.
"""

import base64
import contextlib
import itertools
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from dematmp.demo import runtime
from deploy.services.brokers import RabbitMQ
from deploy.services.ceph import Ceph
from deploy.services.postgres import Postgres
from deploy.services.process import Service

SERVICES: dict[str, type[Service]] = {
    "DEMATMP_DATABASE_URL": Postgres,
    "DEMATMP_OBJECT_STORE": Ceph,
    "DEMATMP_BROKER_URL": RabbitMQ,
}
STORES_ONLY = ("en cours d'envoi", "date limite passée")
_ON_SERVICES = ("agent", "membre", "superutilisateur")
STORES = ("dematmp.sqlite3", "objects", "broker", "mails", "logs", "tmp", "media", "beat")


def main() -> int:
    """The report, on the standard output."""
    state = Path(sys.argv[1]).resolve()
    (state / "tmp").mkdir(parents=True)
    extra = {"DEMATMP_ANTIVIRUS_URL": os.environ.get("DEMATMP_ANTIVIRUS_URL", "none")}
    behind: list[Service] = []
    with contextlib.ExitStack() as stack:
        if "--services" in sys.argv[2:]:
            for name, service in SERVICES.items():
                behind.append(stack.enter_context(service()))
                extra[name] = behind[-1].url
        os.environ["TMPDIR"], tempfile.tempdir = str(state / "tmp"), None
        address = stack.enter_context(runtime.platform(state, port=runtime.free_port(), extra=extra))
        json.dump(play(state, address, behind), sys.stdout, ensure_ascii=False)
    return 0


def play(state: Path, address: str, behind: Sequence[Service] = ()) -> dict[str, object]:
    """The procedure, looked at from everywhere at each stage."""
    from django.utils import timezone

    from dematmp.accounts.models import User
    from dematmp.consultations import services
    from dematmp.consultations.documents import add_version, scan_version
    from dematmp.consultations.models import Deadline
    from dematmp.demo import play as demo
    from dematmp.demo.cast import COMMITTEE, PEOPLE
    from dematmp.demo.steps import Steps
    from dematmp.opening.keys import start_ceremony
    from signing.ceremony import parse_record
    from signing.client import Client, EnvelopePlan
    from signing.committee import Committee
    from signing.envelope import Source
    from signing.keys import key_hash, public_key
    from signing.protectors import unlock_paper, unlock_protector
    from signing.sharing import combine
    from tests.secrecy import crawl
    from tests.secrecy.needles import Haystack, Needle

    class Quiet(Steps):
        @staticmethod
        def say(text: str) -> None:
            sys.stderr.write(text + "\n")

    private = state / "private"  # the machines of bidders and members: nobody else's
    private.mkdir()
    stage = demo.Stage(private, address, Quiet())
    demo.enrol(stage)
    phrases = {person.slug: person.phrase for person in PEOPLE}
    passwords = {person.slug: person.password for person in PEOPLE}

    def token(slug: str) -> str:
        return stage.token(slug).read_text()

    marker = "Zq" + secrets.token_hex(9)
    content = private / "offre.txt"
    content.write_text(f"Prix : {marker}contenu euros\n" * 2000)
    plans = [
        EnvelopePlan("1", kind, [Source(content, f"{marker}nom-{kind}.txt")])
        for kind in ("candidature", "offre")
    ]
    now = timezone.now()
    agent, validator = stage.people["agent"], stage.people["valideur"]
    consultation = services.create_consultation(
        buyer=stage.bodies["agglo"], by=agent, reference="SECRET", title="Essai", object="Essai",
        procedure="MAPA-O", cpv="45233140", now=now,
    )  # fmt: skip
    piece = add_version(
        consultation, title="RC", kind="rc", name="RC.pdf", chunks=[b"%PDF-1.7"], by=agent, now=now
    )
    scan_version(piece.pk, now=now)
    members = [stage.people[slug] for slug in COMMITTEE]
    start_ceremony(consultation, members=members, threshold=2, by=agent, now=now)
    uuid = str(consultation.uuid)
    clients = {slug: Committee(address, token(slug)) for slug in COMMITTEE}
    clients["presidente"].deal(uuid)
    seeds = {
        slug: unlock_protector((private / "tokens" / f"{slug}.key").read_bytes(), phrases[slug])
        for slug in COMMITTEE
    }
    needles = [
        Needle("contenu", f"{marker}contenu".encode()),
        Needle("nom de fichier", f"{marker}nom".encode()),
    ]
    shares: dict[str, list[bytes]] = {}
    for slug in COMMITTEE:
        sheet = unlock_paper((private / "tokens" / f"{slug}.words").read_text())
        clients[slug].confirm(uuid, seeds[slug], also=[key_hash(public_key(sheet))])
        needles += [Needle(f"phrase {slug}", phrases[slug].encode()), Needle(f"graine {slug}", seeds[slug])]
        said = clients[slug].get(f"/consultations/{uuid}/ceremony")
        record = parse_record(base64.b64decode(str(said["record"])))
        words = (private / "tokens" / f"{slug}.words").read_text()
        needles += [Needle(f"feuille {slug}", sheet), Needle(f"mots {slug}", paper_needle(words))]
        for kind, (_, share) in (
            clients[slug].my_shares(f"/consultations/{uuid}", record, seeds[slug])[1].items()
        ):
            shares.setdefault(kind, []).append(share)
            needles.append(Needle(f"part {slug} {kind}", share))
    needles += [Needle(f"clé {kind}", combine(each[:2])) for kind, each in shares.items()]
    demo.wait_for(lambda: demo.twin_is_closed(consultation), "le pli d'essai n'est pas prêt")
    twin = clients["presidente"].twin(uuid)
    for slug in ("presidente", "membre3"):
        clients[slug].give_share(twin, clients[slug].start_opening(twin), seeds[slug])
    clients["membre3"].post(f"/openings/{clients['membre3'].start_opening(twin)['session']}/open")
    demo.wait_for(lambda: demo.rehearsed(consultation), "la répétition n'a pas réussi")
    consultation.refresh_from_db()
    services.set_deadline(consultation, at=now + timedelta(hours=2), by=agent, now=timezone.now())
    services.submit(consultation, by=agent, now=timezone.now())
    services.validate(consultation, by=validator, now=timezone.now())
    services.publish(consultation, by=validator, now=timezone.now())

    User.objects.create_superuser("root@example.fr", passwords["agent"])
    visitors = [crawl.sign_in("anonyme", address)]
    for name, slug in (
        ("autre entreprise", "voirie"), ("agent", "agent"), ("valideur", "valideur"),
        ("membre", "presidente"), ("préfecture", "controleur"), ("autre acheteur", "agent-ville"),
    ):  # fmt: skip
        organisation = next(person.organisation for person in PEOPLE if person.slug == slug)
        visitors.append(
            crawl.sign_in(
                name, address, email=stage.people[slug].email, password=passwords[slug],
                organisation=str(stage.bodies[organisation].uuid),
            )
        )  # fmt: skip
    visitors.append(
        crawl.sign_in("superutilisateur", address, email="root@example.fr", password=passwords["agent"])
    )
    haystack = Haystack(needles)
    report: dict[str, object] = {}

    def look(name: str, *, memory: bool = False, stores: bool = True) -> None:
        # Addresses are asked where the most could be seen; the stores are searched at every stage.
        paths = [] if name in STORES_ONLY else crawl.addresses(crawl.identifiers())
        # They are the same program on every database: on services, some of the visitors are enough.
        # All of them where the most could be seen; at the other stages those who could see something.
        few = _ON_SERVICES if behind else (*_ON_SERVICES, "anonyme", "autre entreprise")
        everybody = not behind and name == "une part apportée"
        who = [each for each in visitors if everybody or each.name in few]
        seen, wrong, count = crawl.crawl(who, paths, haystack.search)
        found: dict[str, list[str]] = {}
        kept = itertools.chain(_stores(state), _services(behind)) if stores else iter(())
        processes = _processes(state) if memory and _readable() else iter(())
        for place, data in itertools.chain(kept, processes):
            if hits := haystack.search(data):
                found[place] = sorted(hits)
        report[name] = {
            "memory": _readable() if memory else None,
            "seen": {who: sorted(what) for who, what in seen.items()},
            "stores": found,
            "wrong": wrong,
            "answers": count,
        }

    bidder = Client(address, token("batisseurs"))
    bidder.seal_draft(uuid, plans, private / "draft")
    attempt = str(bidder.upload(private / "draft")["attempt"])
    look("en cours d'envoi")
    bidder.finalise(private / "draft", attempt)
    look("déposée", memory=True)
    Deadline.objects.filter(consultation=consultation).update(at=timezone.now() - timedelta(seconds=2))
    look("date limite passée")
    opening = clients["presidente"].start_opening(uuid)
    clients["presidente"].give_share(uuid, opening, seeds["presidente"])
    look("une part apportée", memory=True)
    clients["membre3"].give_share(uuid, opening, seeds["membre3"])
    clients["membre3"].post(f"/openings/{opening['session']}/open")
    until = time.monotonic() + 60
    while clients["membre3"].get(f"/openings/{opening['session']}")["state"] != "done":
        if time.monotonic() > until:
            raise TimeoutError("l'ouverture n'est pas achevée")
        time.sleep(0.2)
    look("ouverte", stores=False)
    return report


def paper_needle(words: str) -> bytes:
    """Six words in a row of a sheet, as they would be written anywhere."""
    return " ".join(re.findall("[a-z]+", words)[10:16]).encode()


def _readable() -> bool:
    """Whether this machine lets its owner read the memory of another of their processes."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        with Path(f"/proc/{child.pid}/mem").open("rb"):
            return True
    except PermissionError:
        return False
    finally:
        child.kill()
        child.wait()


def _stores(state: Path) -> Iterator[tuple[str, bytes]]:
    from tests.secrecy.crawl import files_below

    for name, data in files_below(state):
        if name.startswith(STORES):
            yield name, data


def _services(behind: Sequence[Service]) -> Iterator[tuple[str, bytes]]:
    """What stands behind: every row and page of the database, every object, every queue on disk."""
    from storage.s3 import S3Store
    from storage.stores import object_store
    from tests.secrecy.crawl import files_below

    for service in behind:
        if isinstance(service, Ceph):
            bucket = object_store()
            assert isinstance(bucket, S3Store)
            token: dict[str, object] = {}
            count = 0
            while True:
                answer = bucket.call("list_objects_v2", bucket=bucket.bucket, **token)
                for row in answer.get("Contents", []):  # type: ignore[attr-defined]
                    count += 1
                    yield f"S3 {row['Key']}", row["Key"].encode() + b"".join(bucket.open(row["Key"]))
                if not answer.get("IsTruncated"):
                    break
                token = {"ContinuationToken": answer["NextContinuationToken"]}
            assert count > 5
            continue
        if isinstance(service, Postgres):
            # Long values are compressed in the pages: the rows are read too.
            dump = [str(Service.find("pg_dump")), "--inserts", "--data-only", service.url]
            rows = subprocess.run(dump, capture_output=True, check=True).stdout
            assert b"COPY" in rows or b"INSERT" in rows
            yield "PostgreSQL, lignes", rows
        for name, data in files_below(service.folder):
            yield f"{service.name} {name}", data


def _processes(state: Path) -> Iterator[tuple[str, bytes]]:
    """Web and worker processes: those whose environment names this state folder."""
    from tests.secrecy.crawl import process_dump

    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit() or int(proc.name) == os.getpid():
            continue
        try:
            ours = f"DEMATMP_STATE_DIR={state}".encode() in (proc / "environ").read_bytes()
        except OSError:
            continue
        if ours:
            yield from process_dump(int(proc.name))


if __name__ == "__main__":
    raise SystemExit(main())
