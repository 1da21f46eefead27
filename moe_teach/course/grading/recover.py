"""Turns a submission into the answers in it, whatever editors and people did to the notebook.

Check cells are the course's own: those of a submission only tell what was changed. An answer that
cannot be told is `unclear` and stays without points; it is never a silent zero.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence

from moe_teach.course.grading import finding
from moe_teach.course.grading.archives import printable
from moe_teach.course.grading.asked import Asked, asked_in, given_in
from moe_teach.course.grading.cleaning import cleaned, is_python
from moe_teach.course.grading.collect import UNREADABLE
from moe_teach.course.grading.finding import Place
from moe_teach.course.grading.helpers import needed
from moe_teach.course.grading.naming import chapter_in
from moe_teach.course.grading.reading import Cell, Reading, read
from moe_teach.course.grading.record import AnswerCell, Answers, Submission
from moe_teach.course.registry import chapters

UNKNOWN = -1  # the chapter of a file that speaks of none


def recover(submission: Submission) -> Answers:
    """Find the answers in a submission; a `problem` says in a sentence why there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the learner's text, which is only read
        try:
            return _recovered(submission)
        except (RecursionError, MemoryError):
            said = "A cell is nested deeper than Python can read."
            return _without(submission, said, chapter_in(submission.name))


def _recovered(submission: Submission) -> Answers:
    if submission.flags and submission.flags[0].startswith(UNREADABLE):
        told = submission.flags[0].removeprefix(UNREADABLE)
        return _without(submission, told[:1].upper() + told[1:], chapter_in(submission.name))
    reading = read(submission.content, submission.name)
    if reading.problem:
        return _without(submission, reading.problem, chapter_in(submission.name), reading.notes)
    chapter = _chapter(reading.cells, submission.name)
    if chapter is None:
        said = "The notebook speaks of no chapter of this course: neither cells nor its name do."
        return _without(submission, said, None, reading.notes)
    answers = _answers(submission, chapter, reading)
    if any(cell.exercise for cell in answers.cells) or answers.untouched or answers.unclear:
        return answers
    said = f"No answer to any exercise of chapter {chapter:02d} was found in the notebook."
    return _without(submission, said, chapter, reading.notes)


def _without(
    submission: Submission, problem: str, chapter: int | None, notes: Sequence[str] = ()
) -> Answers:
    flags = (*submission.flags, *notes)
    return Answers(
        submission=submission,
        chapter=UNKNOWN if chapter is None else chapter,
        problem=problem,
        flags={"": flags} if flags else {},
    )


def _answers(submission: Submission, chapter: int, reading: Reading) -> Answers:
    asked = asked_in(chapter)
    cells, general = _clean(reading.cells)
    names = [finding.defined(cell.source) for cell in cells]
    places = {item_id: finding.find(one, cells, names) for item_id, one in asked.items()}
    flags = {item_id: list(place.flags) for item_id, place in places.items()}
    for item_id, said in _check_flags(reading.cells, asked):
        flags[item_id].append(said)
    general = [*submission.flags, *reading.notes, *general, *_strangers(reading.cells, chapter)]
    everything = {"": general, **flags}
    return Answers(
        submission=submission,
        chapter=chapter,
        cells=tuple(_in_order(cells, places, asked)),
        missing=tuple(i for i, place in places.items() if place.at < 0 and not place.unclear),
        untouched=tuple(i for i, place in places.items() if place.is_untouched),
        unclear={i: place.unclear for i, place in places.items() if place.unclear},
        flags={i: tuple(dict.fromkeys(told)) for i, told in everything.items() if told},
    )


def _chapter(cells: Sequence[Cell], name: str) -> int | None:
    """Tell the chapter by marks, then by check cells, then by the file's name."""
    marked = [finding.label(cell)[1] for cell in cells]
    checked = [item_id for item_id, _ in finding.checked_names(cells)]
    for ids in (marked, checked):
        numbers = [i.partition(".")[0] for i in ids]
        counts = Counter(int(n) for n in numbers if re.fullmatch("[0-9]{1,3}", n))
        known = {number: count for number, count in counts.items() if number in chapters()}
        if known:
            return min(known, key=lambda number: (-known[number], number))
    return chapter_in(name)


def _clean(cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """Take out what only a notebook understands; set-up and play cells become empty."""
    kept, flags = [], []
    n_magics = n_broken = 0
    for cell in cells:
        role, item_id = finding.label(cell)
        is_read = cell.kind == "code" or (role == "solution" and item_id)
        is_read = is_read and role not in ("setup", "play")
        source, has_magic = cleaned(cell.source) if is_read else ("", False)
        if source and not is_python(source) and role != "solution":
            n_broken += not finding.defined(source)
        n_magics += has_magic
        kept.append(Cell(cell.kind, source, cell.metadata))
    if n_magics:
        flags.append(f"Magics and shell lines were left out of {n_magics} cells.")
    if n_broken:
        flags.append(f"{n_broken} cells are no Python and were left out.")
    return kept, flags


def _in_order(
    cells: Sequence[Cell], places: dict[str, Place], asked: dict[str, Asked]
) -> list[AnswerCell]:
    """Give the cells to load: answers and starters, each whole, and what these need."""
    answering: dict[int, list[str]] = {}
    for item_id, place in places.items():
        if place.at >= 0:
            answering.setdefault(place.at, []).append(item_id)
    skipped = {i for place in places.values() for i in place.left_out} - set(answering)
    given = given_in(int(next(iter(asked)).partition(".")[0]))
    texts = ["" if i in skipped else cell.source for i, cell in enumerate(cells)]
    loaded: list[AnswerCell] = []
    for i, text in enumerate(needed(texts, set(answering), given)):
        ids = answering.get(i, [])
        same = {i: f"{asked[i].name} = {places[i].called}" for i in ids}
        if ids and places[ids[0]].called != asked[ids[0]].name:
            text += f"\n\n{same[ids[0]]}"
        if text.strip():
            loaded.append(AnswerCell(source=text, exercise=ids[0] if ids else ""))
        loaded += [AnswerCell(source=same[i], exercise=i) for i in ids[1:]]
    return loaded


def _check_flags(cells: Sequence[Cell], asked: dict[str, Asked]) -> list[tuple[str, str]]:
    """Say which check cells are not as they were handed out; the course's own are used anyway."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        role, item_id = finding.label(cell)
        if role == "check" and item_id in asked:
            found.setdefault(item_id, []).append(cell)
    if not found:
        return []
    told = []
    for item_id, one in asked.items():
        for cell in found.get(item_id, []):
            points = cell.facts("nbgrader").get("points", one.points)
            if cell.kind != "code":
                told.append((item_id, f"Its check cell was turned into {cell.kind}."))
            elif cell.source.strip() != one.check:
                told.append((item_id, "Its check cell was edited."))
            if points != one.points:
                told.append(
                    (item_id, f"Its check cell says {points} points; it has {one.points:g}.")
                )
        if item_id not in found:
            told.append((item_id, "Its check cell is gone."))
    return told


def _strangers(cells: Sequence[Cell], chapter: int) -> list[str]:
    """Say which answers of other chapters the notebook holds; they are not graded from here."""
    asked = asked_in(chapter)
    others = {i for role, i in map(finding.label, cells) if role == "solution" and i not in asked}
    if not others:
        return []
    listed = ", ".join(sorted(printable(one)[:20] for one in others))
    return [f"It holds cells of {listed}, which are not of chapter {chapter:02d}: not graded here."]
