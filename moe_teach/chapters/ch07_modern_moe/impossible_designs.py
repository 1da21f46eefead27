"""Exercise 7.1: designs that cannot be built, and the ways of not refusing them well."""

from typing import Any

from moe_teach.judging.exercise import Words
from moe_teach.judging.reasons import Why

IMPOSSIBLE = (
    (
        (8, 1, 10, 4, 0),
        "A width of 10 cannot be cut into 4 equal parts, and the design was not refused.",
        "Rounding it away makes the layer smaller without telling anybody.",
    ),
    (
        (8, 1, 2, 4, 0),
        "A width of 2 cannot be cut into 4 equal parts, and the design was not refused.",
        "There is less than one unit for each.",
    ),
    (
        (8, 1, 64, 2, 2),
        "There are as many shared experts as places, and the design was not refused.",
        "The router has nothing to choose: k = 0.",
    ),
    (
        (8, 2, 64, 2, 5),
        "There are more shared experts than places, and the design was not refused.",
        "k is negative.",
    ),
    (
        (8, 1, 64, 1, 1),
        "Nothing is cut here, the one place goes to a shared expert, and the design was not "
        "refused.",
        "The router has nothing to choose, whatever `split` is.",
    ),
    (
        (4, 1, 64, 2, 8),
        "All experts are shared here, and the design was not refused.",
        "No place is left for the router.",
    ),
)
OTHERWISE = {  # how a design was refused instead
    "returned": (
        "A ValueError was *returned*, and nobody notices that.",
        Why("`return` hands it over like any value.", "Write `raise`."),
    ),
    "a ValueError without a word": (
        "This design is refused without saying why.",
        Why("The ValueError has no text.", "Give it a sentence."),
    ),
    "an AssertionError": (
        "This design is refused, but by an AssertionError.",
        Why("An assert vanishes under `python -O`.", "For bad input, raise ValueError."),
    ),
}


def refused(answer: Any, case: tuple[int, ...]) -> Any:
    """Call with an impossible design; give back what came, or None where it was refused."""
    try:
        return answer(*case)
    except ValueError as refusal:
        return None if str(refusal).strip() else Words("a ValueError without a word")
    except AssertionError:
        return Words("an AssertionError")
