"""What a learner reads when a kernel misses: what happened, the likely cause, and the cure."""

from moe_teach.analysis.kernel_watch.buffer import Buffer, in_words
from moe_teach.analysis.kernel_watch.fault import Cause, Stray, Where
from moe_teach.analysis.kernel_watch.records import WIDEN
from moe_teach.analysis.kernel_watch.told import Told, joined

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
# Each cause with its cure.
_CAUSES: dict[Cause, tuple[str, str]] = {
    "no mask": (
        "A mask is missing: the last block is seldom full.",
        "Pass mask=offsets < n.",
    ),
    "mask": (
        "Its mask lets them through: the limit of the mask is too high, or the mask checks another "
        "index than the address uses.",
        "Compare the mask with the address, lane by lane: where one leaves the tensor, the other "
        "must be false.",
    ),
    "index": (
        "The address is wrong from the start: an index that is one too high or belongs to another "
        "tensor, a wrong stride, or more programs than there is work for.",
        "Work out the address of this program by hand, and compare it with the line.",
    ),
    "negative index": (
        "An index is negative: it is a -1 that stands for nothing, or something is subtracted once "
        "too often.",
        "Mask it out, as in mask=index >= 0, or subtract less.",
    ),
    "stride": (
        "Either the stride is wrong, or the mask does not stop at the last column.",
        "Step from row to row by tensor.stride(0), not by the width, and mask the columns.",
    ),
    "overflow": (
        "So far off, an offset has probably wrapped around at the end of its integer type.",
        WIDEN,
    ),
    "block pointer": (
        "Either boundary_check leaves out an axis, or the shape and strides that the block pointer "
        "was made with are not the tensor's.",
        "Name every axis in boundary_check, and make the pointer with the tensor's own shape and "
        "strides.",
    ),
    "descriptor": (
        "The shape and strides that the descriptor was made with are not the tensor's.",
        "Make it with the tensor's own.",
    ),
    "empty": (
        "There is nothing to do here, and a lane was switched on all the same.",
        "Mask the access, or do not launch when there is nothing to do.",
    ),
    "pointer type": (
        "A pointer was cast to another type, or bytes were counted instead of elements.",
        "Keep the pointer's type, and count elements: Triton multiplies by their size itself.",
    ),
}
_CAUSES_OF_AN_INDEX: dict[Cause, tuple[str, str]] = {
    "no mask": (
        "either a value there does not belong to {name}, or a mask is missing.",
        "Look at the values in {source} first; if they are right, mask the access.",
    ),
    "mask": (
        "either a value there does not belong to {name}, or the limit of the mask is too high.",
        "Look at the values in {source} first; if they are right, correct the mask.",
    ),
    "index": (
        "a value there does not belong to {name}, or something is added to it that should not be.",
        "Look at the values in {source} first, then at what is added to them.",
    ),
    "negative index": (
        "a -1 there stands for nothing.",
        "Mask it out, as in mask=index >= 0.",
    ),
}


def told_about(stray: Stray) -> Told:
    """Put a `KernelFault` into words: what happened and in which line, its cause and its cure."""
    if stray.buffer is None:
        what, cause, cure = _unwatched(stray)
        return Told(joined(what, stray.line), cause, cure)
    what = joined(_what(stray, stray.buffer), stray.line, _neighbour(stray))
    return Told(what, *_reasons(stray, stray.buffer))


def _unwatched(stray: Stray) -> tuple[str, str, str]:
    verb = "loads from" if "load" in stray.kind else _VERBS[stray.kind]
    start = f"Program {stray.program_name} {verb}"
    if stray.argument:
        return (
            f"{start} {stray.argument}, which is none of the watched tensors.",
            "Whoever opened the watch did not name it.",
            f"Name it too, as in watch(..., {stray.argument}={stray.argument}).",
        )
    return (
        f"{start} the address {int(stray.addresses[0]):#x}, which belongs to no watched tensor.",
        "A number was taken for a pointer.",
        "Add offsets to the pointer that the kernel was given.",
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


def _reasons(stray: Stray, buffer: Buffer) -> tuple[str, str]:
    """Give the likely cause and its cure."""
    if stray.opened:
        return (
            "The address is made of a lane that another mask had switched off, and without `other` "
            f"such a lane holds anything at all. {stray.opened}",
            "Pass other=... there, or switch the lane off here as well.",
        )
    if stray.wrapped:
        return (
            "An offset left the range of its integer type on the way, and wrapped around. "
            f"{stray.wrapped}",
            WIDEN,
        )
    source, cause = stray.index_from, stray.cause
    if source and cause in _CAUSES_OF_AN_INDEX:
        why, cure = _CAUSES_OF_AN_INDEX[cause]
        why, cure = (text.format(name=buffer.name, source=source) for text in (why, cure))
        return f"The index comes from {source}: {why}", cure
    if cause == "no mask" and stray.masked is None:
        return "A mask is missing, or its limit is too high.", "Pass mask=offsets < n."
    return _CAUSES[cause]


def _neighbour(stray: Stray) -> str:
    if stray.neighbour is None:
        return ""
    effect = "would be read instead" if "load" in stray.kind else "would be overwritten"
    return f"On a GPU this need not crash: {stray.neighbour} stands there and {effect}."
