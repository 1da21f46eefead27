"""The container file names what is there, and installs under the pins."""

import re
import shlex
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILE = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_what_is_copied_is_in_the_repository() -> None:
    copied = [shlex.split(line)[1:-1] for line in re.findall(r"^COPY .*$", FILE, re.MULTILINE)]

    assert copied
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []


def test_everything_is_installed_under_the_pins() -> None:
    installs = re.findall(r"pip install [^&\n]*", FILE)

    assert len(installs) == 2
    assert all("-c constraints.txt" in one for one in installs)


def test_what_the_build_of_the_package_reads_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    page = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    needed = ["moe_teach", *project["project"]["license-files"], *(part["path"] for part in page)]

    # Notebooks are left out where they are not copied: a server has nobody who would open them.
    assert [name for name in needed if not re.search(rf"^COPY .*\b{name} ", FILE, re.M)] == []


def test_it_answers_other_machines_only_with_a_key() -> None:
    assert '"--host", "0.0.0.0"' in FILE
    assert "API_KEY=" not in re.sub(r"^#.*$", "", FILE, flags=re.MULTILINE)
