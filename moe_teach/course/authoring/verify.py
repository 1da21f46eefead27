"""Checks the checks: every exercise must pass the gates before a learner meets it.

The solution passes, the starter scores nothing, each named wrong answer is turned away by the
stage it was written for and with a message of its own, other right answers are accepted, and
twenty seeds give no false alarm.
"""

import gc
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.authoring.sources import Source, checked_ids, read
from moe_teach.course.learner.feedback import Score
from moe_teach.judging.engine import MANY_SEEDS, SEEDS, run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.outcome import Outcome
from moe_teach.judging.questions import Question

MIN_WRONG, MIN_RIGHT, MIN_HINTS = 3, 2, 3
CPU_BUDGET = 5.0  # seconds for one check; some take 0.01, and a crowded machine takes twice as long
_TELLING = 25  # a solution line at least this long must not stand in the exercise


@dataclass
class Report:
    """What the gates said about one exercise: the table row and every complaint in a sentence."""

    exercise: Exercise
    rejected: str = "-"
    accepted: str = "-"
    cpu_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        item = self.exercise
        return (
            item.id,
            item.name,
            str(len(item.stages)),
            self.rejected,
            self.accepted,
            str(len(item.hints)),
            f"{self.cpu_seconds:.2f}",
            "ok" if not self.problems else f"{len(self.problems)} to mend",
        )


HEADER = ("exercise", "name", "stages", "wrong", "right", "hints", "CPU s", "verdict")


def verify_exercise(
    exercise: Exercise, source: Source, *, seeds_of_others: Sequence[int] = MANY_SEEDS
) -> Report:
    """Send one exercise through every gate; other right answers see so many seeds."""
    report = Report(exercise)
    cells = [(c.role or "code", c.item_id, c.source) for c in source.cells if c.kind == "code"]
    _card(report)
    reference = _solution_gate(report, cells)
    _starter_gate(report, cells)
    _wrong_gate(report, reference)
    _right_gate(report, reference, seeds_of_others)
    _secrecy_gate(report, source)
    return report


def verify_chapter(root: Path, chapter: int) -> list[str]:
    """Compare what a chapter's sources check with what its check module registers."""
    slug = registry.chapters()[chapter]
    items = registry.load(chapter)
    problems = []
    for shelf, kind in (("notebooks", Question), ("solutions", Exercise)):
        path = root / shelf / f"{slug}.py"
        if not path.is_file():
            problems.append(f"{shelf}/{slug}.py does not exist.")
            continue
        pages = sorted(path.parent.glob(f"{chapter:02d}[b-z]_*.py"))
        used = Counter(i for page in (path, *pages) for i in checked_ids(read(page)))
        known = [i for i, item in items.items() if isinstance(item, kind)]
        problems += [
            f"{path.name} checks {i!r}, which nobody registered." for i in used if i not in known
        ]
        problems += [
            f"{i!r} is registered but {path.name} never checks it." for i in known if i not in used
        ]
        problems += [f"{path.name} checks {i!r} {n} times." for i, n in used.items() if n > 1]
    return problems


def order_problems(exercises: Sequence[Exercise], references: dict[str, Any]) -> list[str]:
    """Run the checks once more from last to first: no check may depend on another."""
    return [
        f"{exercise.id} fails when the checks run in another order."
        for exercise in reversed(exercises)
        if run_exercise(exercise, references[exercise.id]).state != "passed"
    ]


def solution_source(root: Path, chapter: int) -> Source:
    """Read the exercise source of a chapter."""
    return read(root / "solutions" / f"{registry.chapters()[chapter]}.py")


def reference_of(exercise: Exercise, source: Source) -> Any:
    """Give the course's own answer, run from its source."""
    cells = [(c.role or "code", c.item_id, c.source) for c in source.cells if c.kind == "code"]
    return materials.build_namespace(cells)[exercise.name]


def _card(report: Report) -> None:
    item = report.exercise
    if len(item.hints) < MIN_HINTS:
        report.problems.append(f"It has {len(item.hints)} hints and needs {MIN_HINTS}.")
    if not item.explanation.strip():
        report.problems.append("It has no explanation of its solution.")
    if not item.stages:
        report.problems.append("It has no stages, so everything would pass.")
    if not (1 <= item.difficulty <= 5 and 1 <= item.importance <= 5):
        report.problems.append("Difficulty and importance go from 1 to 5.")


