"""Exercises whose stages run beside the answer, because no line can be drawn between the two.

Whoever wrote such an answer could write its verdict too: in the worker the engine's functions, the
library's and the pipe lie open to it. An answer that replaces `run_exercise`, or sends the JSON of
a passed outcome by itself, has the points of its exercise. It cannot have more: each exercise has a
worker of its own behind the same walls, the grader reads from the outcome no more points than the
exercise has, and no private probe is ever sent here. Every result says so in a flag, so that a
teacher may look at the answer.
"""

INSIDE = {
    "10.8": "the learner's test opens a watch of its own, and what it watches are the kernels that "
    "the check hands to it: the interpreter that runs them and the watch that looks at it are one "
    "process, which is the answer's. With the kernels there, which of them are broken is there too",
}
FLAG = "judged inside the worker"
