"""The `with` statement that watches the memory of interpreted kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch import Tensor

from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.analysis.kernel_watch.patches import patched
from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.seen import Seen
from moe_teach.config import refuse
from moe_teach.ops.triton_mode import VARIABLE, choose_mode

_one_at_a_time = Lock()
_open: list[Recorder] = []


@contextmanager
def watch(
    *,
    record: bool = True,
    adopt: bool = False,
    poison: bool = True,
    **tensors: Tensor | None,
) -> Iterator[Seen]:
    """Guard and record what interpreted Triton kernels do to the named tensors.

        with watch(x=x, rows=rows) as seen:
            kernel[grid](x, rows, ...)

    A pointer may reach the tensor that it was handed to the kernel as, and no other; see the
    package for tensors that share memory.

    Args:
        record: False only guards, and keeps no record.
        adopt: True also watches the tensors of a launch that overlap with none of the named ones,
            under the name of the kernel's parameter. So a library function can be watched that
            makes tensors of its own: `with watch(x=x, adopt=True) as seen: dispatch(x, ...)`.
        poison: True puts NaN, or an integer far outside every tensor, into the lanes that a load
            under a mask without `other` leaves open; False leaves the interpreter's zeros there.
        tensors: every tensor that the kernels may touch, under the name that sentences shall use.
            None is passed over.

    Yields:
        The record, which grows with every launch and stays readable after the `with`.

    Raises:
        KernelFault: from the launch, when a program reaches outside these tensors; before
            anything is read or written there.
        RuntimeError: where kernels are compiled or Triton is absent, or when another watch is open.
        ValueError: for a tensor that is not on the CPU.
    """
    _demand_interpreter()
    _demand_switches(record, adopt, poison)
    buffers = [_buffer(*named) for named in tensors.items() if named[1] is not None]
    recorder = Recorder(buffers, record, adopt, poison)
    with _alone(recorder), patched(recorder):
        yield Seen(recorder)


def open_recorder() -> Recorder | None:
    """Give the record of the watch that is open, for launches that happen in another process."""
    return _open[0] if _open else None


def _demand_switches(*switches: bool) -> None:
    for switch in switches:
        refuse(
            isinstance(switch, Tensor),
            "record, adopt and poison are switches, no names for tensors.",
        )


@contextmanager
def _alone(recorder: Recorder) -> Iterator[None]:
    if not _one_at_a_time.acquire(blocking=False):
        raise RuntimeError(
            "Another watch is open: one process can watch kernels only once at a time. Close the "
            "first `with watch(...)` before you open the second, or name all tensors in one."
        )
    _open.append(recorder)
    try:
        yield
    finally:
        _open.clear()
        _one_at_a_time.release()


def _demand_interpreter() -> None:
    found = choose_mode()
    if found == "absent":
        raise RuntimeError("Triton is not installed here: only interpreted kernels can be watched.")
    if found == "compiled":
        raise RuntimeError(
            "A compiled kernel cannot be watched: only Triton's interpreter asks before it touches "
            f"memory. Set the environment variable {VARIABLE}=1 before Triton is imported, and "
            "restart Python."
        )
    import moe_teach.ops.triton_host  # noqa: F401  (lets Triton in with its interpreter on)


def _buffer(name: str, tensor: Tensor) -> Buffer:
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a tensor to be watched, but it is {type(tensor).__name__}."
        )
    refuse(
        tensor.device.type != "cpu",
        f"{name} is on {tensor.device}: interpreted kernels work on copies of such tensors, so "
        "only tensors on the CPU can be watched. Move it with .cpu().",
    )
    return Buffer(name, tensor)
