"""Launches a learner's Triton kernel for a check, and turns whatever it does into a sentence.

A wrong kernel does not raise: it reads and writes memory that is not its own. So a check launches
it in the interpreter under `watch`, which compares every address with the tensors it was given
*before* memory is touched, and notes who read and wrote what. Triton is imported where it is used:
the checks of all chapters are loaded on machines that have none.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.calling import readable
from moe_teach.judging.exercise import WrongAnswer, require
from moe_teach.judging.filing import file_source
from moe_teach.judging.kernels import demand_kernel
from moe_teach.judging.launched import Run
from moe_teach.judging.reasons import Why

_MIXED_MASK = (
    "A mask has a dtype that Triton's interpreter refuses.",
    "The mask may join a block of conditions with a single one, as in `(column < width) & (slot >= "
    "0)`. A GPU can do that, the interpreter cannot.",
    "Write tl.where(slot >= 0, column < width, False), which means the same.",
)
Causes = Mapping[tuple[str, str], Why]  # (buffer, "load" | "store" | "atomic") -> likely, here
# Where the watcher saw what happened, it knows better than a check that can only guess.
_CERTAIN = ("open lane", "overflow", "empty", "pointer type", "unwatched")


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: Mapping[str, Any],
    *,
    outputs: Iterable[str],
    causes: Causes | None = None,
) -> Run:
    """Launch `kernel` under the watcher.

    Args:
        kernel: what the learner handed in.
        grid: how many programs there are along each axis.
        arguments: tensors, numbers and constants by the stub's parameter names, in its order. A
            tensor's parameter is called `x_ptr`; feedback and causes call the tensor `x`.
        outputs: the tensors that the kernel may write, by name, as prepared by the check.
        causes: the likely cause of a wrong access in this exercise, and its cure; they take the
            place of the watcher's, where it only guesses.

    Raises:
        WrongAnswer: for an access outside the tensors or a store to an input.
        Exception: the kernel's own, freed of the interpreter's wrapping.
    """
    demand_kernel(kernel, tuple(arguments))
    return call(kernel[grid], arguments, outputs=outputs, causes=causes, grid=grid)


def call(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    outputs: Iterable[str],
    causes: Causes | None = None,
    **told: Any,
) -> Run:
    """Call a function that launches kernels by itself, under the watcher, as `launch` would.

    It gets the arguments by name, and may launch kernels on their tensors only. `told` is what
    feedback shows beside them.
    """
    buffers = {_short(name): value for name, value in arguments.items() if _is_tensor(value)}
    written = {name: buffers[name] for name in outputs}
    asked = {name: _before(v) for name, v in arguments.items() if _short(name) not in written}
    given = {**told, **readable(asked)}
    fresh = {name: _twin(value) for name, value in written.items() if _is_modest(value)}

    def run(given_arguments: Mapping[str, Any], *, poison: bool) -> Any:
        return _watched(function, given_arguments, poison, causes or {}, given)

    seen = run(arguments, poison=True)
    _demand_inputs_untouched(seen, written, given)
    if seen.open_loads and len(fresh) == len(written):
        run({**arguments, **{_long(name, arguments): fresh[name] for name in fresh}}, poison=False)
        _demand_no_open_lanes(seen, written, fresh, given)
    return Run(given, written, seen)


def _watched(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    poison: bool,
    causes: Causes,
    given: dict[str, Any],
) -> Any:
    from moe_teach.analysis.kernel_watch import watch

    buffers = {_short(name): value for name, value in arguments.items() if _is_tensor(value)}
    try:
        with watch(poison=poison, **buffers) as seen:
            function(**arguments)
    except Exception as error:
        raise _in_words(_root(error), causes, given) from None
    return seen


def _demand_no_open_lanes(
    seen: Any, written: Mapping[str, Tensor], other: Mapping[str, Tensor], given: dict[str, Any]
) -> None:
    """Reject the kernel if its outputs depend on what a load left open: poison, or zeros."""
    told = [load.told for load in seen.open_loads[:3]]
    for name, got in written.items():
        require(
            torch.equal(_bits(got), _bits(other[name])),
            f"What `{name}` holds depends on what stands in lanes that a mask switched off.",
            cause=" ".join(f"{load.symptom} {load.cause}" for load in told),
            cure=told[0].cure,
            got=got,
            example=given,
        )


def _demand_inputs_untouched(seen: Any, written: Mapping[str, Any], given: dict[str, Any]) -> None:
    for access in seen.accesses:
        require(
            access.kind == "load" or access.buffer in written,
            f"The kernel writes to `{access.buffer}`, which is an input.",
            cause="Others still need it as it was, and programs run in any order.",
            cure="Store to the outputs only, and keep what you work out in a variable.",
            example=given,
        )


def _in_words(cause: Any, causes: Causes, given: dict[str, Any]) -> Exception:
    """Give the error that tells the learner most; the kernel's own keeps its type and its lines."""
    from moe_teach.analysis.kernel_watch import KernelFault

    if isinstance(cause, KernelFault):
        told = cause.told
        why = Why(told.cause, told.cure)
        if cause.cause not in _CERTAIN:
            why = causes.get((cause.buffer, cause.kind), why)
        return WrongAnswer(told.symptom, cause=why.cause, cure=why.cure or told.cure, example=given)
    if "mask has unsupported dtype" in str(cause):
        said, why, cure = _MIXED_MASK
        return WrongAnswer(said, cause=why, cure=cure, example=given)
    cause.example = given
    return cause


