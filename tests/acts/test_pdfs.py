"""PDFs as people and programs make them: what every reader opens is taken, and stamped once acknowledged."""

import io
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pypdf import PdfReader, PdfWriter

from dematmp.acts import pdfs, stamp
from dematmp.acts.checking import check
from dematmp.acts.models import Transaction
from dematmp.acts.tasks import sweep_service
from deploy.services.process import Service
from tests.acts.service import Caller, posted, state
from tests.conftest import absent

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ROWS = ["Envoyé en préfecture le 27/11/2026", "ID : 034-123456789-20261127-2026_1-DE"]


def written(
    *, table: bool = True, at: int | None = None, shift: int = 0, end: bool = True, before: bytes = b""
) -> bytes:
    """A PDF of one page as somebody writes it by hand; `at`: its startxref, `shift`: the error of offsets."""
    text = b"BT /F1 12 Tf (bonjour) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<<>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(text), text),
    ]
    out, places = before + b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(out) + shift - len(before))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    trailer = b"trailer<</Root 1 0 R/Size 5>>\n"
    if table:
        start = len(out) - len(before) if at is None else at
        out += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % each for each in places)
        trailer += b"startxref\n%d\n" % start
    return out + trailer + (b"%%EOF" if end else b"")


def blank(*, user: str | None = None, owner: str = "") -> bytes:
    """A page without contents; `user` and `owner` are the passwords of a file that has some."""
    out, writer = io.BytesIO(), PdfWriter()
    writer.add_blank_page(595, 842)
    if user is not None:
        writer.encrypt(user, owner, algorithm="AES-128")
    writer.write(out)
    return out.getvalue()


OPENED = {
    "by hand": written(),
    "without a table": written(table=False),
    "startxref 0": written(at=0),
    "wrong offsets": written(shift=2),
    "without an end": written(end=False),
    "without a table nor an end": written(table=False, end=False),
    "a byte order mark": written(before=b"\xef\xbb\xbf"),
    "empty lines": written(before=b"\n\n"),
    "wrong length": written().replace(b"/Length 28", b"/Length 27"),
    "a blank page": blank(),
}
REFUSED = {
    "cut": written()[:120],
    "no object": b"%PDF-1.4\nbonjour",
    "no page": written().replace(b"/Kids[3 0 R]/Count 1", b"/Kids[     ]/Count 0"),
}


def judged(path: Path, data: bytes) -> pdfs.PdfVerdict:
    path.write_bytes(data)
    (found,) = pdfs.judge_isolated([path], at=NOW, trust=[], chain=False)
    return found


