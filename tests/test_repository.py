"""What stands around the code works: releases, hooks, containers, forms, the citation."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PATH = ROOT / "tools/release_check.py"
SPEC = importlib.util.spec_from_file_location("release_check", PATH)
release_check = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release_check)

CALLERS = [
    ".pre-commit-config.yaml",
    ".devcontainer/maintainer/devcontainer.json",
    ".github/workflows/ci.yml",
    ".github/workflows/pages.yml",
    ".github/workflows/release.yml",
    ".ci/run",
]
FORMS = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Copy what names the version, and call it 1.2.3."""
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    rewrite(tmp_path / "pyproject.toml", r'^version = ".*"$', 'version = "1.2.3"')
    rewrite(tmp_path / "CITATION.cff", r"^version: .*$", "version: 1.2.3")
    rewrite(tmp_path / "CITATION.cff", r"^date-released: .*$", 'date-released: "2026-12-01"')
    rewrite(tmp_path / "CHANGELOG.md", r"^## \S+ \(.*\)$", "## 1.2.3 (2026-12-01)")
    return tmp_path


def rewrite(file: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, file.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    file.write_text(text)


def test_a_tag_that_everything_agrees_with_may_be_released(release: Path) -> None:
    assert release_check.complaints("v1.2.3", release) == []


@pytest.mark.parametrize("tag", ["", "1.2.3", "v1.2.4", "v1.2.3rc1"])
def test_a_tag_of_another_version_is_refused(release: Path, tag: str) -> None:
    (said,) = release_check.complaints(tag, release)
    assert said.endswith("tag v1.2.3.")


@pytest.mark.parametrize(
    ("file", "pattern", "by", "cure"),
    [
        ("CHANGELOG.md", r"^## 1\.2\.3.*$", "## Unreleased", "## 1.2.3 (year-month-day)"),
        ("CITATION.cff", r"^version: .*$", "version: 1.2.2", "write 1.2.3"),
        ("CITATION.cff", r"^date-released: .*$", 'date-released: "2026-11-30"', "write 2026-12-01"),
    ],
)
def test_a_file_that_was_forgotten_is_named(
    release: Path, file: str, pattern: str, by: str, cure: str
) -> None:
    rewrite(release / file, pattern, by)
    (said,) = release_check.complaints("v1.2.3", release)
    assert file in said
    assert cure in said


def test_what_is_here_names_one_version() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]

    assert release_check.complaints(f"v{version}", ROOT) == []


def test_only_the_job_that_publishes_may_prove_who_it_is_and_only_after_the_tests() -> None:
    workflow = read_yaml(".github/workflows/release.yml")
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    commands = [step.get("run", "") for step in build["steps"]]

    assert workflow[True] == {"push": {"tags": ["v*"]}}, "YAML reads the key `on` as true"
    assert workflow["permissions"] == {"contents": "read"}
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert "permissions" not in build
    assert [i for i, c in enumerate(commands) if "release-check" in c] < [
        i for i, c in enumerate(commands) if "make dist" in c
    ]
    assert "bash .ci/run" in commands
    assert "password" not in (ROOT / ".github/workflows/release.yml").read_text().replace(
        "so no password is kept", ""
    )


def test_jupyterlab_finds_the_courses_commands_and_shows_exercises_beside_lessons(
    tmp_path: Path,
) -> None:
    place = tmp_path / "a clone"
    (place / ".venv/bin").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, place)
    told = 'command -v moe-teach; printf "%s\\n" "$@"'
    for name, script in {"moe-teach": "exit 0", "jupyter": told}.items():
        (place / ".venv/bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / ".venv/bin" / name).chmod(0o755)
    (place / ".venv/.ready").touch()

    done = subprocess.run(["make", "-s", "lab"], cwd=place, capture_output=True, text=True)

    first, *words = done.stdout.splitlines()
    assert first == f"{place}/.venv/bin/moe-teach", done.stderr
    # Without it the folder of the notebook would be all that the server shows.
    assert "--ServerApp.root_dir=desk" in words


@pytest.mark.parametrize("caller", CALLERS)
def test_every_verb_that_is_called_from_outside_exists(caller: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"make ([a-z-]+)", (ROOT / caller).read_text()))

    assert called
    assert called <= verbs


def test_nbval_takes_a_notebook_as_the_contributors_page_types_it() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (typed,) = re.findall(r"\.venv/bin/(pytest --nbval-lax) notebooks/03_router\.ipynb", page)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            *typed.split(),
            "--collect-only",
            "-q",
            "exercises/00_start_here.ipynb",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "exercises/00_start_here.ipynb::Cell 0" in done.stdout


def test_the_container_of_an_editor_installs_what_the_makefile_installs() -> None:
    text = (ROOT / ".devcontainer/maintainer/devcontainer.json").read_text()
    container = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))

    assert container["postCreateCommand"].startswith("make setup")
    assert "pip" not in container["postCreateCommand"]
    assert ":3.12-" in container["image"], "a Python that the course supports"


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_what_helps_and_demands_little(form: Path) -> None:
    asked = yaml.safe_load(form.read_text())
    required = [x for x in asked["body"] if x.get("validations", {}).get("required")]
    ids = [x["id"] for x in asked["body"]]

    assert asked["name"] and asked["description"]
    assert len(ids) == len(set(ids))
    assert 1 <= len(required) <= 3
    assert "doctor" in ids
