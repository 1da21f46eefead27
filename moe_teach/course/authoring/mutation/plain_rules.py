"""The rules that fit any Python: comparisons, numbers, operators, conditions, statements."""

import ast
from collections.abc import Iterator

from moe_teach.course.authoring.mutation.site import (
    Change,
    Rule,
    Site,
    changed,
    method_name,
    with_item,
)

_COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
_AXIS_FIRST = {
    *("gather", "scatter", "scatter_", "scatter_add", "scatter_add_", "index_add", "index_select"),
    *("unflatten", "unsqueeze", "squeeze", "softmax", "log_softmax", "cumsum", "sum", "mean"),
}


def comparison(site: Site) -> Iterator[Change]:
    """Let a border in or out, or ask for the opposite."""
    if isinstance(site.node, ast.Compare):
        for at, kind in enumerate(site.node.ops):
            if type(kind) in _COMPARED:
                ops = with_item(site.node.ops, at, _COMPARED[type(kind)]())
                yield changed(site.node, ops=ops)


def constant(site: Site) -> Iterator[Change]:
    """Take another number, the other truth, a word that nobody knows, a finite infinity."""
    value = site.node.value if isinstance(site.node, ast.Constant) else None
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)
    elif isinstance(value, str) and not isinstance(site.parent, ast.Expr):
        yield ast.Constant(value + "?")
    elif isinstance(site.node, ast.Attribute) and site.node.attr == "inf":
        yield ast.Constant(10.0)


def operator(site: Site) -> Iterator[Change]:
    """Compute with the operator's neighbour."""
    if isinstance(site.node, ast.BinOp | ast.AugAssign) and type(site.node.op) in _COMPUTED:
        yield changed(site.node, op=_COMPUTED[type(site.node.op)]())


def operands(site: Site) -> Iterator[Change]:
    """Exchange the two sides where the order counts."""
    if isinstance(site.node, ast.BinOp) and isinstance(site.node.op, _ORDERED):
        yield changed(site.node, left=site.node.right, right=site.node.left)


def half(site: Site) -> Iterator[Change]:
    """Keep one side of a sum, a product or a condition made of two."""
    if isinstance(site.node, ast.BinOp):
        yield site.node.left
        yield site.node.right
    elif isinstance(site.node, ast.BoolOp):
        yield from site.node.values


def sign(site: Site) -> Iterator[Change]:
    """Forget a minus, a `not` or a `~`, but not that of an axis: of two, -1 and 1 are one."""
    is_axis = isinstance(site.parent, ast.keyword) and site.parent.arg in ("dim", "axis")
    is_axis |= method_name(site.parent) in _AXIS_FIRST and site.parent.args[:1] == [site.node]
    if isinstance(site.node, ast.UnaryOp) and not is_axis:
        yield site.node.operand


def logic(site: Site) -> Iterator[Change]:
    """Say `or` for `and`."""
    if isinstance(site.node, ast.BoolOp):
        other = ast.Or() if isinstance(site.node.op, ast.And) else ast.And()
        yield changed(site.node, op=other)


def condition(site: Site) -> Iterator[Change]:
    """Turn a condition round, or let it hold always or never."""
    is_test = getattr(site.parent, "test", None) is site.node
    if is_test or (isinstance(site.parent, ast.comprehension) and site.node in site.parent.ifs):
        yield ast.UnaryOp(ast.Not(), site.node)
        yield ast.Constant(False)
        if not isinstance(site.parent, ast.While):
            yield ast.Constant(True)


def dropped_line(site: Site) -> Iterator[Change]:
    """Leave a statement out."""
    if isinstance(site.node, ast.stmt) and not isinstance(site.node, ast.Pass | ast.FunctionDef):
        yield ast.Pass()


def jump(site: Site) -> Iterator[Change]:
    """Leave a loop where it should go on, or the other way round."""
    if isinstance(site.node, ast.Break):
        yield ast.Continue()
    elif isinstance(site.node, ast.Continue):
        yield ast.Break()


PLAIN_RULES = [
    Rule(strike.__name__.replace("_", " "), strike)
    for strike in (
        comparison,
        constant,
        operator,
        operands,
        half,
        sign,
        logic,
        condition,
        dropped_line,
        jump,
    )
]
