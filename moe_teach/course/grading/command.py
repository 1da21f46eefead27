"""What the teacher's verbs do; each gives the exit status of its command.

0 done and everything passed, 1 something did not pass or is undecided, 2 the command was not
understood, 3 the grader itself failed somewhere.
"""

import argparse
import functools
import getpass
import sys
from collections.abc import Callable
from pathlib import Path

from moe_teach.course.grading import batch, gradebook
from moe_teach.course.grading.batch import Told
from moe_teach.course.grading.book import book_of, in_order
from moe_teach.course.grading.collect import collect
from moe_teach.course.grading.crew import Judge
from moe_teach.course.grading.engine_judge import EngineJudge, demand_walls
from moe_teach.course.grading.exports import tables, writing
from moe_teach.course.grading.journal import Journal
from moe_teach.course.grading.report.class_page import class_page
from moe_teach.course.grading.report.feedback_page import feedback_page
from moe_teach.exit_status import DONE, FAILED, FAULT, INTERRUPTED, USAGE
from moe_teach.files import write_atomically
from moe_teach.terminal import in_a_sentence
from moe_teach.text_table import counted

_MOST_SHOWN = 20


def _in_sentences(verb: Callable[[argparse.Namespace], int]) -> Callable[..., int]:
    """Let a verb tell what a user can mend in a sentence; a fault of ours is not one of these."""

    @functools.wraps(verb)
    def told(arguments: argparse.Namespace) -> int:
        try:
            return verb(arguments)
        except BrokenPipeError:
            raise  # for `on_any_terminal`
        except KeyboardInterrupt:
            print("\nmoe-teach: stopped; the same command goes on from here.", file=sys.stderr)
            return INTERRUPTED
        except (ValueError, OSError) as problem:
            print(f"moe-teach: {_said(problem)}", file=sys.stderr)
            return USAGE

    return told


def _said(problem: Exception) -> str:
    if not isinstance(problem, OSError):
        return str(problem)
    return in_a_sentence(problem) or f"{problem.filename or 'The system'} says: {problem.strerror}."


@_in_sentences
def grade(arguments: argparse.Namespace) -> int:
    """Collect and grade what was handed in."""
    submissions = collect(map(Path, arguments.paths))
    if not submissions:
        raise ValueError("Nothing was handed in at these paths: they hold no file to grade.")
    demand_walls(len({one.student for one in submissions}), arguments.trust_submissions)
    judge, jobs = _judge(arguments), _jobs(arguments)
    told = batch.grade(submissions, _journal(arguments), judge, jobs=jobs)
    before = f", {told.n_before} of them before" if told.n_before else ""
    print(f"Graded {counted(told.n_submissions, 'submission')}{before}.")
    return _told(told, arguments)


@_in_sentences
def regrade(arguments: argparse.Namespace) -> int:
    """Judge again what the gradebook holds."""
    journal = _journal(arguments)
    demand_walls(len(book_of(journal.entries()).people), arguments.trust_submissions)
    only = [item for text in arguments.only for item in text.split(",") if item]
    wishes = {"only": only, "changed": arguments.changed}
    judge, jobs = _judge(arguments), _jobs(arguments)
    told = batch.regrade(journal, judge, **wishes, jobs=jobs)
    exercises = counted(told.n_judged, "exercise")
    print(f"Judged again: {exercises} of {counted(told.n_submissions, 'submission')}.")
    if told.unprobed:
        print(
            f"Probes judged {', '.join(in_order(told.unprobed))} before, and did not this time: "
            "name their folder with --probes to have them judge again."
        )
    return _told(told, arguments)


@_in_sentences
def show(arguments: argparse.Namespace) -> int:
    """Print one student's page."""
    book = book_of(_journal(arguments).entries())
    print(gradebook.page_of(gradebook.find_person(book, arguments.student)))
    return DONE


