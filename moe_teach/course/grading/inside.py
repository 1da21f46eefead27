"""Exercises whose stages run beside the answer, because no line can be drawn between the two.

Whoever wrote such an answer could write its verdict too: every result says so in a flag.
"""

INSIDE = {
    "10.8": "the learner's test opens a watch of its own, and what it watches are the kernels that "
    "the check hands to it: both must live in one process",
}
FLAG = "judged inside the worker"
