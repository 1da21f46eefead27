"""What a learner reads when a kernel misses: what happened, then the likely cause."""

from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.analysis.kernel_watch.fault import FAR, Stray

_VERBS = {"load": "loads", "store": "stores to", "atomic": "updates"}


def sentence_about(stray: Stray) -> str:
    """Write the sentences of a `KernelFault`."""
    if stray.buffer is None:
        parts = [_unwatched(stray)]
    else:
        parts = [_what(stray, stray.buffer), _neighbour(stray), _cause(stray, stray.buffer)]
    if stray.line:
        parts.append(f"The line is: {stray.line}")
    return " ".join(part for part in parts if part)


def _unwatched(stray: Stray) -> str:
    verb = "loads from" if stray.kind == "load" else _VERBS[stray.kind]
    if stray.argument:
        return (
            f"Program {stray.program_name} {verb} {stray.argument}, which is none of the watched "
            f"tensors: name it too, as in watch(..., {stray.argument}={stray.argument})."
        )
    return (
        f"Program {stray.program_name} {verb} the address {int(stray.addresses[0]):#x}, which "
        "belongs to no watched tensor: a number was used as a pointer."
    )


def _what(stray: Stray, buffer: Buffer) -> str:
    start = f"Program {stray.program_name} {_VERBS[stray.kind]}"
    shape = f"(shape {_shape(buffer)})"
    element = int(stray.elements[0])
    if not buffer.count:
        return f"{start} {buffer.name}, which has no elements at all {shape}."
    lanes = _lanes(stray)
    match stray.where:
        case "before":
            return f"{start} element {element} of {buffer.name} {shape}: {lanes} before its start."
        case "past the end":
            last = buffer.span // buffer.itemsize - 1
            return (
                f"{start} element {element} of {buffer.name}, which ends at element {last} "
                f"{shape}: {lanes} past the end."
            )
        case "inside an element":
            return (
                f"{start} {buffer.name} in the middle of its element {element}: {lanes} on no "
                f"boundary of its {buffer.itemsize}-byte elements."
            )
    return (
        f"{start} the place {element} steps behind the first element of {buffer.name}, but there "
        f"is a gap (shape {_shape(buffer)}, strides {tuple(buffer.stride)}): {lanes} between its "
        "elements."
    )


def _lanes(stray: Stray) -> str:
    wrong = len(stray.addresses)
    if stray.active == 1:
        return "its only lane is"
    if wrong == stray.active:
        return f"all of its {stray.active} lanes are"
    return f"{wrong} of its {stray.active} lanes {'is' if wrong == 1 else 'are'}"


def _neighbour(stray: Stray) -> str:
    if stray.neighbour is None:
        return ""
    effect = "would be read in its place" if stray.kind == "load" else "would be overwritten"
    return f"On a GPU this would not crash: {stray.neighbour} stands there and {effect}."


def _cause(stray: Stray, buffer: Buffer) -> str:
    if not buffer.count:
        return "Return before the launch when there is nothing to do, or mask the access."
    far = int(abs(stray.elements).max())
    if far >= FAR:
        return (
            "So far off is an offset that wrapped around: 32-bit integers end at 2^31. Make the "
            "index int64 before it is multiplied, as in row.to(tl.int64) * stride."
        )
    every = len(stray.addresses) == stray.active
    match stray.where:
        case "before":
            return (
                "An index is negative: a slot of -1 (a dropped choice) has to be masked out, or "
                "something is subtracted once too often."
            )
        case "inside an element":
            return "A pointer was cast to another type, or bytes were counted instead of elements."
        case "between":
            return (
                "Either the stride is wrong (pass tensor.stride(0), not the width), or the mask "
                "does not stop at the last column."
            )
    if every and (stray.active > 1 or far >= 2 * buffer.count):
        return (
            "When no lane is right, the start of the block is wrong: the stride, the index of "
            "another tensor, or more programs than there are blocks."
        )
    if not stray.masked:
        return "A mask is missing: the last block is seldom full, so pass mask=offsets < n."
    return "It has a mask, but the mask's limit is too high."


def _shape(buffer: Buffer) -> str:
    return str(buffer.shape)
