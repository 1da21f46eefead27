"""The reference: a page for each room of the library, written by Sphinx from the docstrings.

What is public is found by reading the files, not by importing them: a function or class at the top
of a module, without an underscore, with a docstring.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# In the order of the floors. Chapters, benches and the course's own machinery serve no one else.
ROOMS = (
    *("types", "config", "catalog", "cost"),
    *("ops", "nn", "data", "checkpoint", "train", "analysis"),
    *("deploy.quantise", "deploy.store", "deploy.engine", "deploy.server"),
    *("widgets", "plots", "judging"),
)
VERBS = "moe_teach.course"  # what learners type: the names that the room itself hands on


@dataclass(frozen=True)
class Module:
    """A module with something public in it; `about` is the first line of its docstring."""

    name: str
    about: str
    public: tuple[str, ...]


def reference_pages(root: Path) -> dict[str, str]:
    """Write the pages of the reference, by path under the site's source; the index leads to all."""
    rooms = {room: list(modules_of(root, room)) for room in ROOMS}
    pages = {f"reference/{room}.md": _room_page(room, modules) for room, modules in rooms.items()}
    pages["reference/course.md"] = _verbs_page(root)
    return {"reference/index.md": _index(root, rooms), **pages}


def modules_of(root: Path, room: str) -> Iterator[Module]:
    """Find the modules of a room that have something public, in order of their names."""
    place = root / "moe_teach" / room.replace(".", "/")
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = tuple(node.name for node in tree.body if _is_public(node))
        if public:
            parts = path.relative_to(root).with_suffix("").parts
            yield Module(".".join(parts).removesuffix(".__init__"), _first_line(tree), public)


def _is_public(node: ast.stmt) -> bool:
    kinds = ast.FunctionDef | ast.ClassDef
    return isinstance(node, kinds) and node.name[0] != "_" and bool(ast.get_docstring(node))


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _room_page(room: str, modules: list[Module]) -> str:
    lines = [f"# moe_teach.{room}", ""]
    for module in modules:
        lines += [
            f"## {module.name.removeprefix('moe_teach.')}",
            "",
            *_automodule(module.name, module.public),
            "",
        ]
    return "\n".join(lines)


def _automodule(name: str, public: tuple[str, ...]) -> list[str]:
    directive = ["```{eval-rst}", f".. automodule:: {name}", f"   :members: {', '.join(public)}"]
    return [*directive, "```"]


def _verbs_page(root: Path) -> str:
    tree = ast.parse((root / "moe_teach/course/__init__.py").read_text(encoding="utf-8"))
    origins = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    blocks = [f".. autofunction:: {module}.{name}" for name, module in sorted(origins.items())]
    text = "What a reader of the course types in a notebook: `from moe_teach.course import check`."
    return "\n".join([f"# {VERBS}", "", text, "", "```{eval-rst}", *blocks, "```", ""])


def _index(root: Path, rooms: dict[str, list[Module]]) -> str:
    lines = [
        "# Reference",
        "",
        "Every public function and class of the library, floor by floor.",
        "",
    ]
    lines += ["- [moe_teach.course](course.md): what learners type in a notebook"]
    for room, modules in rooms.items():
        place = root / "moe_teach" / room.replace(".", "/")
        door = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        about = _first_line(ast.parse(door.read_text(encoding="utf-8"))).rstrip(".")
        count = sum(len(module.public) for module in modules)
        lines.append(f"- [moe_teach.{room}]({room}.md): {about} ({count} names)")
    entries = [f"{room} <{room}>" for room in ("course", *rooms)]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *entries, "```", ""])
