"""The verbs that hand work over: between a learner's machines, and between teacher and class."""

import argparse
import re
from pathlib import Path
from typing import Any

from moe_teach.exit_status import DONE, FAILED
from moe_teach.files import repository
from moe_teach.text_table import counted


def add_verbs(verbs: Any) -> None:
    """Describe the verbs and their arguments."""
    own = _add(verbs, "pack", "put your notebooks, parts and progress into one file", pack)
    own.add_argument("chapters", nargs="*", metavar="NN", help="chapters, e.g. 03; default: all")
    own.add_argument("--to", metavar="FILE", help="default: moe-pack-DAY.zip in this folder")
    own.add_argument("--notebooks", metavar="FOLDER", help="where your notebooks are")
    into = _add(verbs, "unpack", "bring in what was packed; only of people you trust", unpack)
    into.add_argument("file", metavar="FILE", help="what `moe-teach pack` has made")
    into.add_argument("--notebooks", metavar="FOLDER", help="where the notebooks go")
    given = _add(verbs, "release", "write a hand-out for a class: exercises, no solutions", release)
    given.add_argument("folder", metavar="FOLDER", help="a new one, or an earlier hand-out")
    given.add_argument("--lessons", action="store_true", help="hand out the lessons too")
    given.add_argument("--title", default="Mixture of Experts", help="heading of its page")
    form = _add(verbs, "template", "set up the platform that grades a class", template)
    form.add_argument("kind", choices=("gradescope", "github-classroom", "nbgrader"))
    form.add_argument("folder", metavar="FOLDER", help="for GitHub: the hand-out's repository")
    for parser in (given, form):
        parser.add_argument("--chapters", nargs="+", default=[], metavar="NN", help="default: all")
        parser.add_argument(
            "--repository", default="", metavar="OWNER/NAME", help="where students will find it"
        )
        parser.add_argument("--probes", metavar="FOLDER", help="your own, which no student sees")


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


def release(arguments: argparse.Namespace) -> int:
    """Write a hand-out; probes are tried, and stay where they are."""
    from moe_teach.course.handout.release import NoPlace
    from moe_teach.course.handout.release import release as write

    folder = Path(arguments.folder)
    private = Path(arguments.probes) if arguments.probes else None
    _demand_repository(arguments.repository)
    if private and private.resolve().is_relative_to(folder.resolve()):
        raise NoPlace(f"{private} lies in the hand-out: keep your probes where no student is.")
    status, told = _tried(private)
    options = {name: getattr(arguments, name) for name in ("repository", "lessons", "title")}
    said = write(repository(), folder, chapter_numbers(arguments.chapters), **options)
    print("\n".join([*said, *told]))
    return status


def template(arguments: argparse.Namespace) -> int:
    """Write what a platform needs, and name the files; probes are tried."""
    from moe_teach.course.handout.templates import lay_template

    numbers = chapter_numbers(arguments.chapters)
    probes = Path(arguments.probes) if arguments.probes else None
    _demand_repository(arguments.repository)
    options = {"probes": probes, "repository": arguments.repository}
    written = lay_template(arguments.kind, repository(), Path(arguments.folder), numbers, **options)
    status, told = _tried(probes)
    print(*written, *told, sep="\n")
    return status


def _tried(private: Path | None) -> tuple[int, list[str]]:
    """Try a teacher's probes; give the exit status and what there is to say."""
    from moe_teach.course.grading.probes import complaints, load_probes

    if private is None:
        return DONE, []
    found = load_probes(private)
    if problems := complaints(found):
        return FAILED, problems
    probes = counted(sum(map(len, found.values())), "probe")
    return DONE, [f"{probes} tried: the solution passes, nonsense does not. Keep {private} to you."]


def _demand_repository(name: str) -> None:
    if name and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise LookupError(
            f"{name!r} is not a repository written as owner/name: for an address on GitHub, type "
            "only its last two parts, as in uni/moe-2026."
        )


def chapter_numbers(words: list[str]) -> list[int]:
    """Read the numbers of chapters.

    Raises:
        LookupError: in a sentence, if a word is none.
    """
    for word in words:
        if not word.isdecimal():
            raise LookupError(
                f"{word!r} is not a chapter number such as 03. Type several with spaces between "
                "them: 03 04. A chapter's further pages, as 06b, come with it."
            )
    return [int(word) for word in words]


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    return parser
