"""The rules for tensors: axes, reductions, dtypes, gradients, inputs changed in place, layout."""

import ast
from collections.abc import Iterator
from typing import Any

from moe_teach.course.authoring.mutation.site import (
    Before,
    Change,
    Rule,
    Site,
    changed,
    is_module,
    method,
    method_name,
    with_item,
)

_TWINS = (
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("sum", "mean"),
    ("floor", "ceil"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("softmax", "log_softmax"),
    ("sqrt", "rsqrt"),
    ("log", "log2"),
    ("exp", "exp2"),
    ("argsort", "argmax"),
    ("cumsum", "cumprod"),
)
_TWIN = dict(_TWINS) | {b: a for a, b in _TWINS}
_NARROW = {
    "float64": "float32",
    "double": "float",
    "float32": "float16",
    "float": "half",
    "int64": "int32",
    "long": "int",
}
_IN_PLACE = {
    "abs",
    "add",
    "clamp",
    "clip",
    "copy",
    "cumsum",
    "div",
    "exp",
    "fill",
    "index_add",
    "index_copy",
    "index_fill",
    "log",
    "masked_fill",
    "masked_scatter",
    "mul",
    "neg",
    "relu",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "sigmoid",
    "sqrt",
    "sub",
    "tril",
    "triu",
}
_SAME_MEMORY = {
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "transpose",
    "permute",
    "movedim",
    "unsqueeze",
    "squeeze",
    "expand",
    "float",
    "contiguous",
    "detach",
    "T",
    "t",
}
_IN_PLACE_OPERATOR = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}
_AXES = {"-1": ("0", "-2"), "0": ("1",), "1": ("0", "2"), "2": ("0", "1")}
_NO_GRADIENT = {
    "argsort",
    "argmax",
    "argmin",
    "bincount",
    "zeros_like",
    "ones_like",
    "full_like",
    "one_hot",
    "arange",
    "len",
    "int",
    "float",
    "range",
    "min",
    "max",
}


def axis(site: Site) -> Iterator[Change]:
    """Work along another axis."""
    if isinstance(site.node, ast.keyword) and site.node.arg in ("dim", "axis"):
        # On two axes, -1 and 1 are one: swapping them is no fault.
        for other in _AXES.get(ast.unparse(site.node.value), ()):
            yield changed(site.node, value=ast.parse(other, mode="eval").body)


def twin(site: Site) -> Iterator[Change]:
    """Call the function's twin: the mean for the sum, the largest for the smallest."""
    if isinstance(site.node, ast.Call):
        called = site.node.func
        if isinstance(called, ast.Attribute) and called.attr in _TWIN:
            yield changed(site.node, func=changed(called, attr=_TWIN[called.attr]))
        elif isinstance(called, ast.Name) and called.id in _TWIN:
            yield changed(site.node, func=ast.Name(_TWIN[called.id], ast.Load()))


def narrower(site: Site) -> Iterator[Change]:
    """Name a dtype with fewer bits."""
    is_dtype = isinstance(site.node, ast.Attribute) and is_module(site.node.value)
    if is_dtype and site.node.attr in _NARROW:
        yield changed(site.node, attr=_NARROW[site.node.attr])
    elif method_name(site.node) in _NARROW and not site.node.args:
        yield method(site.node.func.value, _NARROW[method_name(site.node)])


def rounded_result(site: Site) -> Iterator[Change]:
    """Return numbers of another width, or ones that went through 16 bits."""
    if site.is_torch and site.is_result:
        yield method(method(site.node, "half"), "float")
        yield method(site.node, "float")
        yield method(site.node, "double")


def short_result(site: Site) -> Iterator[Change]:
    """Return int32 for int64."""
    if site.is_torch and site.is_result:
        yield method(site.node, "int")


