"""The ward: who lies behind which letter. Reading this file is reading the answers.

A diagnosis is judged by the signs alone: it is right when no sign contradicts it.
"""

from moe_teach.chapters.ch06_load_balancing.clinic.diagnoses import DIAGNOSES, contradiction
from moe_teach.chapters.ch06_load_balancing.clinic.signs import SIGNS

_BEHIND = {
    "A": "k-not-divided",
    "B": "noise-at-evaluation",
    "C": "wrong-axis",
    "D": "residual-twice",
    "E": "loss-not-added",
    "F": "constant-gate",
    "G": "healthy",
    "H": "bias-in-gates",
    "I": "first-choice-only",
    "J": "loss-detached",
    "K": "capacity-at-evaluation",
    "L": "bias-never-moves",
}
_OUTSIDE = {"health": "healthy", "practice": "gates-not-normalised"}  # shown with their names


def cases() -> tuple[str, ...]:
    """Name the patients: one letter each."""
    return tuple(_BEHIND)


def behind(case: str) -> str:
    """Give the true diagnosis of a case; the check asks, and readers should not."""
    everybody = _BEHIND | _OUTSIDE
    if case not in everybody:
        raise ValueError(f"There is no case {case!r}. The ward has: {', '.join(_BEHIND)}.")
    return everybody[case]


def objection(case: str, claimed: str) -> str:
    """Say which observation contradicts a diagnosis; an empty text means that none does."""
    found = contradiction(claimed, behind(case))
    if found is None:
        return ""
    name, would, does = found
    sign = SIGNS[name]
    if name in DIAGNOSES[claimed].shows:
        return (
            f"Case {case} is not {claimed!r}: with it, panel {sign.panel} would show that "
            f"{sign.asks} {would}. Here: {does}."
        )
    return (
        f"Case {case}: {claimed!r} does not explain panel {sign.panel}, which shows that "
        f"{sign.asks} {does}. With this diagnosis: {would}."
    )
