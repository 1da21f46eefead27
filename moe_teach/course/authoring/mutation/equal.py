"""Reads which mutants of a chapter are as right as the solution, and why."""

import json
import tomllib
from pathlib import Path

from moe_teach.course import registry

Reasons = dict[str, dict[str, str]]  # exercise id -> key of the mutant -> why it is right


def path_of(root: Path, chapter: int) -> Path:
    """Give the place of a chapter's list."""
    room = root / "moe_teach" / "chapters" / f"ch{registry.chapters()[chapter]}"
    return room / "equal_mutants.toml"


def read(path: Path) -> Reasons:
    """Read a list; where there is none, no mutant is right. Raises `ValueError` for other forms."""
    if not path.is_file():
        return {}
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    for exercise_id, table in tables.items():
        if not isinstance(table, dict) or not all(
            isinstance(reason, str) and reason.strip() for reason in table.values()
        ):
            raise ValueError(
                f'{path.name}: ["{exercise_id}"] must hold lines of the form "mutant" = "reason".'
            )
    return tables


def line_for(key: str) -> str:
    """Write the line that lists a mutant; the reason is for the author to give."""
    return f'{json.dumps(key, ensure_ascii=False)} = ""'
