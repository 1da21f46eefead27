"""The container file names what is there, and installs under the pins."""

import re
import shlex
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
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    forced = re.findall(r'^"([^"]+)" = "moe_teach/', project, re.MULTILINE)

    assert forced
    assert all(re.search(rf"^COPY .*\b{re.escape(name)} ", FILE, re.MULTILINE) for name in forced)


def test_it_answers_other_machines_only_with_a_key() -> None:
    assert '"--host", "0.0.0.0"' in FILE
    assert "API_KEY=" not in re.sub(r"^#.*$", "", FILE, flags=re.MULTILINE)