@_in_sentences
def override(arguments: argparse.Namespace) -> int:
    """Write down points that somebody decided on."""
    journal, by = _journal(arguments), arguments.by or _account()
    points = None if arguments.points == "none" else _number(arguments.points)
    about = {"by": by, "because": arguments.because}
    said = gradebook.set_points(journal, arguments.student, arguments.exercise, points, **about)
    gradebook.rebuild(journal)
    print(said)
    return DONE


@_in_sentences
def rebuild(arguments: argparse.Namespace) -> int:
    """Make the SQLite file of the journal."""
    book = gradebook.rebuild(_journal(arguments))
    exercises = counted(len(book.exercises), "exercise")
    print(f"{counted(len(book.people), 'student')}, {exercises}.")
    return DONE


@_in_sentences
def export(arguments: argparse.Namespace) -> int:
    """Write the grades in a form of another program's."""
    book = book_of(_journal(arguments).entries())
    allowed = {"allow_ungraded": arguments.allow_ungraded}
    try:
        files = writing.export(book, arguments.form, Path(arguments.to), **allowed)
    except writing.UngradedLeft as left:
        print(f"moe-teach: {left}", file=sys.stderr)
        return FAILED
    students = counted(len(book.people), "student")
    print(f"{arguments.to}: {students} in {counted(len(files), 'file')}.")
    lost = tables.left_out_by_moodle(book) if arguments.form == "moodle" else []
    if lost:
        named = ", ".join(lost[:_MOST_SHOWN]) + (", ..." if len(lost) > _MOST_SHOWN else "")
        print(
            f"Moodle will pass over {counted(len(lost), 'student')} whose files came without its "
            f"number: {named}. Type these grades in by hand."
        )
    return DONE


@_in_sentences
def report(arguments: argparse.Namespace) -> int:
    """Write the page about the class, and the students' own."""
    book = book_of(_journal(arguments).entries())
    write_atomically(Path(arguments.to), class_page(book, arguments.title).encode())
    print(f"{arguments.to}: {counted(len(book.people), 'student')}.")
    if arguments.feedback:
        for person in book.people.values():
            file = Path(arguments.feedback) / f"{writing.file_name(person.student)}.html"
            write_atomically(file, feedback_page(person).encode())
        print(f"{arguments.feedback}: a page for each.")
    return DONE


def _told(told: Told, arguments: argparse.Namespace) -> int:
    """Say what a run left to look at, make the gradebook of it, and give the exit status."""
    book = gradebook.rebuild(_journal(arguments))
    unread, failed = counted(len(told.problems), "file"), counted(len(told.faults), "time")
    for title, lines in (
        (f"{unread} could not be read", told.problems),
        (f"The grader failed {failed}", told.faults),
    ):
        if lines:
            print(f"{title}:")
            print(*(f"  {line}" for line in sorted(lines)[:_MOST_SHOWN]), sep="\n")
    looks = sum(bool(person.notices) for person in book.people.values())
    to_do = (
        f"look at {looks} of them: `moe-teach report` shows which" if looks else "none to look at"
    )
    print(f"{counted(len(book.people), 'student')} in {arguments.gradebook}, {to_do}.")
    if told.faults:
        return FAULT
    everything = [grade for p in book.people.values() for grade in p.grades.values()]
    is_well = all(grade.points == grade.max_points for grade in everything)
    return DONE if is_well and not any(p.ungraded for p in book.people.values()) else FAILED


def _judge(arguments: argparse.Namespace) -> Judge:
    probes = Path(arguments.probes) if arguments.probes else None
    return EngineJudge(seed=arguments.seed, probes=probes)


def _journal(arguments: argparse.Namespace) -> Journal:
    return Journal(Path(arguments.gradebook))


def _jobs(arguments: argparse.Namespace) -> int:
    if arguments.jobs < 1:
        raise ValueError(f"--jobs is the number of submissions at a time, not {arguments.jobs}.")
    return arguments.jobs


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"Points are a number, as 1.5, or the word none; not {text!r}.") from None


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise ValueError(
            "Say who gives these points, with --by: this account has no name."
        ) from None
