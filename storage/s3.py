"""Objects in S3 (Ceph RGW and others) through boto3, with the checksums that break RGW over TLS switched off.

Clients send their parts themselves, to addresses signed for the SHA-256 and the size of these very bytes
(AWS Signature Version 4, `x-amz-content-sha256`): the store refuses any other body.
"""

import base64
import hashlib
import io
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, cast
from urllib.parse import quote, urlencode

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody

from storage.breaker import Breaker
from storage.errors import ObjectMissing, ObjectTooLarge, PartTruncated, StoreUnavailable, advice
from storage.objects import BLOCK_BYTES, Part, StoredObject, Target, Upload, check_key, verified
from storage.presigning import KnownPayload
from storage.versions import locked_versions

_STREAM_PART_BYTES = 8 * 1024**2
# Seconds of silence after which a store is taken for absent. What moves or joins bytes may take its time; all
# else is an entry of its index: a thread is held half a minute at most by a store that hangs.
_PATIENCE, _QUICK = 60, 10
_LONG = {"put_object", "upload_part", "complete_multipart_upload", "get_object"}
_READS = 4  # times that one reading is taken up where it was cut
_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
LOCKED = "sealed/"  # keys of the deposits' own bucket


class S3Store:
    """A bucket, and another one, locked, for deposits. Content-MD5 binds each body that passes here.

    `public` is the origin that clients reach, the endpoint itself unless said; `direct` is false where they
    reach none; `sse` asks for encryption at rest of all but sealed objects: "AES256" or a KMS key. Timeouts,
    retries with jitter and a circuit breaker on every call.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        deposits: str = "",
        public: str = "",
        direct: bool = True,
        ca: str = "",
        sse: str = "",
    ) -> None:
        self.sse, self.ca = sse, ca
        self.bucket, self.deposits = bucket, deposits or bucket
        self.direct = (public or endpoint).rstrip("/") if direct else ""
        self._credentials, self._region = Credentials(access_key, secret_key), region
        self._breaker = Breaker()
        self._client, self._quick = (
            boto3.client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                region_name=region,
                verify=ca or None,
                config=Config(
                    signature_version="s3v4",
                    connect_timeout=5,
                    read_timeout=seconds,
                    retries={"total_max_attempts": 3, "mode": "standard"},
                    s3={"addressing_style": "path"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
            for seconds in (_PATIENCE, _QUICK)
        )

    def bucket_of(self, key: str) -> str:
        """The bucket of a key: sealed objects have their own."""
        return self.deposits if key.startswith(LOCKED) else self.bucket

    def call(self, operation: str, *, bucket: str, **arguments: object) -> dict[str, object]:
        """One operation of boto3 on a bucket. Raises ObjectMissing, StoreUnavailable."""
        self._breaker.check()
        client = self._client if operation in _LONG else self._quick
        try:
            result: dict[str, object] = getattr(client, operation)(Bucket=bucket, **arguments)
        except ClientError as refused:
            status = refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            (self._breaker.failed if status >= 500 else self._breaker.succeeded)()
            code = str(refused.response.get("Error", {}).get("Code", ""))
            if code in _MISSING:
                raise ObjectMissing("Cet objet n'existe pas.") from refused
            raise StoreUnavailable(
                f"Le stockage a refusé {operation} ({bucket}, {code}).{advice(code)}"
            ) from refused
        except BotoCoreError as failed:
            self._breaker.failed()
            raise StoreUnavailable(f"Le stockage ne répond pas ({operation}).") from failed
        self._breaker.succeeded()
        return result

    def _call(self, operation: str, *, Key: str, **arguments: object) -> dict[str, object]:
        return self.call(operation, bucket=self.bucket_of(Key), Key=check_key(Key), **arguments)

    def _read(self, operation: str, *, Key: str, **arguments: object) -> dict[str, object]:
        """Of a locked object that was deleted: the first version that its lock keeps, unless one is named.

        Raises ObjectMissing, StoreUnavailable.
        """
        try:
            return self._call(operation, Key=Key, **arguments)
        except ObjectMissing:
            if "VersionId" in arguments or self.deposits == self.bucket or not Key.startswith(LOCKED):
                raise
            kept = next(locked_versions(self, Key), None)
            if kept is None:
                raise
        return self._call(operation, Key=Key, VersionId=kept, **arguments)

    @staticmethod
    def _md5(data: bytes) -> str:
        return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

    def put(self, key: str, data: bytes) -> None:
        self._call("put_object", Key=key, Body=data, ContentMD5=self._md5(data), **self._encryption(key))

    def _encryption(self, key: str) -> dict[str, object]:
        """What asks the store to encrypt an object at rest; sealed ones are ciphertext already."""
        if not self.sse or key.startswith(LOCKED):
            return {}
        if self.sse == "AES256":
            return {"ServerSideEncryption": "AES256"}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.sse}

    def encrypted(self, key: str) -> str:
        """How an object is encrypted at rest, as its own head says; the empty string when it is not."""
        return str(self._call("head_object", Key=key).get("ServerSideEncryption") or "")

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
        written = StoredObject(size, digest.hexdigest())
        if not (
            self._is_joined(key, [str(part["ETag"]) for part in done], size) or self._reads(key, written)
        ):
            raise StoreUnavailable("Le stockage n'a pas gardé ce qu'il a reçu.")
        return written

    def _reads(self, key: str, written: StoredObject) -> bool:
        """Whether the object, read again, is what was written."""
        digest = hashlib.sha256()
        try:
            for block in self.open(key):
                digest.update(block)
        except ObjectMissing:
            return False
        return digest.hexdigest() == written.sha256

    def _is_joined(self, key: str, etags: Sequence[str], total: int) -> bool:
        """Whether the store's own checksum says that the object is these parts, in this order.

        The ETag of a joined object is the MD5 of its parts' MD5; a store that computes another one, as with
        a KMS, is not believed here, and its bytes are read. Raises StoreUnavailable.
        """
        try:
            said = self._call("head_object", Key=key)
            md5 = hashlib.md5(b"".join(bytes.fromhex(tag.strip('"')) for tag in etags), usedforsecurity=False)
        except (ObjectMissing, ValueError):
            return False
        joined = f"{md5.hexdigest()}-{len(etags)}"
        return said.get("ContentLength") == total and str(said.get("ETag")).strip('"') == joined

    def open(
        self, key: str, start: int = 0, length: int | None = None, *, version: str = ""
    ) -> Iterator[bytes]:
        if length == 0:
            return iter(())
        end, of = "" if length is None else str(start + length - 1), {"VersionId": version} if version else {}
        extra = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        return self._blocks(key, self._read("get_object", Key=key, **of, **extra), start, end, of)

    def _blocks(
        self, key: str, answer: dict[str, object], start: int, end: str, of: dict[str, str]
    ) -> Iterator[bytes]:
        """A reading that is cut is taken up where it stopped, as long as the object is the same."""
        left, tries = int(str(answer["ContentLength"])), _READS
        while True:
            body, before = cast(StreamingBody, answer["Body"]), left
            try:
                for block in body.iter_chunks(BLOCK_BYTES):
                    left -= len(block)
                    start += len(block)
                    yield block
            except (BotoCoreError, OSError) as cut:  # its own reading errors, and the socket's
                if not tries and left == before:
                    raise StoreUnavailable("Le stockage a coupé la lecture.") from cut
            finally:
                body.close()
            if left <= 0:
                return
            tries = _READS if left < before else tries
            if not tries:
                raise StoreUnavailable("Le stockage a coupé la lecture.")
            time.sleep(random.uniform(0, 0.2 * 2 ** (_READS - tries)))  # noqa: S311  (jitter)
            tries -= 1
            rest = {"Range": f"bytes={start}-{end}", "IfMatch": answer["ETag"], **of}
            answer = self._read("get_object", Key=key, **rest)

    def read(self, key: str, *, max_bytes: int = 64 * 1024**2) -> bytes:
        if self.size(key) > max_bytes:
            raise ObjectTooLarge("Cet objet est trop long pour être lu d'un bloc.")
        return b"".join(self.open(key))

    def size(self, key: str) -> int:
        return int(str(self._read("head_object", Key=key)["ContentLength"]))

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        start = check_key(prefix.rstrip("/")) + "/"
        yield from self._keys(self.bucket_of(start), start)

    def every(self) -> Iterator[str]:
        for bucket in dict.fromkeys([self.bucket, self.deposits]):
            for key in self._keys(bucket, ""):
                yield key if self.bucket_of(key) == bucket else f"{bucket}/{key}"

    def _keys(self, bucket: str, start: str) -> Iterator[str]:
        token: dict[str, object] = {}
        while True:
            answer = self.call("list_objects_v2", bucket=bucket, Prefix=start, **token)
            contents = answer.get("Contents", [])
            if isinstance(contents, list):
                yield from (row["Key"] for row in contents)
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=key)

    def begin(self, key: str) -> str:
        return str(self._call("create_multipart_upload", Key=key, **self._encryption(key))["UploadId"])

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
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=self._md5(body),
        )

    def target(self, key: str, upload_id: str, number: int, *, size: int, sha256: str) -> Target:
        """The signed request that a client makes itself, within a quarter of an hour."""
        query = urlencode({"partNumber": number, "uploadId": upload_id})
        url = f"{self.direct}/{self.bucket_of(key)}/{quote(check_key(key))}?{query}"
        request = AWSRequest("PUT", url, headers={"Content-Length": str(size)})
        KnownPayload(self._credentials, self._region, sha256).add_auth(request)
        # A browser says the length itself, and it is signed: no header may be added to these.
        headers = {name: value for name, value in request.headers.items() if name != "Content-Length"}
        return Target(url, headers)

    def held(self, key: str, upload_id: str, number: int) -> int | None:
        """Bytes of a part that is there, or None."""
        found: dict[str, object] = {"PartNumberMarker": number - 1, "MaxParts": 1}
        rows = self._call("list_parts", Key=key, UploadId=upload_id, **found).get("Parts", [])
        first = rows[0] if isinstance(rows, list) and rows else {}
        return int(first["Size"]) if first.get("PartNumber") == number else None

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Complete the upload; does nothing when that was done before, whose bytes are then read again.

        The store is asked what it has: its word that it is done is not enough. Each part's SHA-256 was in the
        signature that it checked; its checksum of the whole, or else the bytes read again, says that the
        object is these parts. Raises PartTruncated.
        """
        try:
            etags = self._complete(key, upload_id, parts)
        except (ObjectMissing, StoreUnavailable):
            if not self._is_made_of(key, parts):
                raise
            return
        total = sum(part.size for part in parts)
        if not (self._is_joined(key, etags, total) or self._is_made_of(key, parts)):
            raise PartTruncated("Le stockage dit avoir gardé un objet qu'il n'a pas.")

    def _is_made_of(self, key: str, parts: Sequence[Part]) -> bool:
        """Whether this object is these parts, by their digests."""
        if not self.exists(key) or self.size(key) != sum(part.size for part in parts):
            return False
        start = 0
        for part in parts:
            digest = hashlib.sha256()
            for block in self.open(key, start, part.size):
                digest.update(block)
            if digest.hexdigest() != part.sha256:
                return False
            start += part.size
        return True

    def _complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> tuple[str, ...]:
        """The ETags of the parts that the store was asked to join."""
        listed: dict[int, str] = {}
        marker: dict[str, object] = {}
        while True:
            answer = self._call("list_parts", Key=key, UploadId=upload_id, **marker)
            rows = answer.get("Parts", [])
            if isinstance(rows, list):
                listed.update({row["PartNumber"]: row["ETag"] for row in rows})
            if not answer.get("IsTruncated"):
                break
            marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}
        if any(part.number not in listed for part in parts):
            raise PartTruncated("Une partie manque dans le stockage.")
        joined = {"Parts": [{"PartNumber": part.number, "ETag": listed[part.number]} for part in parts]}
        self._call("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload=joined)
        return tuple(listed[part.number] for part in parts)

    def abort(self, key: str, upload_id: str) -> None:
        try:
            self._call("abort_multipart_upload", Key=key, UploadId=upload_id)
        except ObjectMissing:
            return

    def uploads(self) -> Iterator[Upload]:
        """Of both buckets: a writer that was killed leaves its own, until the store's lifecycle aborts it."""
        for bucket in dict.fromkeys([self.bucket, self.deposits]):
            marker: dict[str, object] = {}
            while True:
                answer = self.call("list_multipart_uploads", bucket=bucket, **marker)
                rows = answer.get("Uploads", [])
                for row in rows if isinstance(rows, list) else []:
                    yield Upload(row["Key"], row["UploadId"], row["Initiated"])
                if not answer.get("IsTruncated"):
                    break
                marker = {name: answer[f"Next{name}"] for name in ("KeyMarker", "UploadIdMarker")}
