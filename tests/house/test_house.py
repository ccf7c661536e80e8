"""The house polices itself (style, section 15)."""

import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.template import engines
from django.urls import URLPattern, URLResolver, get_resolver

from dematmp import celery_app
from tests.conftest import ROOT

_TEMPLATES = ROOT / "dematmp" / "web" / "templates"
# Doors of others: the JSON API states who may enter by its own `auth`, the admin and allauth by theirs.
_OTHERS = ("api/", "admin/", "compte/")


def _patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for each in resolver.url_patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _patterns(each, path)
        else:
            yield path, each


def test_every_address_states_who_may_enter() -> None:
    silent = [
        path
        for path, each in _patterns(get_resolver())
        if not path.startswith(_OTHERS) and not hasattr(each.callback, "entry")
    ]
    assert silent == []


def test_only_these_endpoints_of_the_api_are_open_to_anyone() -> None:
    from dematmp.api.router import api

    open_to_anyone = [
        path
        for path, methods in api.get_openapi_schema()["paths"].items()
        for operation in methods.values()
        if not operation.get("security")
    ]
    assert open_to_anyone == [
        "/api/v1/time",
        "/api/v1/consultations/{consultation}",
        "/api/v1/consultations/{consultation}/deadline",
        "/api/v1/channel/consultations",
    ]


def test_every_template_compiles_and_is_used() -> None:
    sources = [path.read_text() for path in (ROOT / "dematmp").rglob("*.py")]
    sources += [path.read_text() for path in _TEMPLATES.rglob("*.html")]
    everything = "\n".join(sources)
    unused = []
    for path in _TEMPLATES.rglob("*.html"):
        name = str(path.relative_to(_TEMPLATES))
        engines["django"].get_template(name)
        if f'"{name}"' not in everything and not name.startswith(("allauth/", "django/")):
            unused.append(name)
    assert unused == []


def test_every_page_has_one_first_heading() -> None:
    pages = [path for path in _TEMPLATES.rglob("*.html") if '{% extends "base.html" %}' in path.read_text()]
    wrong = [path.name for path in pages if path.read_text().count("<h1") != 1 and "allauth" not in str(path)]
    assert wrong == []


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_production_settings_pass_the_deployment_check() -> None:
    done = subprocess.run([ROOT / "deploy" / "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_names_a_package_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    host = re.compile(r"(?:pypi\.org|pythonhosted|registry\.npmjs|registry\.yarnpkg)", re.IGNORECASE)
    named = [
        name
        for name in listed.splitlines()
        if (ROOT / name).is_file()
        and name != "tests/house/test_house.py"
        and host.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert named == []


def test_the_lock_of_the_pages_names_exact_versions_and_no_native_code_but_the_bundler_s() -> None:
    wanted = json.loads((ROOT / "package.json").read_text())
    versions = [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]
    assert [each for each in versions if not re.fullmatch(r"[0-9.]+", each)] == []
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    native = [name for name, each in packages.items() if each.get("os") or each.get("cpu")]
    assert [name for name in native if not name.startswith("node_modules/@esbuild/")] == []


def test_files_stay_short() -> None:
    limit = 400
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for folder in ("dematmp", "signing", "storage", "notices", "deploy", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if "migrations" not in path.parts and (count := path.read_text().count("\n")) > limit
    ]
    assert long == []


def test_the_design_system_of_the_state_is_not_used() -> None:
    sources = [*_TEMPLATES.rglob("*.html"), *(ROOT / "frontend").rglob("*.*"), ROOT / "package.json"]
    assert not [
        path.name
        for path in sources
        if re.search(r"\bdsfr\b|marianne|fr-btn", path.read_text(), re.IGNORECASE)
    ]


def test_the_shell_commands_can_be_run() -> None:
    commands = [ROOT / "deploy" / name for name in ("demo", "test", "setup", "check")] + [
        ROOT / ".ci" / "run"
    ]
    assert all(Path(command).stat().st_mode & 0o111 for command in commands)


def test_the_readme_opens_with_two_commands_that_run() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [block.strip() for block in blocks] == ["./deploy/demo", "./deploy/test"]
    # deploy/demo is run whole by tests/journeys; here, that deploy/test sets up and reaches the tests.
    command = [ROOT / "deploy" / "test", "--collect-only", "-q", "tests/house"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "test_the_readme_opens_with_two_commands_that_run" in done.stdout


def test_the_documents_link_to_files_that_exist() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_benchmarks_answer_in_json_lines() -> None:
    done = subprocess.run([ROOT / "deploy" / "bench", "inconnu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "groupe inconnu" in done.stderr


def test_every_scheduled_task_exists_and_none_is_forgotten() -> None:
    """A sweep that nobody runs is a promise that nobody keeps."""
    scheduled = {str(each["task"]) for each in settings.CELERY_BEAT_SCHEDULE.values()}
    celery_app.loader.import_default_modules()
    assert scheduled <= set(celery_app.tasks)
    swept = {name for name in celery_app.tasks if name.startswith("dematmp.") and _is_periodic(name)}
    # Of another role, of a channel, and what the sweep itself asks for.
    elsewhere = {"bids.tasks.mirror_consultations", "bids.tasks.visit_channel", "acts.tasks.collect_returns"}
    assert swept == {each for each in scheduled if each in swept}.union(
        f"dematmp.{each}" for each in elsewhere
    )


def _is_periodic(name: str) -> bool:
    """Tasks that take nothing: only the clock asks for them."""
    return not inspect.signature(celery_app.tasks[name].run).parameters


def test_each_test_file_has_a_name_of_its_own() -> None:
    """Two of one name are not both collected."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
