"""Exercises whose stages run beside the answer, because no line can be drawn between the two.

Whoever wrote such an answer could write its verdict too: every result says so in a flag.
"""

_VAST = (
    "one stage launches the kernel on tensors of which only the addresses exist, far more than any "
    "memory holds: they cannot be sent"
)
_OFTEN = "a simulation asks the policy many thousand times, and each question would cross the line"
INSIDE = {
    "3.4": "one stage hands over a matrix with a `.grad` from before, and the gradient that a "
    "tensor keeps stays on its side of the line",
    "6.7": "the answer puts a function of its own into the layer of the check, and a training loop "
    "calls it through modules, optimiser and gradients of both sides; sent across, the training "
    "broke off, and why was not found",
    "7.7": "one stage copies the layer with all that it holds, and an object of the learner's own "
    "that is no module cannot be copied from here",
    "8.1": "one stage counts the matrices that are in memory at a time, and they lie in the memory "
    "of the other side",
    "9.4": _VAST,
    "9.5": _VAST,
    "10.1": _VAST,
    "10.3": _VAST,
    "10.4": _VAST,
    "10.8": "the learner's test opens a watch of its own, and what it watches are the kernels that "
    "the check hands to it: both must live in one process",
    "14.2": _OFTEN,
    "14.6": _OFTEN,
}
FLAG = "judged inside the worker"
