"""Downloads: never shown by the browser, resumed after a cut, counted once."""

import io
import os
import zipfile

import pytest
from django.test import Client
from django.urls import reverse

from dematmp.consultations.models import Consultation, DocumentVersion, Withdrawal
from dematmp.web.downloads import parse_range
from tests.world import World


@pytest.fixture
def piece(world: World) -> DocumentVersion:
    consultation = world.publish()
    found = DocumentVersion.objects.filter(document__consultation=consultation).order_by("pk").first()
    assert found is not None
    return found


def address(piece: DocumentVersion) -> str:
    consultation: Consultation = piece.document.consultation
    return reverse("piece", args=[consultation.uuid, piece.uuid])


def body(response: object) -> bytes:
    return b"".join(response.streaming_content)  # type: ignore[attr-defined]


def test_a_file_is_saved_and_never_run(client: Client, piece: DocumentVersion) -> None:
    response = client.get(address(piece))
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Accept-Ranges"] == "bytes"


def test_a_cut_download_goes_on_and_counts_once(client: Client, piece: DocumentVersion) -> None:
    whole = body(client.get(address(piece)))
    rest = client.get(address(piece), headers={"Range": "bytes=5-", "If-Range": f'"{piece.sha256}"'})
    assert rest.status_code == 206
    assert rest["Content-Range"] == f"bytes 5-{len(whole) - 1}/{len(whole)}"
    assert rest["Content-Length"] == str(len(whole) - 5)
    assert body(rest) == whole[5:]
    assert Withdrawal.objects.filter(version=piece).count() == 1


def test_what_changed_meanwhile_is_given_whole(client: Client, piece: DocumentVersion) -> None:
    response = client.get(address(piece), headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert response.status_code == 200
    assert len(body(response)) == piece.size


def test_a_range_past_the_end_is_refused(client: Client, piece: DocumentVersion) -> None:
    response = client.get(address(piece), headers={"Range": f"bytes={piece.size}-"})
    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{piece.size}"


def test_the_whole_file_says_its_length_and_goes_on_after_a_cut(client: Client, world: World) -> None:
    made = world.draft()
    world.piece(made, "plans.bin", os.urandom(3_000_000))
    world.piece(made, "RC.pdf", b"%PDF-1.7 un autre du meme nom")
    world.publish(made)
    DocumentVersion.objects.filter(name="plans.bin").update(crc32=None)  # received by a former version
    where = reverse("whole-file", args=[made.uuid])
    told = client.head(where)
    whole = client.get(where)
    data, etag = body(whole), whole["ETag"]
    assert whole["Content-Length"] == told["Content-Length"] == str(len(data))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3
        assert {"RC.pdf", "plans.bin"} < set(archive.namelist())
    assert DocumentVersion.objects.get(name="plans.bin").crc32 is not None
    for start in (1, 40, 2_000_000, len(data) - 10):
        rest = client.get(where, headers={"Range": f"bytes={start}-", "If-Range": etag})
        assert (rest.status_code, body(rest)) == (206, data[start:])
    assert Withdrawal.objects.filter(version=None).count() == 1
    world.piece(made, "annexe.txt", b"annexe")
    again = client.get(where, headers={"Range": "bytes=40-", "If-Range": etag})
    assert (again.status_code, again["ETag"] == etag) == (200, False)
    with zipfile.ZipFile(io.BytesIO(body(again))) as archive:
        assert "annexe.txt" in archive.namelist()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=2-4", range(2, 5)),
        ("bytes=2-", range(2, 10)),
        ("bytes=2-99", range(2, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
        ("bytes=-0", range(0)),
        ("bytes=10-", range(0)),
        ("", None),
        ("bytes=-", None),
        ("bytes=4-2", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 40 + "-", None),
        ("bytes=٣-", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str, expected: range | None) -> None:
    found = parse_range(header, 10)
    assert (found is None) == (expected is None)
    assert list(found or ()) == list(expected or ())
