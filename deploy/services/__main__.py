"""`python -m deploy.services install | status`: what the tests need of the machine."""

import os
import sys

from deploy.services.packages import SERVICES, install, missing


def main() -> int:
    """`install` exits 1 only where CI=true and something still misses."""
    if sys.argv[1:] == ["install"]:
        absent = install()
        if absent:
            sys.stderr.write("deploy/test : il manque encore " + " ".join(absent) + "\n")
        return 1 if absent and os.environ.get("CI") == "true" else 0
    if sys.argv[1:] == ["status"]:
        for service in SERVICES:
            sys.stdout.write(f"{service.name:16} {service.missing() or 'peut démarrer'}\n")
        return 1 if missing() else 0
    sys.stderr.write("python -m deploy.services install | status\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