def _solution_gate(report: Report, cells: list[materials.Cell]) -> Any:
    item = report.exercise
    try:
        reference = materials.build_namespace(cells)[item.name]
    except Exception as problem:
        report.problems.append(f"The solution cannot run: {type(problem).__name__}: {problem}")
        return None
    gc.freeze()  # a check may collect garbage, and a large process has more of it than a learner's
    outcome = run_exercise(item, reference, seeds=MANY_SEEDS)
    if outcome.state != "passed":
        report.problems.append(f"The solution does not pass: {_brief(outcome)}")
    begin = time.process_time()  # only now: a process's first optimiser imports torch's compiler
    run_exercise(item, reference, seeds=SEEDS)
    report.cpu_seconds = time.process_time() - begin
    if report.cpu_seconds > CPU_BUDGET:
        report.problems.append(
            f"One check takes {report.cpu_seconds:.1f} s of CPU; the budget is {CPU_BUDGET:g} s."
        )
    return reference


def _starter_gate(report: Report, cells: list[materials.Cell]) -> None:
    item = report.exercise
    starters = [(role, i, materials.starter_of(source)) for role, i, source in cells]
    try:
        starter = materials.build_namespace(starters)[item.name]
    except Exception as problem:
        report.problems.append(
            f"Defining the starter raises {type(problem).__name__}: put the solution markers "
            "inside the function or its methods."
        )
        return
    score = Score(run_exercise(item, starter))
    if score.state != "not attempted" or score != 0:
        report.problems.append(
            f"The starter is {score.state!r} with {float(score):g} points, "
            "but must be 'not attempted' with none."
        )


def _wrong_gate(report: Report, reference: Any) -> None:
    item = report.exercise
    named = [one for one in registry.answers_for(item) if not one.is_right]
    messages: Counter[str] = Counter()
    rejected = 0
    for one in named:
        outcome = run_exercise(item, one.answer, reference=lambda _: reference)
        complaint = _wrongly_treated(outcome, one.stage, one.says)
        messages[_said(outcome)] += 1
        if complaint:
            report.problems.append(f"Wrong answer {one.answer.__name__} {complaint}")
        else:
            rejected += 1
    report.rejected = f"{rejected}/{len(named)}"
    if len(named) < MIN_WRONG:
        report.problems.append(f"It has {len(named)} named wrong answers and needs {MIN_WRONG}.")
    report.problems += [
        f"{n} wrong answers get the same message: {text!r}" for text, n in messages.items() if n > 1
    ]


def _wrongly_treated(outcome: Outcome, stage: str, says: str) -> str:
    if outcome.state not in ("wrong", "raised"):
        return f"is {_brief(outcome)}"
    if outcome.stage != stage:
        return f"is rejected by stage {outcome.stage!r} instead of {stage!r}: {outcome.message}"
    if says not in _said(outcome):
        return f"is rejected without the words {says!r}: {_said(outcome)}"
    return ""


def _said(outcome: Outcome) -> str:
    """Join what learners meet one after another: the symptom, its cause and the cure."""
    return " ".join(filter(None, (outcome.message, outcome.cause, outcome.cure)))


def _right_gate(report: Report, reference: Any, seeds: Sequence[int]) -> None:
    item = report.exercise
    named = [one.answer for one in registry.answers_for(item) if one.is_right]
    accepted = 0
    for function in named:
        outcome = run_exercise(item, function, seeds=seeds, reference=lambda _: reference)
        if outcome.state == "passed":
            accepted += 1
        else:
            report.problems.append(f"Right answer {function.__name__} is {_brief(outcome)}")
    report.accepted = f"{accepted}/{len(named)}"
    if len(named) < MIN_RIGHT:
        report.problems.append(f"It has {len(named)} other right answers and needs {MIN_RIGHT}.")


def _secrecy_gate(report: Report, source: Source) -> None:
    """No telling line of the solution may stand in what the learner receives."""
    item_id = report.exercise.id
    cell = next((c for c in source.cells if c.role == "solution" and c.item_id == item_id), None)
    if cell is None:
        report.problems.append(f"{source.path.name} has no solution cell for it.")
        return
    given = "\n".join(materials.starter_of(c.source) for c in source.cells)
    hidden = set(telling_lines(cell.source))
    report.problems += [f"The exercise gives away: {line}" for line in hidden if line in given]


def telling_lines(code: str) -> Iterable[str]:
    """List the long lines between solution markers, stripped; comments included."""
    inside = False
    for line in map(str.strip, code.splitlines()):
        if line == materials.BEGIN:
            inside = True
        elif line == materials.END:
            inside = False
        elif inside and len(line) >= _TELLING:
            yield line


def _brief(outcome: Outcome) -> str:
    place = f" at stage {outcome.stage!r}" if outcome.stage else ""
    return f"{outcome.state}{place}: {outcome.message}"
