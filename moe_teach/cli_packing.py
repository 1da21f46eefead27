"""The verbs that hand work over: between a learner's machines, and between teacher and class."""

import argparse
from pathlib import Path
from typing import Any

DONE, FAILED, USAGE = range(3)


def add_verbs(verbs: Any) -> None:
    """Describe the verbs and their arguments."""
    own = _add(verbs, "pack", "put your notebooks, parts and progress into one file", pack)
    own.add_argument("chapters", nargs="*", metavar="NN", help="chapters, e.g. 03; default: all")
    own.add_argument("--to", metavar="FILE", help="default: moe-pack-DAY.zip in this folder")
    own.add_argument("--notebooks", metavar="FOLDER", help="where your notebooks are")
    into = _add(verbs, "unpack", "bring in what was packed; only of people you trust", unpack)
    into.add_argument("file", metavar="FILE", help="what `moe-teach pack` has made")
    into.add_argument("--notebooks", metavar="FOLDER", help="where the notebooks go")


def pack(arguments: argparse.Namespace) -> int:
    """Pack, and say what is not as it should be before it is handed in."""
    from moe_teach.course.learner.packing.packing import pack as write

    to, folder = arguments.to and Path(arguments.to), arguments.notebooks
    numbers = chapter_numbers(arguments.chapters)
    _, said = write(numbers, to or None, Path(folder) if folder else None)
    print("\n".join(said))
    return DONE if len(said) == 1 else FAILED


def unpack(arguments: argparse.Namespace) -> int:
    """Unpack, and name everything that was here already."""
    from moe_teach.course.learner.packing.unpacking import unpack as bring_in

    folder = arguments.notebooks
    print("\n".join(bring_in(Path(arguments.file), Path(folder) if folder else None)))
    return DONE


def chapter_numbers(words: list[str]) -> list[int]:
    """Read the numbers of chapters.

    Raises:
        LookupError: in a sentence, if a word is none.
    """
    for word in words:
        if not word.isdecimal():
            raise LookupError(f"{word!r} is not a chapter number such as 03.")
    return [int(word) for word in words]


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    return parser
