"""Objects in S3 (Ceph RGW and others) through boto3, with the checksums that break RGW over TLS switched
off."""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import ObjectMissing, ObjectTooLarge, PartTruncated, StoreUnavailable
from storage.objects import BLOCK_BYTES, Part, StoredObject, check_key, verified

_STREAM_PART_BYTES = 8 * 1024**2
_MISSING = {"404", "NoSuchKey", "NotFound"}


class S3Store:
    """One bucket. Content-MD5 binds each body; timeouts and retries on every call."""

    def __init__(
        self, *, endpoint: str, bucket: str, access_key: str, secret_key: str, region: str = "us-east-1"
    ) -> None:
        self._bucket = bucket
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=region,
            config=Config(
                signature_version="s3v4",
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": 4, "mode": "standard"},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _call(self, operation: str, **arguments: object) -> dict[str, object]:
        try:
            result: dict[str, object] = getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except ClientError as refused:
            if refused.response.get("Error", {}).get("Code") in _MISSING:
                raise ObjectMissing("Cet objet n'existe pas.") from refused
            raise StoreUnavailable(f"Le stockage a refusé {operation}.") from refused
        except BotoCoreError as failed:
            raise StoreUnavailable(f"Le stockage ne répond pas ({operation}).") from failed
        return result

    def create_bucket(self) -> None:
        """Create the bucket if it is absent."""
        try:
            self._call("head_bucket")
        except (ObjectMissing, StoreUnavailable):
            self._call("create_bucket")

    @staticmethod
    def _md5(data: bytes) -> str:
        return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

    def put(self, key: str, data: bytes) -> None:
        self._call("put_object", Key=check_key(key), Body=data, ContentMD5=self._md5(data))

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Multipart in parts of 8 MiB; aborted when the stream raises."""
        digest, size, number, buffer = hashlib.sha256(), 0, 0, bytearray()
        upload_id = self.begin(key)
        done: list[dict[str, object]] = []

        def flush() -> None:
            nonlocal number
            number += 1
            body = bytes(buffer)
            answer = self._call(
                "upload_part",
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                ContentMD5=self._md5(body),
            )
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
            buffer.clear()

        finished = False
        try:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                buffer += chunk
                if len(buffer) >= _STREAM_PART_BYTES:
                    flush()
            if buffer or not done:
                flush()
            self._call(
                "complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": done}
            )
            finished = True
        finally:
            if not finished:
                self.abort(key, upload_id)
        return StoredObject(size, digest.hexdigest())

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            return iter(())
        extra: dict[str, object] = {}
        if start or length is not None:
            extra["Range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        body = self._call("get_object", Key=check_key(key), **extra)["Body"]
        return self._blocks(body)

    @staticmethod
    def _blocks(body: object) -> Iterator[bytes]:
        try:
            yield from body.iter_chunks(BLOCK_BYTES)  # type: ignore[attr-defined]
        except BotoCoreError as cut:
            raise StoreUnavailable("Le stockage a coupé la lecture.") from cut
        finally:
            body.close()  # type: ignore[attr-defined]

    def read(self, key: str, *, max_bytes: int = 64 * 1024**2) -> bytes:
        if self.size(key) > max_bytes:
            raise ObjectTooLarge("Cet objet est trop long pour être lu d'un bloc.")
        return b"".join(self.open(key))

    def size(self, key: str) -> int:
        return int(str(self._call("head_object", Key=check_key(key))["ContentLength"]))

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        token: dict[str, object] = {}
        while True:
            answer = self._call("list_objects_v2", Prefix=check_key(prefix.rstrip("/")) + "/", **token)
            contents = answer.get("Contents", [])
            if isinstance(contents, list):
                yield from (row["Key"] for row in contents)
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=check_key(key))

    def begin(self, key: str) -> str:
        return str(self._call("create_multipart_upload", Key=check_key(key))["UploadId"])

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        stream: BinaryIO,
        *,
        size: int,
        part_bytes: int,
        sha256: str,
    ) -> None:
        """One part, verified before it leaves for the store: at most `part_bytes` are held in memory."""
        body = io.BytesIO(b"".join(verified(stream, size=size, sha256=sha256))).getvalue()
        self._call(
            "upload_part",
            Key=check_key(key),
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=self._md5(body),
        )

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Complete the upload; does nothing when that was done before, by anybody."""
        try:
            self._complete(key, upload_id, parts)
        except (ObjectMissing, StoreUnavailable):
            if not (self.exists(key) and self.size(key) == sum(part.size for part in parts)):
                raise

    def _complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        listed: dict[int, object] = {}
        marker: dict[str, object] = {}
        while True:
            answer = self._call("list_parts", Key=check_key(key), UploadId=upload_id, **marker)
            rows = answer.get("Parts", [])
            if isinstance(rows, list):
                listed.update({row["PartNumber"]: row["ETag"] for row in rows})
            if not answer.get("IsTruncated"):
                break
            marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}
        if any(part.number not in listed for part in parts):
            raise PartTruncated("Une partie manque dans le stockage.")
        wanted = [{"PartNumber": part.number, "ETag": listed[part.number]} for part in parts]
        self._call(
            "complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": wanted}
        )

    def abort(self, key: str, upload_id: str) -> None:
        try:
            self._call("abort_multipart_upload", Key=check_key(key), UploadId=upload_id)
        except ObjectMissing:
            return
