"""What torch.compile has to know about the operations; imported when it first traces one.

A compiled layer keeps the backends that were asked for, and those that its rules took, when it was
traced.
"""

from typing import Any

import torch

from moe_teach.ops.capacity import ratio_of
from moe_teach.ops.operation import (
    Operation,
    asked_for,
    kernels_compile,
    load,
    part_asked_for,
)

for _function in (asked_for, part_asked_for, kernels_compile, load, ratio_of):
    torch.compiler.assume_constant_result(_function)


@torch.compiler.disable(
    reason="how many rows an expert has is known only when the data are there, so this step of the "
    "mixture stands between two graphs: compile without fullgraph=True, or on a GPU, where the "
    "library's kernels stay inside the graph"
)
def outside(operation: Operation, backend: str | None, arguments: tuple) -> Any:
    """Pick and run an implementation between two graphs."""
    implementation, found = operation.pick(backend, *arguments)
    return implementation(*arguments, *found)
