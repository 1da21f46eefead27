"""Say whether a tag may become a release: it names the version that everything here names.

    python tools/release_check.py v1.2.3

This file needs the standard library only.
"""

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(words: Sequence[str]) -> int:
    """Print what is wrong, or that nothing is; return 1 or 0."""
    wrong = complaints(words[0] if words else "", ROOT)
    print("\n".join(wrong) or f"{words[0]} may be released.")
    return 1 if wrong else 0


def complaints(tag: str, root: Path) -> list[str]:
    """Compare a tag with the version of the package, the changelog and the citation."""
    version = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    wrong = []
    if tag != f"v{version}":
        wrong.append(f"The tag is {tag!r} and pyproject.toml says {version}: tag v{version}.")
    said = (root / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (.*?)(?: \((\d{4}-\d\d-\d\d)\))?$", said, re.MULTILINE)
    day = newest[2] if newest and newest[1] == version else None
    if day is None:
        wrong.append(f"CHANGELOG.md does not begin with '## {version} (year-month-day)'.")
    citation = (root / "CITATION.cff").read_text("utf-8")
    facts = dict(re.findall(r"^(version|date-released): \"?([^\"\n]+)\"?$", citation, re.MULTILINE))
    if facts.get("version") != version:
        wrong.append(f"CITATION.cff names version {facts.get('version')}: write {version}.")
    elif day and facts.get("date-released") != day:
        wrong.append(f"CITATION.cff names another day than CHANGELOG.md: write {day}.")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