def detached(site: Site) -> Iterator[Change]:
    """Cut the gradient off: of a result, of a value on its way, of one part of a sum."""
    if not site.is_torch or isinstance(site.node, ast.Constant | ast.Tuple | ast.Slice):
        return
    if isinstance(site.node, ast.Name) and site.node.id in site.plain_names:
        return
    is_value = isinstance(site.parent, ast.Assign) and site.parent.value is site.node
    is_operand = isinstance(site.parent, ast.BinOp)
    is_argument = (
        isinstance(site.parent, ast.Call)
        and site.node in site.parent.args
        and ast.unparse(site.parent.func).split(".")[-1] not in _NO_GRADIENT
    )
    if isinstance(site.node, ast.expr) and (
        is_value or is_operand or is_argument or site.is_result
    ):
        yield method(site.node, "detach")


def no_gradient(site: Site) -> Iterator[Change]:
    """Run the whole function without gradients."""
    if isinstance(site.node, ast.FunctionDef) and site.is_torch:
        yield Before("@torch.no_grad()")


def in_place(site: Site) -> Iterator[Change]:
    """Write over an input, or over a value that is still needed."""
    if not site.is_torch:
        return
    node = site.node
    if method_name(node) in _IN_PLACE and not is_module(node.func.value):
        if _is_needed(site, node.func.value):
            func = changed(node.func, attr=node.func.attr + "_")
            yield changed(node, func=func)
    elif isinstance(node, ast.BinOp) and type(node.op) in _IN_PLACE_OPERATOR:
        if _is_needed(site, node.left) and not isinstance(node.left, ast.Call):
            yield method(node.left, _IN_PLACE_OPERATOR[type(node.op)], node.right)
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        target, value = node.targets[0], node.value
        is_same = ast.unparse(target) == ast.unparse(value.left)
        if is_same and _is_needed(site, value.left):
            yield ast.AugAssign(target, value.op, value.right)


def layout(site: Site) -> Iterator[Change]:
    """Take for granted that numbers lie side by side."""
    if method_name(site.node) == "reshape":
        yield changed(site.node, func=changed(site.node.func, attr="view"))


def fixed_kind(site: Site) -> Iterator[Change]:
    """Make a new tensor of the default dtype on the CPU, whatever the inputs are."""
    name = method_name(site.node)
    if name.startswith("new_") and name != "new_tensor":
        made = ast.Attribute(ast.Name("torch", ast.Load()), name.removeprefix("new_"), ast.Load())
        yield changed(site.node, func=made)
    elif name.endswith("_like") and is_module(site.node.func.value) and site.node.args:
        made = changed(site.node.func, attr=name.removesuffix("_like"))
        shape = ast.Attribute(site.node.args[0], "shape", ast.Load())
        yield changed(site.node, func=made, args=with_item(site.node.args, 0, shape))


def _is_needed(site: Site, owner: Any) -> bool:
    """Say whether others still need this memory: an input, or a value that is read again."""
    while not isinstance(owner, ast.Name):
        if isinstance(owner, ast.Call) and method_name(owner) in _SAME_MEMORY:
            owner = owner.func.value
        elif isinstance(owner, ast.Attribute | ast.Subscript):
            owner = owner.value
        else:
            return False
    if owner.id in site.names:
        return True
    names = [node for node in ast.walk(site.function) if isinstance(node, ast.Name)]
    read = [node for node in names if node.id == owner.id and isinstance(node.ctx, ast.Load)]
    return len(read) > 1 and not isinstance(site.node, ast.Assign)


TENSOR_RULES = [
    Rule("axis", axis),
    Rule("twin", twin),
    Rule("narrower", narrower),
    Rule("rounded result", rounded_result, only="floats"),
    Rule("short result", short_result, only="integers"),
    Rule("detached", detached, only="gradients"),
    Rule("no gradient", no_gradient, only="gradients"),
    Rule("in place", in_place),
    Rule("layout", layout),
    Rule("fixed kind", fixed_kind),
]
