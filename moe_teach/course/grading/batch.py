"""Grades many submissions into a journal, goes on after a kill, and grades again what has changed.

What comes out depends on the submissions and the checks alone: not on the order, the number of
processes, the time, or how often the grader was ended on the way.
"""

import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import TextIOBase

from moe_teach.course.grading.crew import Judge, Judged, Task, judge_all
from moe_teach.course.grading.fingerprint import exercises_of, fingerprint
from moe_teach.course.grading.journal import Entry, Journal, Writer, found, graded, handed_in
from moe_teach.course.grading.probes import is_probed
from moe_teach.course.grading.record import Graded, Submission
from moe_teach.course.grading.standing import Standing, standing_of
from moe_teach.course.registry import find_exercise

Wanted = Callable[[Submission, str], bool]  # of an exercise: is it to be judged (again)?


@dataclass
class Told:
    """What a run did, in numbers and sentences."""

    n_submissions: int = 0
    n_judged: int = 0
    n_before: int = 0
    not_passed: int = 0
    problems: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unprobed: set[str] = field(default_factory=set)  # exercises that probes judged before, now not


def grade(
    submissions: Sequence[Submission], journal: Journal, judge: Judge, *, jobs: int = 1
) -> Told:
    """Grade submissions; what the journal knows already is not judged again.

    Raises:
        JournalError: if the journal cannot be used.
    """
    with journal.opened() as writer:
        standing = standing_of(journal.entries())
        _note_batch(submissions, standing, journal, writer)
        checks = Checks(judge)
        waiting = [Task(s) for s in submissions if not _is_done(s, standing, checks)]
        told = Told(n_before=len(submissions) - len(waiting))
        _work_through(waiting, judge, jobs, writer, checks, told)
    told.n_submissions = len(submissions)
    return told


def regrade(
    journal: Journal,
    judge: Judge,
    *,
    only: Collection[str] = (),
    changed: bool = False,
    jobs: int = 1,
) -> Told:
    """Judge again what counts today: some exercises, what has changed, or everything.

    `changed` means the exercises whose check is not the one that graded. Points given by hand stay.

    Raises:
        JournalError: if the journal, or a copy of what was handed in, cannot be used.
        LookupError: if there is no such exercise.
    """
    for exercise in only:
        find_exercise(exercise)
    with journal.opened() as writer:
        standing = standing_of(journal.entries())
        checks, told = Checks(judge), Told()

        def wanted(submission: Submission, exercise: str) -> bool:
            if only and exercise not in only:
                return False
            entry = standing.graded.get((submission.student, submission.sha256, exercise))
            is_wanted = not changed or entry is None or entry["check"] != checks[exercise]
            if is_wanted and entry and is_probed(entry["check"]) > is_probed(checks[exercise]):
                told.unprobed.add(exercise)
            return is_wanted

        entries = [e for e in standing.current() if _is_touched(e, standing, wanted)]
        waiting = [_task(journal.kept(entry), standing, wanted) for entry in entries]
        told.n_submissions = len(waiting)
        _work_through(waiting, judge, jobs, writer, checks, told, wanted)
    return told


class Checks(dict[str, str]):
    """Today's fingerprint of every exercise that is asked for, with the judge's own mark."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, exercise: str) -> str:
        try:
            self[exercise] = fingerprint(exercise) + self._judge.mark(exercise)
        except LookupError:  # an exercise that the course has no more
            self[exercise] = "gone"
        return self[exercise]

    def get(self, exercise: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Give a fingerprint; there is always one."""
        return self[exercise]


def _note_batch(
    submissions: Sequence[Submission], standing: Standing, journal: Journal, writer: Writer
) -> None:
    """Write down who handed in what, once for the same set of files."""
    names = sorted(f"{s.student}\0{s.name}\0{s.sha256}" for s in submissions)
    batch = hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:12]
    if standing.batch != batch:
        news: Entry = {"kind": "batch", "batch": batch, "size": len(names), "at": _now()}
        writer.add(news)
        standing.take(news)
    known = standing.handed.get(batch, {})
    fresh = [s for s in submissions if f"{s.student}\0{s.name}\0{s.sha256}" not in known]
    for submission in fresh:
        journal.keep(submission)
    entries = [handed_in(submission, batch) for submission in fresh]
    if entries:
        writer.add(*entries)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_done(submission: Submission, standing: Standing, checks: Checks) -> bool:
    return standing.is_done(submission.student, submission.sha256, checks)


