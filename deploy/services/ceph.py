"""S3 by Ceph RGW: one monitor, one OSD in memory or on a file, one gateway; no manager."""

import subprocess
import uuid

from deploy.services.process import Service, free_ports, listening

_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
# Without keyrings, the default secure mode makes the gateway wait a minute for nothing.
ms mon client mode = crc
ms client mode = crc
ms cluster mode = crc
ms service mode = crc
# Who meets a service that was killed asks again at once.
ms max backoff = 0.5
objecter tick interval = 0.5
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
mon cluster log file = {folder}/log/cluster.log
crash dir = {folder}/log
pid file =
log to stderr = false
err to stderr = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 1
[mon]
mon data = {folder}/mon
mon initial members = a
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd data = {folder}/osd
osd objectstore = {objects}
osd uuid = {osd}
memstore device bytes = 8G
bluestore block size = 20G
bluestore block create = true
bluestore cache autotune = false
bluestore cache size = 64M
osd mclock force run benchmark on init = false
osd op num shards = 2
osd memory target = 1G
osd class load list = *
osd class default list = *
osd crush initial weight = 1
# An OSD that comes back waits for the leases of its former life: a second instead of sixteen.
osd pool default read lease ratio = 0.05
[client.rgw]
rgw data = {folder}/rgw
# Without it each answer that has a body waits 40 ms for an acknowledgement.
rgw frontends = beast {listen} tcp_nodelay=1
rgw dns name = localhost
rgw thread pool size = 32
rgw num rados handles = 1
# A gateway killed while it joins the parts of an object leaves its lock: ten minutes unless said.
rgw mp lock max time = 10
# Encryption at rest by a key manager that is only for tests, over plain HTTP.
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = essai=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
"""


class Ceph(Service):
    """`url` is a store of the platform's settings; the bucket `dematmp` exists."""

    name = "S3 (Ceph RGW)"
    programs = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
    packages = ("ceph-mon", "ceph-osd", "radosgw", "ceph-common")
    patience = 0.2  # everything is in memory: nothing to save
    key, secret, bucket = "testkey", "testsecret", "dematmp"

    def __init__(self, *, tls: bool = False, durable: bool = False, day: int = 0) -> None:
        """`durable` keeps the objects in a (sparse) file, for tests that kill it; `day` is the seconds that
        one of a lifecycle lasts, for tests that wait for it."""
        super().__init__()
        self.port, self.tls, self.durable, self.day = 0, tls, durable, day

    def _start(self) -> None:
        for name in ("mon", "osd", "rgw", "log", "run"):
            (self.folder / name).mkdir()
        self.port, mon = free_ports(2)
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        objects = "bluestore" if self.durable else "memstore"
        conf = _CONF.format(
            folder=self.folder, fsid=fsid, osd=osd, mon=mon, listen=self._listen(), objects=objects
        )
        if self.day:
            conf += f"rgw lc debug interval = {self.day}\n"
        (self.folder / "ceph.conf").write_text(conf)
        self.own()
        known = ("-c", str(self.folder / "ceph.conf"))
        monmap = str(self.folder / "monmap")
        address = f"v2:127.0.0.1:{mon}"
        self.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[{address}]", monmap)
        self.run("ceph-mon", *known, "--mkfs", "-i", "a", "--monmap", monmap)
        self.spawn("ceph-mon", *known, "-i", "a", "-f", "--public-addr", address)
        self.run("ceph", *known, "--connect-timeout", "20", "osd", "new", osd)
        self.run("ceph-osd", *known, "-i", "0", "--mkfs")
        self.spawn("ceph-osd", *known, "-i", "0", "-f")
        self.spawn("radosgw", *known, "-n", "client.rgw", "-f", "--no-mon-config")
        self.wait(lambda: listening(self.port), seconds=90)
        user = ("user", "create", "--uid", "test", "--display-name", "test")
        keys = ("--access-key", self.key, "--secret-key", self.secret)
        self.run("radosgw-admin", *known, "-n", "client.rgw", "--no-mon-config", *user, *keys)
        self.create_bucket(self.bucket)
        self.url = self.store_url(self.bucket)

    @property
    def ca(self) -> str:
        """The PEM file that its certificate is verified with: its own."""
        return str(self.folder / "tls.pem") if self.tls else ""

    def _listen(self) -> str:
        if not self.tls:
            return f"endpoint=127.0.0.1:{self.port}"
        key = str(self.folder / "tls.key")
        made = (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            key,
            "-out",
            self.ca,
        )
        named = ("-subj", "/CN=rgw", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
        subprocess.run(["openssl", "req", "-x509", *made, *named], check=True, capture_output=True)
        return f"ssl_endpoint=127.0.0.1:{self.port} ssl_certificate={self.ca} ssl_private_key={key}"

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def store_url(self, bucket: str) -> str:
        """The value of DEMATMP_OBJECT_STORE for one bucket."""
        tls = f"?tls=1&ca={self.ca}" if self.tls else "?tls=0"
        return f"s3://{self.key}:{self.secret}@127.0.0.1:{self.port}/{bucket}{tls}"

    def create_bucket(self, name: str) -> None:
        """A new empty bucket."""
        import boto3

        access = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret}
        client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", verify=self.ca or None, **access
        )
        client.create_bucket(Bucket=name)