def readers_open(path: Path, data: bytes) -> bool:
    program = Service.find("pdfinfo")
    if program is None:
        absent("poppler : il manque pdfinfo (paquet Debian : poppler-utils)")
    path.write_bytes(data)
    return subprocess.run([str(program), str(path)], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("case", OPENED)
def test_what_readers_open_is_taken_and_stamped(tmp_path: Path, case: str) -> None:
    data, path = OPENED[case], tmp_path / "a.pdf"
    assert readers_open(path, data)
    assert judged(path, data) == pdfs.PdfVerdict(1, 0, "")
    made = stamp.drawn(data, ROWS)
    assert made != data
    (page,) = PdfReader(io.BytesIO(made)).pages
    assert ROWS[1] in page.extract_text()


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_reader_opens_is_refused(tmp_path: Path, case: str) -> None:
    data, path = REFUSED[case], tmp_path / "a.pdf"
    assert not readers_open(path, data)
    assert judged(path, data).problem.startswith("fichier pdf corrompu")
    assert stamp.drawn(data, ROWS) == data


def test_a_lock_that_no_password_needs_is_not_one(tmp_path: Path) -> None:
    """Readers open it: it is an act. It is not written again, so it bears no stamp."""
    path, locked = tmp_path / "a.pdf", blank(user="", owner="secret")
    assert readers_open(path, locked)
    assert judged(path, locked).problem == ""
    assert stamp.drawn(locked, ROWS) == locked
    secret = blank(user="secret", owner="autre")
    assert not readers_open(path, secret)
    assert judged(path, secret).problem == "fichier pdf protégé par un mot de passe"


def test_a_mended_file_that_signs_is_refused(tmp_path: Path) -> None:
    """What its signature covers cannot be told any more: it never passes for a file that nobody signed."""
    data = written(table=False).replace(b"/Type/Catalog", b"/Type/Catalog/X<</ByteRange[0 1 2 3]>>")
    assert "signature" in judged(tmp_path / "a.pdf", data).problem
    assert stamp.drawn(data, ROWS) == data


@pytest.mark.parametrize("filling", [b"\n", b"\0", b"% rien\n"])
def test_padding_costs_no_more_than_its_reading(tmp_path: Path, filling: bytes) -> None:
    begun = time.process_time()
    path = tmp_path / "a.pdf"
    path.write_bytes(written() + filling * (8 * 1024**2 // len(filling)))
    assert pdfs.judge(path, at=NOW, trust=[], chain=False) == pdfs.PdfVerdict(1, 0, "")
    assert ROWS[1].encode() in stamp.drawn(path.read_bytes(), ROWS)
    assert time.process_time() - begun < 0.8


def test_what_one_worker_checks_no_other_does_until_its_claim_expires(lea: Caller) -> None:
    pk, now = posted(lea), timezone.now()
    Transaction.objects.filter(pk=pk).update(due_at=now + timedelta(seconds=300))
    sweep_service()
    check(pk, now=now)
    assert state(lea, pk)[0] == 1
    check(pk, now=now + timedelta(seconds=301))
    found = Transaction.objects.get(pk=pk)
    assert (found.status, found.due_at) == (2, None)


def test_a_file_that_is_not_judged_in_time_is_judged_again_before_it_is_refused(
    lea: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, sound = posted(lea, "LENT"), posted(lea, "SAIN")
    monkeypatch.setattr(pdfs, "WALL_LIMIT", 0.0)
    for _ in range(2):
        check(slow, now=timezone.now())
        check(sound, now=timezone.now())
        assert (state(lea, slow)[0], state(lea, sound)[0]) == (1, 1)
    check(slow, now=timezone.now())
    assert state(lea, slow)[0] == -1
    monkeypatch.undo()
    check(sound, now=timezone.now())
    assert Transaction.objects.values_list("status", "tries", "problem").get(pk=sound) == (2, 0, "")


def _page(attributes: bytes) -> bytes:
    return written().replace(b"/MediaBox[0 0 595 842]", attributes)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        (b"/MediaBox[0 0 595 842]", (595, 842)),
        (b"/MediaBox[0 0 1000 1200]/CropBox[100 100 695 942]", (595, 842)),
        (b"/MediaBox[595 842 0 0]", (595, 842)),
        (b"/MediaBox[0 0 595 842]/CropBox[-50 -50 700 900]", (595, 842)),
        (b"/MediaBox[0 0 595 842]/Rotate 90", (842, 595)),
        (b"/MediaBox[0 0 595 842]/Rotate 180", (595, 842)),
        (b"/MediaBox[0 0 595 842]/Rotate -90", (842, 595)),
        (b"/MediaBox[0 0 1000 1200]/CropBox[100 100 695 942]/Rotate 270", (842, 595)),
    ],
)
def test_the_stamp_is_seen_upright_at_the_top_left(
    tmp_path: Path, attributes: bytes, size: tuple[int, int]
) -> None:
    program = Service.find("pdftoppm")
    if program is None:
        absent("poppler : il manque pdftoppm (paquet Debian : poppler-utils)")
    made, path = stamp.drawn(_page(attributes), ROWS), tmp_path / "a.pdf"
    path.write_bytes(made)
    shown = [str(program), "-cropbox", "-r", "72", "-gray", "-singlefile", str(path), str(tmp_path / "a")]
    subprocess.run(shown, check=True, capture_output=True)
    head, pixels = (tmp_path / "a.pgm").read_bytes().split(b"\n255\n", 1)
    assert head.split()[1:] == [b"%d" % each for each in size]
    dark = [divmod(at, size[0]) for at, value in enumerate(pixels) if value < 200]
    box = [(row, column) for row, column in dark if row <= 70 and column <= 205]
    # The frame: ten points from the corner, 190 wide and 55 high, and nothing of it elsewhere.
    assert (min(row for row, _ in box), min(column for _, column in box)) in {
        (9, 9),
        (9, 10),
        (10, 9),
        (10, 10),
    }
    assert max(column for _, column in box) - min(column for _, column in box) in (189, 190, 191)
    assert max(row for row, _ in box) - min(row for row, _ in box) in (54, 55, 56)
    # Its lines are written from the left, the first one at the top: it is not upside down.
    assert sum(1 for row, _ in box if 12 < row < 40) > 3 * sum(1 for row, _ in box if 40 <= row < 64)
