"""The authors' verbs as the command line shows them; each prints and returns an exit status."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.authoring import build as builder
from moe_teach.course.authoring import verify as gates
from moe_teach.course.authoring.execute import Run
from moe_teach.course.authoring.execute import execute as run_lesson
from moe_teach.course.authoring.sources import SourceError
from moe_teach.course.learner.notes import Note
from moe_teach.exit_status import DONE, FAILED, USAGE
from moe_teach.judging.exercise import Exercise
from moe_teach.ops.triton_mode import choose_mode


def build(root: Path, chapters: Sequence[int] = (), *, check_only: bool = False) -> int:
    """Write every notebook that differs from what its source builds; report each."""
    try:
        built = builder.build(root, chapters)
    except (SourceError, LookupError) as problem:
        print(f"Not built: {problem}", file=sys.stderr)
        return FAILED
    stale = [p for p, text in built.items() if not p.is_file() or p.read_text("utf-8") != text]
    orphans = [] if chapters else builder.unwanted(root, built)
    for path in stale:
        print(("stale: " if check_only else "wrote ") + str(path.relative_to(root)))
        if not check_only:
            path.write_text(built[path], encoding="utf-8")
    for path in orphans:
        print(f"no source builds {path.relative_to(root)}: delete it")
    print(f"{len(built)} notebooks, {len(stale)} {'stale' if check_only else 'written'}.")
    return FAILED if orphans or (check_only and stale) else DONE


def execute(root: Path, chapters: Sequence[int] = ()) -> int:
    """Build, then run lessons and store their outputs; print what each one cost."""
    from nbclient.exceptions import CellExecutionError

    status = build(root, chapters)
    if status != DONE:
        return status
    runs: list[Run] = []
    wanted = [p for p in sorted((root / "notebooks").glob("*.ipynb")) if _is_in(p, chapters)]
    for path in wanted:
        try:
            text, run = run_lesson(path)
        except CellExecutionError as problem:
            print(f"{path.name} stopped:\n{problem}", file=sys.stderr)
            status = FAILED
            continue
        path.write_text(text, encoding="utf-8")
        runs.append(run)
        status = FAILED if run.problems else status
    rows = tuple(_cost(root, run) for run in runs)
    print(Note("Lessons", header=("lesson", "seconds", "peak MB", "kB on disk"), rows=rows))
    for run in runs:
        for problem in run.problems:
            print(f"{run.lesson}: {problem}")
    return status


def ship(recipe: str, folder: str | None = None) -> int:
    """Turn a finished training run into a folder that the package brings."""
    from moe_teach.course.authoring.shipping import ship as write

    try:
        written = write(recipe, folder)
    except (ValueError, FileNotFoundError) as problem:
        print(f"moe-teach: {problem}", file=sys.stderr)
        return USAGE
    print(f"Shipped to {written}; read its card.md before you commit it.")
    return DONE


def verify(root: Path, ids: Sequence[str] = ()) -> int:
    """Send exercises (all, or those named by id or chapter) through every gate; print a table."""
    exercises = _chosen(ids)
    reports: list[gates.Report] = []
    general: list[str] = []
    references = {}
    for chapter in sorted({exercise.chapter for exercise in exercises}):
        try:
            source = gates.solution_source(root, chapter)
            general += gates.verify_chapter(root, chapter)
        except (SourceError, OSError) as problem:
            general.append(str(problem))
            continue
        for exercise in (e for e in exercises if e.chapter == chapter):
            reports.append(gates.verify_exercise(exercise, source))
            if not reports[-1].problems:
                references[exercise.id] = gates.reference_of(exercise, source)
    sound = [report.exercise for report in reports if report.exercise.id in references]
    general += gates.order_problems(sound, references)
    print(Note("Exercises", header=gates.HEADER, rows=tuple(r.row() for r in reports)))
    complaints = general + [f"{r.exercise.id}: {text}" for r in reports for text in r.problems]
    print("\n".join(["", *complaints]) if complaints else "\nEvery gate is open.")
    return FAILED if complaints else DONE


def mutate(root: Path, ids: Sequence[str] = (), *, jobs: int = 2, one_in: int = 1) -> int:
    """Change solutions (all, or those named by id or chapter) by rule; tell what no check sees."""
    from moe_teach.course.authoring.mutation import report
    from moe_teach.course.authoring.mutation.run import mutate as findings

    rows, complaints = [], []
    for finding in findings(root, _chosen(ids), jobs=jobs, one_in=one_in):
        print("\n".join(finding.complaints), end="\n" * bool(finding.complaints), flush=True)
        rows.append(finding.row)
        complaints += finding.complaints
    rows.sort(key=lambda row: [int(part) for part in row[0].split(".")])
    print(Note("Mutants", header=report.HEADER, rows=(*rows, report.total(rows))))
    print("" if complaints else "\nEvery mutant is rejected, or listed as equal.")
    return FAILED if complaints else DONE


def _chosen(ids: Sequence[str]) -> list[Exercise]:
    if not ids:
        return [item for item in registry.every_item() if isinstance(item, Exercise)]
    chosen: list[Exercise] = []
    for word in ids:
        if word.isdigit():
            items = registry.load(int(word)).values()
            chosen += [item for item in items if isinstance(item, Exercise)]
        else:
            chosen.append(registry.find_exercise(word))
    return chosen


def _is_in(path: Path, chapters: Sequence[int]) -> bool:
    return not chapters or int(path.stem[:2]) in chapters


def _cost(root: Path, run: Run) -> tuple[str, ...]:
    size = (root / "notebooks" / f"{run.lesson}.ipynb").stat().st_size / 1000
    peak = f"{run.peak_mb:.0f}" if run.peak_mb else "-"
    return (run.lesson, f"{run.seconds:.1f}", peak, f"{size:.0f}")


def run(root: Path, arguments: argparse.Namespace) -> int:
    """Do the task that `moe-teach author` was asked for, and give its exit status."""
    choose_mode()  # solutions hold kernels, and torch may import Triton before they do
    if arguments.task == "build":
        return build(root, _numbers(arguments.chapters), check_only=arguments.check)
    if arguments.task == "execute":
        return execute(root, _numbers(arguments.chapters))
    if arguments.task == "mutate":
        return mutate(root, arguments.ids, jobs=arguments.jobs, one_in=arguments.one_in)
    return verify(root, arguments.ids)


def _numbers(chapters: list[str]) -> list[int]:
    for word in chapters:
        if not word.isdigit():
            raise LookupError(f"{word!r} is not a chapter number such as 03.")
    return [int(word) for word in chapters]
