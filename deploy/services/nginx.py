"""nginx in front of the application, by the conf of deploy/nginx: TLS, client certificates, revocation."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.services.pki import Held, TestAuthority
from deploy.services.process import Service, free_ports, listening

_SHIPPED = Path(__file__).resolve().parents[1] / "nginx"
_AROUND = """
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/log/error.log warn; daemon off;
events {{ worker_connections 512; }}
http {{
  access_log off; server_tokens off; sendfile on;
  client_body_temp_path {folder}/tmp/b; proxy_temp_path {folder}/tmp/p; fastcgi_temp_path {folder}/tmp/f;
  uwsgi_temp_path {folder}/tmp/u; scgi_temp_path {folder}/tmp/s;
  {server}
}}
"""


class Nginx(Service):
    """In front of `application` (an http address), for clients of a test authority."""

    name = "nginx"
    programs = ("nginx",)
    packages = ("nginx-light",)

    def __init__(
        self,
        application: str = "http://127.0.0.1:9",
        pki: TestAuthority | None = None,
        *,
        secret: str = "essai",
        conf: str = "actes.conf.in",
        between: Sequence[TestAuthority] = (),
    ) -> None:
        """`conf` is one of those of deploy/nginx: the transmission service's, or `site.conf.in`.

        `between` are the intermediate authorities that clients do not send.
        """
        super().__init__()
        self._conf = conf
        self._application, self._pki, self._secret, self._between = application, pki, secret, between

    def _start(self) -> None:
        for name in ("log", "tmp", "pki"):
            (self.folder / name).mkdir()
        pki = self._pki or TestAuthority(self.folder / "pki")
        server = self._here(pki.server())
        clients, crl = self.folder / "pki" / "clients.pem", self.folder / "pki" / "clients.crl"
        known = (pki, *self._between)
        clients.write_bytes(b"".join(each.held.pem.read_bytes() for each in known))
        crl.write_bytes(b"".join(each.crl.read_bytes() for each in known))
        (port,) = free_ports(1)
        values = {
            "@LISTEN@": f"127.0.0.1:{port}",
            "@HOST@": "localhost",
            "@CERTIFICATE@": server[0],
            "@KEY@": server[1],
            "@CLIENTS@": str(clients),
            "@CRL@": str(crl),
            "@SECRET@": self._secret,
            "@APPLICATION@": self._application.removeprefix("http://")
            if self._conf == "site.conf.in"
            else self._application,
            "@NAME@": "dematmp",
        }
        text = (_SHIPPED / self._conf).read_text()
        for name, value in values.items():
            text = text.replace(name, value)
        conf = self.folder / "nginx.conf"
        conf.write_text(_AROUND.format(folder=self.folder, server=text))
        self.own()
        self.spawn("nginx", "-p", str(self.folder), "-e", str(self.folder / "log/error.log"), "-c", str(conf))
        self.wait(lambda: listening(port))
        self.port, self.url = port, f"https://localhost:{port}"

    def _here(self, held: Held) -> tuple[str, str]:
        """A copy that the service's account may read."""
        paths = []
        for source in (held.pem, held.key_pem):
            target = self.folder / "pki" / source.name
            if source != target:
                shutil.copyfile(source, target)
            paths.append(str(target))
        return paths[0], paths[1]
