"""A disk that fills up in the middle of a part: it is said, and the part is sent again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, absent

_FILL = """
import hashlib, io, os, sys
from pathlib import Path
from storage.errors import StoreUnavailable
from storage.folder import FolderStore
from storage.objects import Part
root = Path(sys.argv[1])
store, data = FolderStore(root), os.urandom(3 * 1024**2)
sha256 = hashlib.sha256(data).hexdigest()
upload = store.begin("sealed/a/b/0.cob")
def send():
    stream, size = io.BytesIO(data), len(data)
    store.put_part("sealed/a/b/0.cob", upload, 1, stream, size=size, part_bytes=size, sha256=sha256)
filler = root / "filler"
filler.write_bytes(bytes(2 * 1024**2))
for _ in range(2):
    try:
        send()
    except StoreUnavailable as full:
        print(full.code)
assert store.held("sealed/a/b/0.cob", upload, 1) is None
assert [path for path in root.rglob("*") if path.is_file()] == [filler]
filler.unlink()
send()
store.complete("sealed/a/b/0.cob", upload, [Part(1, len(data), sha256)])
print(store.read("sealed/a/b/0.cob") == data)
# Full while two parts are joined, then while what opens an envelope is written beside them.
store.delete("sealed/a/b/0.cob")
half, parts = len(data) // 2, []
upload = store.begin("sealed/a/b/1.cob")
for number in (1, 2):
    block = data[(number - 1) * half : number * half]
    part = Part(number, half, hashlib.sha256(block).hexdigest())
    store.put_part("sealed/a/b/1.cob", upload, number, io.BytesIO(block), size=half, part_bytes=half,
                   sha256=part.sha256)
    parts.append(part)
try:
    store.complete("sealed/a/b/1.cob", upload, parts)
except StoreUnavailable as full:
    print(full.code)
assert not store.exists("sealed/a/b/1.cob")
assert [store.held("sealed/a/b/1.cob", upload, number) for number in (1, 2)] == [half, half]
filler.write_bytes(bytes(os.statvfs(root).f_bavail * os.statvfs(root).f_bsize))
try:
    store.put("sealed/a/b/header.json", bytes(8192))
except StoreUnavailable as full:
    print(full.code)
assert not store.exists("sealed/a/b/header.json")
filler.unlink()
# The operator gives a larger disk.
os.system(f"mount -o remount,size=8m {root}")
store.complete("sealed/a/b/1.cob", upload, parts)
store.put("sealed/a/b/header.json", bytes(8192))
print(store.read("sealed/a/b/1.cob") == data, store.size("sealed/a/b/header.json") == 8192)
"""


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    alone = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=4m none {disk}"
    if shutil.which("unshare") is None or subprocess.run([*alone, "sh", "-c", mount], check=False).returncode:
        absent("Disque plein : pas le droit de monter un petit tmpfs (unshare)")
    run = f'{mount} && exec "$0" -c "$1" {disk}'
    done = subprocess.run(
        [*alone, "sh", "-c", run, sys.executable, _FILL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        *["storage.unavailable"] * 2,
        "True",
        *["storage.unavailable"] * 2,
        "True",
        "True",
    ]
