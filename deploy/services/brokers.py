"""Message brokers: Redis, and RabbitMQ with a node, a cookie and an epmd of its own."""

import os
from pathlib import Path

from deploy.services.process import Service, ServiceFailed, free_ports, listening


class Redis(Service):
    name = "Redis"
    programs = ("redis-server",)
    packages = ("redis-server",)

    def _start(self) -> None:
        (port,) = free_ports(1)
        self.own()
        where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.folder))
        self.spawn("redis-server", *where, "--save", "", "--appendonly", "no")
        self.wait(lambda: listening(port))
        self.url = f"redis://127.0.0.1:{port}/0"


_CONF = """
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
default_user = app
default_pass = testpw
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
"""


class RabbitMQ(Service):
    """epmd outlives its node by design: ours is started first, in the foreground, and ended with the rest."""

    name = "RabbitMQ"
    programs = ("rabbitmq-server", "epmd")
    packages = ("rabbitmq-server",)

    def _start(self) -> None:
        port, dist, epmd = free_ports(3)
        for name in ("mnesia", "log", "home"):
            (self.folder / name).mkdir()
        (self.folder / "rabbitmq.conf").write_text(_CONF.format(port=port))
        inet = "[{kernel,[{inet_dist_use_interface,{127,0,0,1}}]}]."
        (self.folder / "advanced.config").write_text(inet)
        (self.folder / "enabled_plugins").write_text("[].")
        self.own()
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/usr/lib/rabbitmq/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),
            "RABBITMQ_NODENAME": f"t{port}@localhost",
            "RABBITMQ_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_ERLANG_COOKIE": f"cookie{port}",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.spawn("epmd", "-port", str(epmd), "-address", "127.0.0.1", env=env)
        self.wait(lambda: listening(epmd))
        program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
        if not Path(program).exists():
            raise ServiceFailed(f"{program} manque")
        self.spawn(program, env=env)
        self.wait(lambda: listening(port), seconds=90)
        self.url = f"amqp://app:testpw@127.0.0.1:{port}//"
