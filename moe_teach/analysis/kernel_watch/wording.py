"""What a learner reads when a kernel misses: what happened, then the likely cause."""

from moe_teach.analysis.kernel_watch.buffer import Buffer, in_words
from moe_teach.analysis.kernel_watch.fault import Cause, Stray

_VERBS = {
    "load": "loads",
    "store": "stores to",
    "atomic": "updates",
    "atomic load": "loads",
    "atomic store": "stores to",
}
_CAUSES: dict[Cause, str] = {
    "no mask": "A mask is missing: the last block is seldom full, so pass mask=offsets < n.",
    "mask": (
        "Its mask lets them through: the limit of the mask is too high, or the mask checks another "
        "index than the address uses."
    ),
    "index": (
        "So the address is wrong from the start: an index that is one too high or belongs to "
        "another tensor, a wrong stride, or more programs than there is work for."
    ),
    "negative index": (
        "An index is negative: a -1 that stands for nothing (a dropped choice) has to be masked "
        "out, or something is subtracted once too often."
    ),
    "stride": (
        "Either the stride is wrong (pass tensor.stride(0), not the width), or the mask does not "
        "stop at the last column."
    ),
    "overflow": (
        "So far off, a 32-bit offset has probably wrapped around at 2^31: make the index int64 "
        "before it is multiplied, as in row.to(tl.int64) * stride."
    ),
    "empty": "Return before the launch when there is nothing to do, or mask the access.",
    "pointer type": (
        "A pointer was cast to another type, or bytes were counted instead of elements."
    ),
    "unwatched": "",
}


def sentence_about(stray: Stray) -> str:
    """Write the sentences of a `KernelFault`."""
    if stray.buffer is None:
        parts = [_unwatched(stray)]
    else:
        parts = [_what(stray, stray.buffer), _neighbour(stray), _index(stray), _cause(stray)]
    if stray.line:
        parts.append(f"The line, in {stray.kernel}: {stray.line}")
    return " ".join(part for part in parts if part)


def _unwatched(stray: Stray) -> str:
    verb = "loads from" if "load" in stray.kind else _VERBS[stray.kind]
    start = f"Program {stray.program_name} {verb}"
    if stray.argument:
        return (
            f"{start} {stray.argument}, which is none of the watched tensors: name it too, as in "
            f"watch(..., {stray.argument}={stray.argument})."
        )
    return (
        f"{start} the address {int(stray.addresses[0]):#x}, which belongs to no watched tensor: a "
        "number was taken for a pointer."
    )


def _what(stray: Stray, buffer: Buffer) -> str:
    start = f"Program {stray.program_name} {_VERBS[stray.kind]}"
    layout = f"(shape {buffer.shape})"
    if not buffer.contiguous:
        layout = f"(shape {buffer.shape}, strides {buffer.stride})"
    if not buffer.count:
        return f"{start} {buffer.name}, which has no elements at all {layout}."
    target = f"{start} {_target(buffer, int(stray.steps[0]))}"
    lanes = _lanes(stray)
    match stray.where:
        case "before":
            return f"{target} {layout}: {lanes} before its start."
        case "past the end" if buffer.contiguous:
            end = f"which ends at element {buffer.count - 1}"
            return f"{target}, {end} {layout}: {lanes} past the end."
        case "past the end":
            return f"{target} {layout}: {lanes} past the end."
        case "inside an element":
            return f"{target} {layout}, but {lanes} not where an element begins."
    return f"{target} {layout}, but {lanes} in a gap between its elements."


def _target(buffer: Buffer, step: int) -> str:
    if buffer.contiguous:
        return f"element {step} of {buffer.name}"
    index = buffer.coordinates(step)
    if index is None:
        return f"the place {step} elements of memory behind the first of {buffer.name}"
    return f"{in_words(index)} of {buffer.name}"


def _lanes(stray: Stray) -> str:
    wrong, active = len(stray.addresses), stray.active
    if active == 1:
        return "its only active lane is" if stray.lanes > 1 else "this is"
    if wrong == active:
        return f"all its {active} active lanes are" if stray.masked else f"all {active} lanes are"
    kind = "active lanes" if stray.masked else "lanes"
    return f"{wrong} of its {active} {kind} {'is' if wrong == 1 else 'are'}"


def _cause(stray: Stray) -> str:
    if stray.cause == "no mask" and stray.masked is None:
        return "A mask is missing, or its limit is too high."
    return _CAUSES[stray.cause]


def _index(stray: Stray) -> str:
    if stray.index_from is None:
        return ""
    return f"The index was computed from values of {stray.index_from}."


def _neighbour(stray: Stray) -> str:
    if stray.neighbour is None:
        return ""
    effect = "would be read instead" if "load" in stray.kind else "would be overwritten"
    return f"On a GPU this need not crash: {stray.neighbour} stands there and {effect}."
