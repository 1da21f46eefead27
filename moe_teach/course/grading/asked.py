"""What a chapter asks for, as far as it shows in notebooks: ids, names, starters, check cells."""

import ast
import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache

from moe_teach.course import materials, registry
from moe_teach.course.grading.cleaning import tree_of
from moe_teach.course.grading.helpers import bound
from moe_teach.judging.exercise import Exercise


@dataclass(frozen=True)
class Asked:
    """One exercise: what an answer to it is called, and what the cell held before any work."""

    id: str
    name: str
    version: int
    points: float | int
    starter: str

    @property
    def check(self) -> str:
        """The text of its check cell."""
        return f'check("{self.id}", {self.name})'

    def is_untouched(self, source: str, stored_hash: str = "") -> bool:
        """Tell whether a cell is still its starter, of today or (by the hash) of its own day."""
        if stored_hash and stored_hash == short_hash(source.rstrip("\n")):
            return True
        return meaning(source) == meaning(self.starter)


def asked_in(chapter: int) -> dict[str, Asked]:
    """Give a chapter's exercises by id, in their order."""
    return dict(_asked(chapter))


@cache
def given_in(chapter: int) -> frozenset[str]:
    """Give the names that a chapter's exercise notebook brings along: imports, helpers, data."""
    codes = [source for role, _, source in materials.cells_of(chapter) if role == "code"]
    return frozenset(name for code in codes for name in bound(code))


def short_hash(text: str) -> str:
    """Eight hex digits that change with `text`, as the builder of the notebooks takes them."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@lru_cache(maxsize=4096)
def meaning(source: str) -> str:
    """Give what two cells have in common that differ in comments, texts and spaces only."""
    tree = tree_of(source)
    if tree is None:
        return " ".join(source.split())
    return "\n".join(_bare(node) for node in tree.body if not _is_text(node))


def _bare(node: ast.stmt) -> str:
    """Dump a statement without docstrings; the shared tree is left as it is."""
    copy = ast.parse(ast.unparse(node))
    for part in ast.walk(copy):
        if isinstance(part, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            part.body = [one for one in part.body if not _is_text(one)]
    return ast.dump(copy)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@cache
def _asked(chapter: int) -> tuple[tuple[str, Asked], ...]:
    starters = {
        item_id: materials.starter_of(source)
        for role, item_id, source in materials.cells_of(chapter)
        if role == "solution"
    }
    return tuple(
        (item.id, Asked(item.id, item.name, item.version, item.points, starters[item.id]))
        for item in registry.load(chapter).values()
        if isinstance(item, Exercise)
    )
