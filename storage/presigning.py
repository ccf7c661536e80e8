"""A request that somebody else sends: signed by us for the very bytes of its body."""

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class KnownPayload(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """A signature over a body that somebody else will send."""

    def __init__(self, credentials: Credentials, region: str, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:
        return self._sha256
