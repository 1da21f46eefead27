"""The watcher's record of a launch as plain data, and back."""

from typing import Any

import numpy as np
import torch


def short(name: str) -> str:
    """Give the name under which a check speaks of a kernel's tensor."""
    return name.removesuffix("_ptr")


def is_tensor(value: Any) -> bool:
    """Tell what the watcher guards."""
    return isinstance(value, torch.Tensor)


def launched(function: Any, arguments: dict[str, Any], poison: bool) -> dict[str, Any]:
    """Launch under the watcher, and tell what it saw, or the fault that it found."""
    from moe_teach.analysis.kernel_watch import KernelFault, watch

    buffers = {short(name): value for name, value in arguments.items() if is_tensor(value)}
    try:
        with watch(poison=poison, **buffers) as seen:
            function(**arguments)
    except Exception as error:
        cause = _root(error)
        if not isinstance(cause, KernelFault):
            raise cause from None
        told = cause.told
        return {
            "fault": {
                "text": str(cause),
                "told": [told.symptom, told.cause, told.cure],
                "buffer": cause.buffer,
                "kind": cause.kind,
                "cause": cause.cause,
            }
        }
    return _told(seen._recorder)


def _root(error: BaseException) -> BaseException:
    """Unwrap the error that the kernel's own line raised from the interpreter's around it."""
    while type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def _told(recorder: Any) -> dict[str, Any]:
    elements = [access.elements for access in recorder.accesses]
    return {
        "programs": [tuple(map(int, program)) for program in recorder.programs],
        "launches": [
            [one.kernel, tuple(map(int, one.grid)), one.programs.start, one.programs.stop]
            for one in recorder.launches
        ],
        "accesses": [
            [int(a.program), a.buffer, a.kind, len(a.elements), int(a.lanes), int(a.n_bytes)]
            for a in recorder.accesses
        ],
        "elements": np.concatenate([*elements, np.zeros(0, dtype=np.int64)]).astype(np.int64),
        "collisions": [
            [int(c.program), c.buffer, np.asarray(c.elements, dtype=np.int64)]
            for c in recorder.collisions
        ],
        "notes": list(recorder.notes),
    }


def filled(recorder: Any, found: Any) -> None:
    """Fill an empty record with what was told of another one."""
    from moe_teach.analysis.kernel_watch.records import Access, Collision, Launch

    recorder.programs += found["programs"]
    recorder.launches += [
        Launch(str(kernel), grid, range(start, stop))
        for kernel, grid, start, stop in found["launches"]
    ]
    at, elements = 0, found["elements"]
    for program, buffer, kind, count, lanes, n_bytes in found["accesses"]:
        part = elements[at : at + count]
        recorder.accesses.append(Access(program, buffer, kind, part, lanes, n_bytes))
        at += count
    recorder.collisions += [Collision(*one) for one in found["collisions"]]
    recorder.notes += found["notes"]
