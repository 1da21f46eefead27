r"""Which implementations the operations take: to see, and to overrule.

    with using(grouped_ffn="padded"):              # for every call inside that names no backend
        layer(x)
    print(*explain(layer, x), sep="\n")            # who was picked, and why

A wish holds in its own context only: other threads and tasks do not see it, and neither do the
threads of autograd. So a forward pass that is repeated on the way back (checkpointing on a GPU)
does not either: there, name `backend` in the call. A compiled layer keeps what was asked for when
it was traced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moe_teach.config import refuse
from moe_teach.ops.dispatch import COMBINE, DISPATCH
from moe_teach.ops.grouped_ffn import GROUPED_FFN
from moe_teach.ops.grouped_mm import GROUPED_MM
from moe_teach.ops.operation import Operation, Pick, listening, wishing
from moe_teach.ops.route import ROUTE
from moe_teach.ops.routed_ffn import ROUTED_FFN

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (ROUTE, DISPATCH, GROUPED_MM, GROUPED_FFN, COMBINE, ROUTED_FFN)
}


@contextmanager
def using(**backends: str) -> Iterator[None]:
    """Name the backend of operations for every call inside the `with` that names none itself.

    Who names a part (dispatch, grouped_ffn, combine) names the way of the whole too: `routed_ffn`
    then goes by its parts, unless it was named itself.

    Raises:
        ValueError: if there is no such operation, or it has no such backend.
    """
    for name, backend in backends.items():
        refuse(
            name not in OPERATIONS,
            f"There is no operation {name!r} to choose a backend for: the operations are "
            f"{', '.join(OPERATIONS)}.",
        )
        if backend not in OPERATIONS[name].backends:
            raise OPERATIONS[name].unknown(backend)
    with wishing(backends):
        yield


def explain(function: Callable[..., Any], *arguments: Any, **options: Any) -> list[Pick]:
    """Call a layer or an operation once and tell which backends were picked, each reason once.

    A compiled function has picked when it was traced, and tells nothing.
    """
    with listening() as heard:
        function(*arguments, **options)
    return list(dict.fromkeys(heard))