def _is_touched(entry: Entry, standing: Standing, wanted: Wanted) -> bool:
    """Tell whether any exercise of a hand-in is wanted; what nobody could read is tried again."""
    known = standing.found.get((entry["student"], entry["sha256"]))
    if known is None or known["problem"] or known["fault"]:
        return True
    who = Submission(**{f: entry[f] for f in ("student", "name", "sha256")}, content=b"")
    return any(wanted(who, exercise) for exercise in known["exercises"])


def _task(submission: Submission, standing: Standing, wanted: Wanted) -> Task:
    """Ask for what is wanted, and for what stands before it, on which it may build."""
    found = standing.found.get((submission.student, submission.sha256))
    exercises = found["exercises"] if found else []
    places = [i for i, exercise in enumerate(exercises) if wanted(submission, exercise)]
    return Task(submission, tuple(exercises[: places[-1] + 1]) if places else ())


def _work_through(
    waiting: Sequence[Task],
    judge: Judge,
    jobs: int,
    writer: Writer,
    checks: Checks,
    told: Told,
    wanted: Wanted = lambda *_: True,
) -> None:
    # Two hand-ins of one student with one content are one piece of work.
    unique = list({(t.submission.student, t.submission.sha256): t for t in waiting}.values())
    bar = Bar(len(unique), sys.stderr)
    for judged in judge_all(unique, judge, jobs):
        exercises = exercises_of(judged.answers.chapter)
        news = [found(judged.answers, exercises, judged.fault)]
        at = _now()
        for result in _completed(judged, exercises):
            if wanted(judged.submission, result.exercise):
                check = checks[result.exercise]
                news.append(graded(judged.submission, result, check, at))
                told.n_judged += 1
                told.not_passed += result.status != "passed"
                _tell_fault(result, judged, told)
        writer.add(*news)
        if judged.answers.problem or judged.fault:
            who = f"{judged.submission.student}, {judged.submission.name}"
            into = told.faults if judged.fault else told.problems
            into.append(f"{who}: {judged.fault or judged.answers.problem}")
        bar.step()
    bar.close()


def _completed(judged: Judged, exercises: Iterable[str]) -> Iterator[Graded]:
    """Give one result for every exercise: what nobody could judge is ungraded, with the reason."""
    results = {result.exercise: result for result in judged.results}
    answers = judged.answers
    for item_id in exercises:
        why = answers.problem or judged.fault or answers.unclear.get(item_id, "")
        result = None if why else results.get(item_id)
        if result is None:
            exercise = find_exercise(item_id)
            result = Graded(
                exercise=item_id,
                version=exercise.version,
                status="ungraded",
                points=None,
                max_points=float(exercise.points),
                message=why or "The grader said nothing about this exercise.",
            )
        flags = dict.fromkeys((*answers.flags.get(item_id, ()), *result.flags))
        yield replace(result, flags=tuple(flags))


def _tell_fault(result: Graded, judged: Judged, told: Told) -> None:
    """Count an exercise that the grader, and not its author, left without points."""
    answers = judged.answers
    is_ours = result.status == "ungraded" and result.exercise not in answers.unclear
    if is_ours and not answers.problem and not judged.fault:
        told.faults.append(f"{judged.submission.student}, {result.exercise}: {result.message}")


class Bar:
    """One line on a terminal that says how far the work is; silence elsewhere."""

    def __init__(self, total: int, stream: TextIOBase) -> None:
        self._total, self._stream, self._done = total, stream, 0
        self._begun = datetime.now(UTC)
        self._is_shown = stream.isatty() and total > 0

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        if not self._is_shown:
            return
        spent = (datetime.now(UTC) - self._begun).total_seconds()
        left = spent / self._done * (self._total - self._done)
        full = 24 * self._done // self._total
        text = f"[{'#' * full}{'.' * (24 - full)}] {self._done} of {self._total}, {left:.0f} s left"
        print(f"\r{text}\x1b[K", end="", file=self._stream, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._is_shown:
            print(file=self._stream, flush=True)
