"""Says what became of the mutants of an exercise, in a row of a table and in sentences."""

from collections import Counter
from collections.abc import Sequence

from moe_teach.course.authoring.mutation.crew import Work
from moe_teach.course.authoring.mutation.equal import line_for

HEADER = ("exercise", "name", "made", "rejected", "equal", "unlisted", "seconds")
_REJECTED = ("rejected", "crashed")


def row(work: Work, listed: dict[str, str]) -> tuple[str, ...]:
    """Count what was made and what became of it; a mutant without effect was not made."""
    fates = Counter(verdict.fate for verdict in work.verdicts)
    unlisted = len(survivors(work, listed))
    counts = (
        len(work.verdicts) - fates["without effect"],
        sum(fates[fate] for fate in _REJECTED),
        fates["survived"] - unlisted,
        unlisted,
    )
    return (work.exercise.id, work.exercise.name, *map(str, counts), f"{work.seconds:.0f}")


def total(rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Add the rows up."""
    columns = [sum(int(row[at]) for row in rows) for at in range(2, len(HEADER))]
    return ("", "all", *map(str, columns))


def survivors(work: Work, listed: dict[str, str]) -> list[str]:
    """Show every mutant that the check lets through and nobody listed."""
    return [
        f"{work.exercise.id} lets through ({mutant.rule}; {verdict.said}):\n"
        f"{_signed('-', mutant.old)}{_signed('+', mutant.new)}"
        f"    listed as: {line_for(mutant.key)}\n"
        for mutant, verdict in zip(work.mutants, work.verdicts, strict=False)
        if verdict.fate == "survived" and mutant.key not in listed
    ]


def stale(work: Work, listed: dict[str, str], known: Sequence[str]) -> list[str]:
    """List the entries that no longer hold: the mutant is rejected, or there is none by that key.

    `known` are the keys of all mutants, of which the work may hold a share.
    """
    fates = {
        mutant.key: verdict.fate
        for mutant, verdict in zip(work.mutants, work.verdicts, strict=False)
    }
    gone = [key for key in listed if key not in known]
    settled = [key for key in listed if fates.get(key, "survived") != "survived"]
    return [f"{work.exercise.id}: listed as equal, but no rule makes it: {key}" for key in gone] + [
        f"{work.exercise.id}: listed as equal, but {fates[key]}: {key}" for key in settled
    ]


def _signed(sign: str, lines: str) -> str:
    return "".join(f"    {sign} {line.strip()}\n" for line in lines.splitlines())
