"""Where a rule may strike: one node of a solution with what surrounds it, and how rules are kept.

A rule is a generator function that looks at a `Site` and yields what could stand there instead: a
node, or `Before(text)` for a line to be put above it.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Before:
    """A line of code to put above the node."""

    text: str


Change = ast.AST | Before
Strike = Callable[["Site"], Iterator[Change]]


@dataclass(frozen=True)
class Rule:
    """One kind of small fault.

    `only` limits a change to places that "floats" or "integers" (in tensors) or "gradients" pass
    while the check runs: elsewhere it would change nothing that anybody could see.
    """

    name: str
    strike: Strike
    only: str = ""


@dataclass(frozen=True)
class Site:
    """One node between the solution markers, with its parent and the function around it.

    `is_first` marks the first statement between the markers, `is_result` what is returned or a
    member of it; `text` is the cell's source.
    """

    node: Any
    parent: Any
    function: ast.FunctionDef
    text: str
    is_first: bool = False
    is_result: bool = False

    @cached_property
    def is_kernel(self) -> bool:
        """Whether Triton reads this function."""
        return any("triton" in ast.unparse(mark) for mark in self.function.decorator_list)

    @cached_property
    def is_torch(self) -> bool:
        """Whether tensors may stand here."""
        return not self.is_kernel and ("Tensor" in self.text or "torch" in self.text)

    @cached_property
    def parameters(self) -> list[ast.arg]:
        """The function's parameters, less `self`."""
        given = self.function.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        return [parameter for parameter in every if parameter.arg != "self"]

    @cached_property
    def names(self) -> set[str]:
        """The names of the function's parameters."""
        return {parameter.arg for parameter in self.parameters}

    @cached_property
    def plain_names(self) -> set[str]:
        """The names of the parameters that are said to be no tensors."""
        return {p.arg for p in self.parameters if p.annotation and "Tensor" not in _said(p)}


def _said(parameter: ast.arg) -> str:
    return ast.unparse(parameter.annotation) if parameter.annotation else ""


def changed(node: Any, **fields: Any) -> Any:
    """Copy a node with other fields; its children are shared."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def with_item(items: list[Any], at: int, item: Any) -> list[Any]:
    """Copy a list with one item replaced."""
    return [*items[:at], item, *items[at + 1 :]]


def method(owner: Any, name: str, *arguments: Any) -> ast.Call:
    """Build `owner.name(*arguments)`."""
    return ast.Call(ast.Attribute(owner, name, ast.Load()), list(arguments), [])


def method_name(node: Any) -> str:
    """Give the name behind the dot of a call, or nothing."""
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.func.attr if is_method else ""


def is_module(node: Any) -> bool:
    """Say whether a node names a module of functions, as in `torch.sum` or `tl.load`."""
    return ast.unparse(node).split(".")[0] in {"torch", "F", "nn", "tl", "math", "np", "triton"}
