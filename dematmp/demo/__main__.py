"""`python -m dematmp.demo [--once] [--out DIR] [--port 8000]`.

Play the procedure, then serve the site or stop.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from dematmp.demo import runtime
from dematmp.demo.backing import backing
from dematmp.demo.prefecture import start_ministry
from dematmp.demo.steps import Steps


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy/demo", description="Joue une procédure complète sur de vrais fichiers."
    )
    parser.add_argument("--once", action="store_true", help="jouer sans rien demander, puis tout arrêter")
    parser.add_argument("--out", type=Path, help="dossier où écrire les preuves")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--services", action="store_true", help="démarrer PostgreSQL, Ceph et RabbitMQ s'ils sont installés"
    )
    return parser.parse_args()


def main() -> int:
    """Exit code 0 when every step of the procedure went as it must."""
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell had it ignored
    port = runtime.free_port() if options.once else options.port
    name = f"demo-once-{os.getpid()}" if options.once else "demo"
    state = runtime.fresh(runtime.ROOT / "var" / name)
    steps = Steps()
    with contextlib.ExitStack() as stack:
        extra = stack.enter_context(backing(state, services=options.services, say=steps.say))
        steps.say(f"Plateforme de démonstration : http://127.0.0.1:{port}")
        with steps.step("Démarrage du site, du service de tâches et du ministère ; création des clés"):
            ministry, known = start_ministry(state / "prefecture", state / "logs", dict(os.environ))
            stack.callback(ministry.stop)
            address = stack.enter_context(runtime.platform(state, port=port, extra={**extra, **known}))
        _play(options, state, steps, address)
        if not options.once:
            _serve(steps, address)
    if options.once:
        shutil.rmtree(state, ignore_errors=True)
    return 0


def _play(options: argparse.Namespace, state: Path, steps: Steps, address: str) -> None:
    import django

    django.setup()
    from dematmp.demo import scenario

    timings = scenario.run(state, address, steps, out=options.out, serve=not options.once)
    if options.out:
        (options.out / "timings.json").write_text(json.dumps(timings, ensure_ascii=False, indent=1))


def _serve(steps: Steps, address: str) -> None:
    from dematmp.demo.cast import BODIES, PEOPLE

    labels = {
        "agent": "agent",
        "validator": "valideur",
        "member": "membre de la commission",
        "administrator": "administrateur",
        "bidder": "soumissionnaire",
        "controller": "contrôleur",
    }
    names = {body.slug: body.name for body in BODIES}
    steps.say(f"\nLe site est ouvert : {address}  (Ctrl-C pour tout arrêter)\n")
    for person in PEOPLE:
        name = f"{person.first_name} {person.last_name}"
        role = ", ".join(labels[role] for role in person.roles)
        phrase = f", phrase secrète {person.phrase}" if "member" in person.roles else ""
        line = f"  {name:<16} {role:<31} {person.email:<37} {person.password}"
        steps.say(f"{line}   {names[person.organisation]}{phrase}")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        steps.say("Arrêt.")


if __name__ == "__main__":
    raise SystemExit(main())
