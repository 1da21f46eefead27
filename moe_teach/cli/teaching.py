"""The verbs of a teacher: a talk out of a chapter's lessons, and the minutes of a plan."""

import argparse
from pathlib import Path
from typing import Any

from moe_teach.exit_status import DONE
from moe_teach.files import repository, write_atomically


def add_verbs(verbs: Any) -> None:
    """Describe the verbs and their arguments."""
    talk = _add(verbs, "slides", "make the talk of a chapter, one HTML file", slides)
    talk.add_argument("chapter", metavar="NN", help="a chapter, e.g. 03")
    talk.add_argument("--to", metavar="FOLDER", help="where to (default: build/slides)")
    plan = _add(verbs, "minutes", "add up what lessons, talks and exercises take", minutes)
    plan.add_argument("file", nargs="?", metavar="FILE", help="a plan to fill in, in Markdown")


def slides(arguments: argparse.Namespace) -> int:
    """Write the talk of one chapter, and say where it is."""
    from moe_teach.course import registry
    from moe_teach.course.teaching.deck import deck_of

    root = repository()
    if not arguments.chapter.isdecimal():
        raise LookupError(f"A chapter is named by its number, as 03, not {arguments.chapter!r}.")
    number = int(arguments.chapter)
    text = deck_of(root, number)
    folder = Path(arguments.to) if arguments.to else root / "build/slides"
    target = folder / f"{registry.chapters()[number]}.html"
    write_atomically(target, text.encode())
    print(f"{target}: {text.count('<section')} slides. Arrows move, a answers, d darkens.")
    return DONE


def minutes(arguments: argparse.Namespace) -> int:
    """Print the minutes of every chapter, or fill in a plan of your own."""
    from moe_teach.course.teaching.minutes import filled, table

    if arguments.file is None:
        print(table(repository()))
        return DONE
    plan = Path(arguments.file)
    try:
        before = plan.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is not text in UTF-8"
        raise LookupError(
            f"{plan} cannot be read ({why}). Name a plan of yours, in Markdown."
        ) from problem
    after = filled(repository(), before)
    if after != before:
        write_atomically(plan, after.encode())
    print(f"{plan}: minutes {'filled in' if after != before else 'as they were'}.")
    return DONE


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    return parser
