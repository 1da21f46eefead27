"""The verbs of a teacher: grade what was handed in, look after the gradebook, report, export."""

import argparse
from typing import Any

from moe_teach.exit_status import USAGE

FOLDER = "gradebook"


def add_verbs(verbs: Any) -> None:
    """Describe the verbs and their arguments."""
    first = _add(verbs, "grade", "grade notebooks, folders or archives that were handed in", _grade)
    first.add_argument(
        "paths", nargs="+", metavar="PATH", help="of Moodle, Canvas, Gradescope, ..."
    )
    again = _add(verbs, "regrade", "grade again: all, some exercises, or what changed", _regrade)
    again.add_argument(
        "--only", nargs="+", default=[], metavar="ID", help="these exercises, as 3.1"
    )
    again.add_argument("--changed", action="store_true", help="those whose check has changed")
    for verb in (first, again):
        verb.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at a time")
        verb.add_argument("--seed", type=int, default=0, help="another seed, other inputs")
        verb.add_argument("--probes", metavar="FOLDER", help="stages of your own, see release")
        verb.add_argument(
            "--trust-submissions",
            action="store_true",
            help="grade several people's code although this machine cannot wall it in",
        )
    book = verbs.add_parser("gradebook", help="look into the gradebook, correct it, export it")
    book.set_defaults(verb=lambda _: book.print_help() or USAGE)
    _add_tasks(book.add_subparsers(title="tasks", metavar="TASK"))
    page = _add(verbs, "report", "write a page about the class, and one for each student", _report)
    page.add_argument("--to", default="report.html", metavar="FILE", help="default: report.html")
    page.add_argument("--feedback", metavar="FOLDER", help="also write every student's own page")
    page.add_argument("--title", default="The class", metavar="TEXT", help="heading of the page")


def _add_tasks(tasks: Any) -> None:
    who = _add(tasks, "show", "show all that is known of one student", _show)
    who.add_argument("student", metavar="STUDENT", help="the name, or all of it before the number")
    hand = _add(tasks, "override", "give points by hand, which no regrading undoes", _override)
    hand.add_argument("student", metavar="STUDENT")
    hand.add_argument("exercise", metavar="EXERCISE", help="as 3.1")
    hand.add_argument("points", metavar="POINTS", help="a number, or none: as the checks say")
    hand.add_argument("--because", required=True, metavar="TEXT", help="the reason, for others")
    hand.add_argument("--by", default="", metavar="NAME", help="default: this account's name")
    _add(tasks, "rebuild", "make gradebook.sqlite anew from the journal", _rebuild)
    out = _add(tasks, "export", "write the grades for other programs", _export)
    forms = ("csv", "canvas", "moodle", "gradescope", "exercism", "json")
    out.add_argument("form", choices=forms, help="for whom")
    out.add_argument("--to", required=True, metavar="PATH", help="a file; a folder for some forms")
    out.add_argument("--allow-ungraded", action="store_true", help="leave undecided cells blank")


def _grade(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.grade(arguments)


def _regrade(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.regrade(arguments)


def _show(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.show(arguments)


def _override(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.override(arguments)


def _rebuild(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.rebuild(arguments)


def _export(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.export(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from moe_teach.course.grading import command

    return command.report(arguments)


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    parser.add_argument(
        "--gradebook",
        default=FOLDER,
        metavar="FOLDER",
        help=f"where it is kept (default: {FOLDER})",
    )
    return parser
