r"""Which implementation an operation takes when nobody names one: visible, and overridable.

    with using(grouped_ffn="padded"):              # for every call inside that names no backend
        layer(x)
    print(*explain(layer, x), sep="\n")            # who was chosen, and why

The rule of each operation stands beside its implementations; here is what the rules share. Those
for the CPU follow measured crossovers (`moe-teach bench layer --all`). On a GPU the library's own
kernels are taken wherever they can run: no GPU was at hand to measure where another way would be
faster (`moe-teach bench kernels` does it on yours).
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.backends import backends_of
from moe_teach.ops.demand import unknown_backend
from moe_teach.ops.triton_mode import mode

OPERATIONS = ("choose", "dispatch", "grouped_mm", "grouped_ffn", "combine", "routed_ffn")
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ON_GPU = "the rows stand on a GPU, and the library's kernels run there"
# Plain containers and not context variables: autograd runs backward passes in its own threads.
_asked: dict[str, str] = {}
_listeners: list[list["Choice"]] = []


@dataclass(frozen=True, slots=True)
class Choice:
    """One operation, the backend it took, and the reason."""

    operation: str
    backend: str
    because: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.backend}, because {self.because}"


def decide(operation: str, rule: Callable[..., tuple[str, str]], *facts: Any) -> str:
    """Return the backend that was asked for with `using`, or what `rule(*facts)` says.

    `rule` returns the name of a backend and the reason, which ends a sentence with "because".
    """
    if operation in _asked:
        backend, because = _asked[operation], "it was asked for with using(...)"
    else:
        backend, because = rule(*facts)
    for heard in _listeners:
        heard.append(Choice(operation, backend, because))
    return backend


@contextmanager
def using(**backends: str) -> Iterator[None]:
    """Name the backend of operations for every call inside the `with` that names none itself.

    Raises:
        ValueError: if there is no such operation, or it has no such backend.
    """
    for operation, backend in backends.items():
        refuse(
            operation not in OPERATIONS,
            f"There is no operation {operation!r} to choose a backend for: the operations are "
            f"{', '.join(OPERATIONS)}.",
        )
        known = backends_of(operation)
        if backend not in known:
            raise unknown_backend(backend, known)
    before = dict(_asked)
    _asked.update(backends)
    try:
        yield
    finally:
        _asked.clear()
        _asked.update(before)


@contextmanager
def listening() -> Iterator[list[Choice]]:
    """Collect the choices that are made inside the `with`, in order."""
    heard: list[Choice] = []
    _listeners.append(heard)
    try:
        yield heard
    finally:
        # By identity: two lists that heard the same are equal.
        _listeners[:] = [other for other in _listeners if other is not heard]


def explain(function: Callable[..., Any], *arguments: Any, **options: Any) -> list[Choice]:
    """Call a layer or an operation once and tell which backends were chosen, each reason once."""
    with listening() as heard:
        function(*arguments, **options)
    return list(dict.fromkeys(heard))


def kernels_serve(rows: Tensor) -> bool:
    """Tell whether the library's kernels are the default for rows on this device, of this dtype.

    Rows on the CPU never are: there the kernels are interpreted, to be read and tested, and a
    call takes seconds.
    """
    return rows.is_cuda and rows.dtype in KERNEL_DTYPES and _compiles()


@functools.cache
def _compiles() -> bool:
    return mode() == "compiled"