class Runs:
    """The launches of one check, made once for each kernel and seed and looked at by all stages.

    The first stage makes them with `fresh`, so that a second check of the same kernel object never
    meets launches from before some helper of the kernel was edited.
    """

    def __init__(self, launch_all: Callable[[Any, int], list[Run]]) -> None:
        self._launch_all = launch_all
        self._known: dict[tuple[int, int], tuple[Any, list[Run]]] = {}

    def fresh(self, kernel: Any, seed: int) -> list[Run]:
        """Launch, and remember; the kernel is held so that its identity stays its own."""
        if any(known is not kernel for known, _ in self._known.values()):
            self._known.clear()
        runs = self._launch_all(kernel, seed)
        self._known[id(kernel), seed] = (kernel, runs)
        return runs

    def of(self, kernel: Any, seed: int) -> list[Run]:
        """Give the launches of an earlier stage, or make them."""
        if (id(kernel), seed) in self._known:
            return self._known[id(kernel), seed][1]
        return self.fresh(kernel, seed)


def kernel_from(source: str, name: str) -> Any:
    """Build the kernel `name` from source text that starts with `@triton.jit`.

    The text is filed where `inspect` looks for it: Triton reads a kernel's source, both to compile
    and to interpret it.
    """
    from moe_teach.ops.triton_host import tl, triton

    namespace: dict[str, Any] = {"tl": tl, "triton": triton, "__name__": "kernels"}
    exec(compile(source, file_source(source, "kernel"), "exec"), namespace)
    return namespace[name]


def source_of(kernel: Any) -> str:
    """Give the source text of a kernel, from its decorator to its last line."""
    return inspect.getsource(kernel.fn)


def _root(error: BaseException) -> Any:
    """Unwrap the error that the kernel's own line raised from the interpreter's around it."""
    while type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def _before(value: Any) -> Any:
    return value.detach().clone() if _is_tensor(value) and _is_small(value) else value


def _is_small(value: Tensor) -> bool:
    return value.numel() <= 4096


def _is_modest(value: Tensor) -> bool:
    return value.untyped_storage().nbytes() < 2**26  # what only has addresses must not be copied


def _twin(tensor: Tensor) -> Tensor:
    """Copy a tensor with its strides, gaps included."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(tensor)


def _bits(tensor: Tensor) -> Tensor:
    """Let a NaN be equal to itself."""
    return tensor.reshape(-1).view(torch.uint8)


def _long(name: str, arguments: Mapping[str, Any]) -> str:
    return name if name in arguments else f"{name}_ptr"


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _short(name: str) -> str:
    return name.removesuffix("_ptr")
