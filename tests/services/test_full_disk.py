"""The disk of an embedded platform fills up, database and objects: told as such, and nothing is lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, absent

_FILL = """
import os, sys
from pathlib import Path
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, skip_checks=True)
from django.test import Client
from signing.client import ServerRefused
from tests.world import make_world
disk, apart = Path(sys.argv[1]), Path(sys.argv[2])
world = make_world()
consultation = world.publish()
speaker, draft = world.seal(consultation, apart, files={"offre.bin": os.urandom(300_000)})
speaker.tries = 1
room = os.statvfs(disk)
filler = disk / "filler"
filler.write_bytes(bytes(room.f_bavail * room.f_bsize))
try:
    speaker.upload(draft)
except ServerRefused as full:
    print(full.status, full.reason, bool(full.next))
agent = Client(raise_request_exception=False)
page = agent.post("/compte/connexion/", {"login": "x@example.fr", "password": "y"})
print(page.status_code < 500 or "platform.database" in page.content.decode())
filler.unlink()
attempt = str(speaker.upload(draft)["attempt"])
print(speaker.finalise(draft, attempt)["state"])
call_command("storage", "fsck", "--digests")
"""


def test_a_full_disk_is_told_and_a_deposit_goes_on_once_there_is_room(tmp_path: Path) -> None:
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=24m none {disk}"
    if shutil.which("unshare") is None or subprocess.run([*alone, "sh", "-c", mount], check=False).returncode:
        absent("Disque plein : pas le droit de monter un petit tmpfs (unshare)")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DEMATMP_")},
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(disk),
        "DEMATMP_SECRETS_DIR": str(tmp_path / "secrets"),
        "DEMATMP_ANTIVIRUS_URL": "none",
        "DEMATMP_LOG_LEVEL": "CRITICAL",
        "DEMATMP_ALLOWED_HOSTS": "*",
    }
    done = subprocess.run(
        [
            *alone,
            "sh",
            "-c",
            f'{mount} && exec "$0" -W ignore -c "$1" {disk} {tmp_path}',
            sys.executable,
            _FILL,
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    assert said[0] in ("503 platform.database True", "503 storage.unavailable True")
    assert said[1:3] == ["True", "in-time"]
    assert "disent la même chose" in said[-1]
