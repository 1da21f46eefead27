"""Finds the import behind a name, and writes the imports of a part."""

import ast
import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from moe_teach.course.learner.mine.statements import Statement
from moe_teach.judging import folding

_NOTHING = object()


@dataclass(frozen=True, order=True)
class Import:
    """One name that comes from a module: `import module as name`, or `from module import what`."""

    module: str
    what: str  # empty: the module itself
    name: str

    def value(self) -> Any:
        """Give what is imported; an object that equals nothing where it cannot be."""
        try:
            module = sys.modules.get(self.module) or importlib.import_module(self.module)
        except Exception:  # a module may raise anything while it loads
            return _NOTHING
        if self.what:
            return getattr(
                module, self.what, sys.modules.get(f"{self.module}.{self.what}", _NOTHING)
            )
        if self.name == self.module.partition(".")[0]:
            return sys.modules.get(self.name, _NOTHING)
        return module

    def line(self) -> str:
        """Write it as a statement of its own."""
        short = self.what or self.module
        alias = f" as {self.name}" if self.name != short.partition(".")[0] else ""
        return (
            f"from {self.module} import {short}{alias}" if self.what else f"import {short}{alias}"
        )


def imports_in(statement: Statement, name: str) -> list[Import]:
    """List the imports of `name` in a statement, those in its branches included."""
    found = []
    nodes = ast.walk(statement.node) if _may_hold(statement.node) else [statement.node]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    found.append(Import(alias.name, "", name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    found.append(
                        Import(node.module, name if alias.name == "*" else alias.name, name)
                    )
    return found


def _may_hold(node: ast.stmt) -> bool:
    return isinstance(node, ast.If | ast.Try | ast.With)


def by_its_own_name(name: str, value: Any) -> Import | None:
    """Find the import that gives an installed thing which no statement seems to have imported."""
    if isinstance(value, ModuleType):
        found = Import(value.__name__, "", name)
    else:
        module, what = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not (isinstance(module, str) and isinstance(what, str)) or "." in what:
            return None
        found = Import(module, what, name)
    return found if is_installed(found.module) and found.value() is value else None


def is_installed(module: str) -> bool:
    """Tell a module that any Python here finds from a file of the reader's own."""
    loaded = sys.modules.get(module)
    if module == "__main__" or module.startswith("mine."):
        return False
    file = getattr(loaded, "__file__", None)
    return loaded is not None and (file is None or folding.is_installed(file))


def written(imports: Iterable[Import]) -> str:
    """Write imports as people do: the standard library, packages, then the course."""
    groups: list[list[str]] = [[], [], []]
    froms: dict[str, list[Import]] = {}
    for one in sorted(set(imports)):
        if one.what:
            froms.setdefault(one.module, []).append(one)
        else:
            groups[_group(one.module)].append(one.line())
    for module, members in sorted(froms.items()):
        names = [m.what if m.name == m.what else f"{m.what} as {m.name}" for m in members]
        line = f"from {module} import {', '.join(names)}"
        if len(line) > 100:
            line = f"from {module} import (\n" + "".join(f"    {n},\n" for n in names) + ")"
        groups[_group(module)].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group)


def _group(module: str) -> int:
    root = module.partition(".")[0]
    return 0 if root in sys.stdlib_module_names else 2 if root == "moe_teach" else 1
