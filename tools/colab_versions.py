"""Rewrite tests/colab_versions.txt from what a Colab machine says of itself.

On Colab, in a cell:   !(python --version; pip freeze) > colab.txt
Then here:             .venv/bin/python tools/colab_versions.py colab.txt

Kept are the packages that the course asks for, in whatever extra, and that Colab has. This file
needs `packaging` beside the standard library.
"""

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests/colab_versions.txt"
EXTRAS = ("kernels", "deploy")
OWN_INTERFACE = {"ipython", "ipykernel"}  # Colab's page talks to these two
HEADER = """\
# What a fresh Colab machine carries (Python {python}). The core of the course must accept every one
# of these: a set-up cell that replaces torch or ipywidgets breaks other people's sessions.
# Written by tools/colab_versions.py from a machine's own list.
"""


class UnreadableList(Exception):
    """The file is not what Colab says of itself; the message says what is missing."""


def main(words: Sequence[str] | None = None) -> int:
    """Rewrite the record; return 0, or 2 after saying what was wrong with the file."""
    words = list(sys.argv[1:] if words is None else words)
    if len(words) != 1 or words[0].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        text = written(Path(words[0]).read_text(encoding="utf-8"), wanted())
    except (OSError, UnicodeDecodeError, UnreadableList) as problem:
        print(f"{words[0]} cannot be used: {problem}", file=sys.stderr)
        return 2
    temporary = TARGET.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(TARGET)
    print(f"{TARGET.relative_to(ROOT)} is written; now run: make colab-check")
    return 0


def wanted() -> set[str]:
    """Name every package that the course asks for by itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in lines} | OWN_INTERFACE


def written(listed: str, names: set[str]) -> str:
    """Turn a machine's list into the record: its Python, then one exact version a line."""
    python = re.search(r"^Python (\d+\.\d+)", listed, re.M)
    if python is None:
        raise UnreadableList(
            "it has no line like 'Python 3.13.1'. On Colab, run "
            "!(python --version; pip freeze) > colab.txt"
        )
    found = dict(filter(None, map(installed, listed.splitlines())))
    if "torch" not in found or "ipywidgets" not in found:
        raise UnreadableList("torch or ipywidgets is not in it, and Colab has both.")
    lines = [f"{name}=={found[name]}" for name in sorted(names & found.keys())]
    return HEADER.format(python=python[1]) + "\n".join(lines) + "\n"


def installed(line: str) -> tuple[str, str] | None:
    """Read the name and the version of one line; None where it names no version.

    Lines are `name==1.2` or `name @ address/of/name-1.2-py3-none-any.whl`. A local build such as
    +cu126 exists in one place only, and is left out.
    """
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    version = str(requirement.specifier).removeprefix("==")
    if requirement.url:
        file = requirement.url.split("#")[0].rsplit("/", 1)[-1].replace("%2B", "+")
        try:
            version = str(parse_wheel_filename(file)[1])
        except InvalidWheelFilename:
            return None
    return (canonicalize_name(requirement.name), Version(version).public) if version else None


if __name__ == "__main__":
    sys.exit(main())
