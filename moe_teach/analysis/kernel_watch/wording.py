"""What a learner reads when a kernel misses: what happened, then the likely cause."""

from moe_teach.analysis.kernel_watch.buffer import Buffer, in_words
from moe_teach.analysis.kernel_watch.fault import Cause, Stray, Where
from moe_teach.analysis.kernel_watch.records import WIDEN

_VERBS = {
    "load": "loads",
    "store": "stores to",
    "atomic": "updates",
    "atomic load": "loads",
    "atomic store": "stores to",
}
_PLACES: dict[Where, str] = {
    "before": "before its start",
    "past the end": "past the end",
    "between": "in a gap between its elements",
    "inside an element": "not where an element begins",
}
_CAUSES: dict[Cause, str] = {
    "no mask": "A mask is missing: the last block is seldom full, so pass mask=offsets < n.",
    "mask": (
        "Its mask lets them through: the limit of the mask is too high, or the mask checks another "
        "index than the address uses."
    ),
    "index": (
        "The address is wrong from the start: an index that is one too high or belongs to another "
        "tensor, a wrong stride, or more programs than there is work for."
    ),
    "negative index": (
        "An index is negative: a -1 that stands for nothing has to be masked out, or something is "
        "subtracted once too often."
    ),
    "stride": (
        "Either the stride is wrong (pass tensor.stride(0), not the width), or the mask does not "
        "stop at the last column."
    ),
    "overflow": (
        "So far off, a 32-bit offset has probably wrapped around at 2^31: make the index int64 "
        "before it is multiplied, as in row.to(tl.int64) * stride."
    ),
    "block pointer": (
        "Either boundary_check leaves out an axis, or the shape and strides that the block pointer "
        "was made with are not the tensor's."
    ),
    "descriptor": ("The shape and strides that the descriptor was made with are not the tensor's."),
    "empty": "Return before the launch when there is nothing to do, or mask the access.",
    "pointer type": (
        "A pointer was cast to another type, or bytes were counted instead of elements."
    ),
    "unwatched": "",
}
_CAUSES_OF_AN_INDEX: dict[Cause, str] = {
    "no mask": "either a value there does not belong to {name}, or a mask is missing.",
    "mask": "either a value there does not belong to {name}, or the limit of the mask is too high.",
    "index": "a value there does not belong to {name}, or something is added to it that should "
    "not be.",
    "negative index": "a -1 there stands for nothing, so it has to be masked out, as in "
    "mask=index >= 0.",
}


def sentence_about(stray: Stray) -> str:
    """Write the sentences of a `KernelFault`: what happened, in which line, and the cause."""
    if stray.buffer is None:
        what, neighbour = _unwatched(stray), ""
    else:
        what, neighbour = _what(stray, stray.buffer), _neighbour(stray)
    parts = (what, str(stray.line), neighbour, _cause(stray))
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
    start = f"{start} {_target(buffer, int(stray.steps[0]))}"
    border = ""
    if buffer.contiguous and stray.where == "before":
        border = "which begins at element 0 "
    if buffer.contiguous and stray.where == "past the end":
        border = f"which ends at element {buffer.count - 1} "
    start = f"{start}, {border}{layout}" if border else f"{start} {layout}"
    if stray.lanes == 1 and border:
        return f"{start}."
    return f"{start}: {_lanes(stray)} {_PLACES[stray.where]}."


def _target(buffer: Buffer, step: int) -> str:
    if buffer.contiguous:
        return f"element {step} of {buffer.name}"
    index = buffer.coordinates(step)
    if index is None:
        return f"the place {step} elements of memory behind the first of {buffer.name}"
    return f"{in_words(index)} of {buffer.name}"


def _lanes(stray: Stray) -> str:
    wrong, active = len(stray.addresses), stray.active
    kind = "lane" if stray.masked is False or active == stray.lanes else "active lane"
    if active == 1:
        return f"its only {kind} is"
    if wrong == active:
        return f"all {active} {kind}s are"
    return f"{wrong} of its {active} {kind}s {'is' if wrong == 1 else 'are'}"


def _cause(stray: Stray) -> str:
    if stray.opened:
        return (
            "The address is made of a lane that another mask had switched off, and without `other` "
            f"such a lane holds anything at all. {stray.opened} Pass other=... there, or switch "
            "the lane off here as well."
        )
    if stray.wrapped:
        return f"An offset wrapped around at 2^31 on the way. {stray.wrapped} {WIDEN}"
    source, cause = stray.index_from, stray.cause
    if source and cause in _CAUSES_OF_AN_INDEX:
        name = stray.buffer.name if stray.buffer else ""
        return f"The index comes from {source}: {_CAUSES_OF_AN_INDEX[cause].format(name=name)}"
    if cause == "no mask" and stray.masked is None:
        return "A mask is missing, or its limit is too high."
    return _CAUSES[cause]


def _neighbour(stray: Stray) -> str:
    if stray.neighbour is None:
        return ""
    effect = "would be read instead" if "load" in stray.kind else "would be overwritten"
    return f"On a GPU this need not crash: {stray.neighbour} stands there and {effect}."
