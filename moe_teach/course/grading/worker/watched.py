"""The watcher's record of launches as plain data, and back into the record of an open watch."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from moe_teach.course.grading.worker import sparse


def launched(work: Any, tensors: dict[str, Any], adopt: bool, poison: bool) -> Any:
    """Do what launches kernels under the watcher; give its result, and what was seen."""
    from moe_teach.analysis.kernel_watch import KernelFault, watch

    try:
        with watch(adopt=adopt, poison=poison, **tensors) as seen:
            found = work()
    except Exception as error:
        cause = _root(error)
        if not isinstance(cause, KernelFault):
            raise cause from None
        told = [cause.told.symptom, cause.told.cause, cause.told.cure]
        about = [cause.buffer, cause.kind, cause.cause]
        return None, {"fault": [str(cause), told, *about]}
    return found, _told(seen._recorder, set(tensors))


def _root(error: BaseException) -> BaseException:
    """Unwrap the error that the kernel's own line raised from the interpreter's around it."""
    while type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def _told(recorder: Any, known: set[str]) -> dict[str, Any]:
    elements = [access.elements for access in recorder.accesses]
    return {
        "buffers": [
            [b.name, list(b.shape), b.tensor.dtype] for b in recorder.buffers if b.name not in known
        ],
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
        "stored": sparse.stored(recorder, known),
    }


def heard(recorder: Any, told: Any) -> None:
    """Add to an open record what was seen elsewhere, or raise the fault that was found there."""
    from moe_teach.analysis.kernel_watch.buffer import Buffer
    from moe_teach.analysis.kernel_watch.records import Access, Collision, Launch

    if "fault" in told:
        raise _fault(*told["fault"])
    first = len(recorder.programs)
    for name, shape, dtype in told["buffers"]:
        recorder.buffers.append(Buffer(name, torch.empty(shape, dtype=dtype)))
    recorder.programs += told["programs"]
    recorder.launches += [
        Launch(str(kernel), grid, range(first + start, first + stop))
        for kernel, grid, start, stop in told["launches"]
    ]
    at, elements = 0, told["elements"]
    for program, buffer, kind, count, lanes, n_bytes in told["accesses"]:
        part = elements[at : at + count]
        recorder.accesses.append(Access(first + program, buffer, kind, part, lanes, n_bytes))
        at += count
    for program, buffer, several in told["collisions"]:
        recorder.collisions.append(Collision(first + program, buffer, several))
    sparse.store(recorder, told["stored"])
    recorder.notes += [replace(note, program=first + note.program) for note in told["notes"]]


def _fault(text: str, told: list[str], buffer: Any, kind: str, cause: str) -> Exception:
    from moe_teach.analysis.kernel_watch import KernelFault, Told

    fault = KernelFault.__new__(KernelFault)
    Exception.__init__(fault, str(text))
    fault.told = Told(*map(str, told))
    fault.buffer, fault.kind, fault.cause = buffer, kind, cause
    return fault
