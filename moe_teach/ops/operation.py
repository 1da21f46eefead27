"""An operation and the ways to do it: which one a call takes can be seen, and overruled.

The rule of each operation stands beside its implementations; here is what the rules share. Those
for the CPU follow measured crossovers (`moe-teach bench layer --all`). On a GPU the library's own
kernels are taken wherever they can run (`moe-teach bench kernels` measures them on yours).

Who never asks for Triton should never need it: a `Kernel` is imported when it is first picked.

**Two doors.** The function of an operation, `dispatch(...)`, is for everybody: it checks what it is
given. The record behind it, `DISPATCH(...)`, trusts its arguments and is for code that has checked
them, or made them: so a tensor is checked once, however many operations it crosses.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from moe_teach.ops.triton_mode import mode

KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ON_GPU = "the rows stand on a GPU, and the library's kernels run there"
_wishes: ContextVar[tuple[Mapping[str, str], ...]] = ContextVar("wishes", default=())
_listeners: ContextVar[tuple[list["Pick"], ...]] = ContextVar("listeners", default=())


class Kernel:
    """An implementation in Triton, "module:function", imported when it is first picked."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.function: Callable[..., Any] | None = None
        _kernels[place] = self


_kernels: dict[str, Kernel] = {}


@dataclass(frozen=True, slots=True)
class Pick:
    """One operation, the backend it took, and the reason."""

    operation: str
    backend: str
    because: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.backend}, because {self.because}"


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One contract with several implementations, which all trust their arguments.

    `rule(*arguments)` names the backend for a call that names none, and the reason, which ends a
    sentence with "because". What else it returns it has found out on the way: the implementation
    is handed that after its arguments, and need not find it out again. `in_graph` are the backends
    that torch.compile can follow; the others have to ask the data how many rows an expert has.
    """

    name: str
    implementations: Mapping[str, Callable[..., Any] | Kernel]
    rule: Callable[..., tuple[Any, ...]]
    in_graph: frozenset[str] = frozenset({"triton"})

    @property
    def backends(self) -> tuple[str, ...]:
        """The names that `backend=` takes."""
        return tuple(self.implementations)

    def __call__(self, *arguments: Any, backend: str | None = None) -> Any:
        """Pick an implementation once and call it; the first argument is a tensor.

        Raises:
            ValueError: if there is no such backend.
        """
        if torch.compiler.is_dynamo_compiling():
            # Not at the top: torch's compiler takes long to import, and few ask for it.
            from moe_teach.ops.graph import outside

            if not self._stays_in_graph(backend, arguments[0]):
                return outside(self, backend, arguments)
        implementation, found = self.pick(backend, *arguments)
        return implementation(*arguments, *found)

    def pick(self, backend: str | None, *facts: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        """Return the implementation that was named, asked for, or fits these facts.

        With it comes what the rule found out for it.
        """
        found: Sequence[Any] = ()
        if backend is None:
            backend, found = self.decide(*facts)
        implementation = self.implementations.get(backend)
        if implementation is None:
            raise self.unknown(backend)
        if isinstance(implementation, Kernel):
            implementation = imported(implementation)
        return implementation, found

    def decide(self, *facts: Any) -> tuple[str, Sequence[Any]]:
        """Name the backend that was asked for with `using`, or the one that fits these facts.

        What the rule found out on the way comes with the name.
        """
        backend, because = asked_for(self.name), "it was asked for with using(...)"
        found: Sequence[Any] = ()
        if backend is None:
            backend, because, *found = self.rule(*facts)
        if not torch.compiler.is_dynamo_compiling():
            for heard in _listeners.get():
                heard.append(Pick(self.name, backend, because))
        return backend, found

    def unknown(self, backend: object) -> ValueError:
        """Return the error for a backend that does not exist."""
        return ValueError(f"Unknown backend {backend!r}: choose one of {', '.join(self.backends)}.")

    def _stays_in_graph(self, backend: str | None, rows: Tensor) -> bool:
        backend = backend or asked_for(self.name)
        if backend is None:  # a rule may ask the data, but never where kernels serve
            backend = "triton" if kernels_serve(rows) else self.backends[0]
        return backend in self.in_graph


def asked_for(operation: str) -> str | None:
    """Name the backend that the innermost `using` around this call asks for, if one does."""
    for wish in reversed(_wishes.get()):
        if operation in wish:
            return wish[operation]
    return None


def part_asked_for(operations: Sequence[str]) -> str | None:
    """Name the first of these operations for which `using` asks a backend, if there is one."""
    if not _wishes.get():
        return None
    return next((operation for operation in operations if asked_for(operation)), None)


@contextmanager
def wishing(backends: Mapping[str, str]) -> Iterator[None]:
    """Ask for backends, whose names were checked, inside the `with`."""
    with _added(_wishes, backends):
        yield


@contextmanager
def listening() -> Iterator[list[Pick]]:
    """Collect what is picked inside the `with`, in order."""
    heard: list[Pick] = []
    with _added(_listeners, heard):
        yield heard


@contextmanager
def _added(variable: ContextVar[tuple], entry: Any) -> Iterator[None]:
    """Hold one entry more; blocks may end in any order, and each takes only its own away."""
    variable.set((*variable.get(), entry))
    try:
        yield
    finally:
        # By identity: two lists that heard the same are equal.
        variable.set(tuple(other for other in variable.get() if other is not entry))


def kernels_serve(rows: Tensor) -> bool:
    """Tell whether the library's kernels are the default for rows on this device, of this dtype.

    Rows on the CPU never are: there the kernels are interpreted, to be read and tested, and a
    call takes seconds.
    """
    return rows.is_cuda and rows.dtype in KERNEL_DTYPES and kernels_compile()


def kernels_compile() -> bool:
    """Tell whether Triton compiles for a GPU in this process."""
    return _mode() == "compiled"


_mode = functools.cache(mode)


def imported(kernel: Kernel) -> Callable[..., Any]:
    """Give a kernel's function, and import it if nobody has yet.

    Raises:
        ModuleNotFoundError: with what to install, where Triton is absent.
    """
    load(kernel.place)
    assert kernel.function is not None
    return kernel.function


def load(place: str) -> bool:
    """Import the kernel that stands there; it has its function afterwards."""
    kernel = _kernels[place]
    if kernel.function is None:
        if mode() == "absent":
            raise ModuleNotFoundError(
                "The backend 'triton' needs the package triton, which exists for Linux: install "
                "it with pip install 'moe-teach[kernels]', or choose another backend."
            )
        module, name = place.split(":")
        kernel.function = getattr(import_module(module), name)
    return True
