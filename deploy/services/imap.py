"""Dovecot, one account over TLS, its mails in a Maildir."""

import grp
import os
import pwd
from pathlib import Path
from urllib.parse import quote

from deploy.services.pki import TestAuthority
from deploy.services.process import Service, free_ports, listening

_CONF = """
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log/dovecot.log
ssl = required
ssl_cert = <{folder}/pki/imap.pem
ssl_key = <{folder}/pki/imap.key
auth_username_chars =
{capability}
mail_location = maildir:{folder}/mail
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
first_valid_uid = 0
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
"""


class Dovecot(Service):
    """`url` names its one account; `mails` is where they are delivered, as a mail server would."""

    name = "IMAP (Dovecot)"
    programs = ("dovecot",)
    packages = ("dovecot-imapd",)
    password = "d'essai/+:"  # percent-encoded in the address

    def __init__(self, pki: TestAuthority | None = None, *, capability: str = "") -> None:
        """`capability`: all that the server says that it can, where its own list is not wanted."""
        super().__init__()
        self._capability = f"imap_capability = {capability}" if capability else ""
        self._pki = pki

    @property
    def mails(self) -> Path:
        return self.folder / "mail"

    def _start(self) -> None:
        for name in ("run", "log", "pki", "mail", "mail/new", "mail/cur", "mail/tmp"):
            (self.folder / name).mkdir()
        pki = self._pki or TestAuthority(self.folder / "pki")
        held = pki.server()
        (self.folder / "pki" / "imap.pem").write_bytes(held.pem.read_bytes())
        (self.folder / "pki" / "imap.key").write_bytes(held.key_pem.read_bytes())
        account = pwd.getpwnam(self.account) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        (port,) = free_ports(1)
        values = {
            "folder": self.folder,
            "port": port,
            "capability": self._capability,
            "password": self.password,
            "user": account.pw_name,
            "group": grp.getgrgid(account.pw_gid).gr_name,
        }
        conf = self.folder / "dovecot.conf"
        conf.write_text(_CONF.format(**values))
        self.own()
        self.spawn("dovecot", "-F", "-c", str(conf))
        self.wait(lambda: listening(port))
        login = f"tdt:{quote(self.password, safe='')}"
        self.url = f"imaps://{login}@localhost:{port}/INBOX?ca={pki.held.pem}"
