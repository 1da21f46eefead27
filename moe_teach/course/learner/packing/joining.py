"""Joins two records of progress, so that the better state of each exercise wins."""

from dataclasses import replace

from moe_teach.course import registry
from moe_teach.course.learner.progress_file import Progress, Record
from moe_teach.judging.exercise import Exercise


def joined(one: Progress, other: Progress) -> Progress:
    """Join two records of progress; the order of the two makes no difference."""
    on_both = one.records.keys() & other.records.keys()
    both = {i: joined_record(i, one.of(i), other.of(i)) for i in on_both}
    return Progress({**one.records, **other.records, **both})


def joined_record(item_id: str, one: Record, other: Record) -> Record:
    """Join two records of one exercise: a pass stays a pass, a hint once opened stays open.

    Tries are not added up: the same ones may have been on both machines.
    """
    longer = max(one, other, key=lambda r: (r.attempts, -r.failures, r.state))
    best = _better(item_id, one, other)
    both = replace(
        longer,
        hints=tuple(sorted({*one.hints, *other.hints})),
        solution_opened=one.solution_opened or other.solution_opened,
        best=best.best,
        best_version=best.best_version,
    )
    passes = [record for record in (one, other) if record.state == "passed"]
    if not passes:
        return both
    version = max(record.passed_version for record in passes)
    current = [record for record in passes if record.passed_version == version]
    return replace(
        both,
        state="passed",
        passed_version=version,
        points=max(record.points for record in current),
        passed_on=min(record.passed_on for record in current),
    )


def _better(item_id: str, one: Record, other: Record) -> Record:
    """Say which of two records holds the better figure of an open task."""
    known = [record for record in (one, other) if record.best is not None]
    if len(known) < 2 or one.best_version != other.best_version:
        return max(known or [one], key=lambda record: record.best_version)
    try:
        item = registry.find(item_id)
    except registry.UnknownId:  # of a chapter that another version of the course has
        return one
    goal = item.goal if isinstance(item, Exercise) else None
    return other if goal and goal.is_better(other.best, one.best) else one
