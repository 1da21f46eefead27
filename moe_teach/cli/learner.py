"""The verbs of whoever works through the course: the notebooks, what is done, checks and help."""

import argparse
import sys
from pathlib import Path
from typing import Any

from moe_teach.exit_status import DONE, FAILED, INTERRUPTED
from moe_teach.files import course_folder, expanded, repository


def add_verbs(verbs: Any) -> None:
    """Describe the verbs and their arguments."""
    folder = _add(verbs, "start", "lay out the notebooks, or bring them up to date", start)
    folder.add_argument("folder", metavar="FOLDER", help="a new one, or the one you have begun in")
    _add(verbs, "desk", "in a clone: lay out your copies of the notebooks in the folder desk", desk)
    for name, text, verb in (
        ("list", "list the exercises and their states, chapter by chapter", list_exercises),
        ("progress", "show all chapters at a glance, or one", progress),
    ):
        _add(verbs, name, text, verb).add_argument(
            "chapters", nargs="?", metavar="NN", help="a chapter, e.g. 03"
        )
    _add(verbs, "next", "name the next exercise and where it lies", next_exercise)
    judged = _add(verbs, "check", "run the checks of a saved notebook, or say what passed", check)
    judged.add_argument(
        "ids", nargs="*", metavar="FILE|ID", help="a notebook file, or ids as recorded, e.g. 3.1"
    )
    seen = _add(verbs, "watch", "check a notebook again whenever it is saved, until Ctrl-C", watch)
    seen.add_argument("file", nargs="?", metavar="FILE", help="default: every exercise you have")
    hints = _add(verbs, "hint", "show the next hint, or hint LEVEL", hint)
    hints.add_argument("id", metavar="ID", help="an exercise, e.g. 3.1")
    hints.add_argument("level", nargs="?", type=int, metavar="LEVEL")
    _add(verbs, "solution", "show a solution with its explanation", solution).add_argument(
        "id", metavar="ID", help="an exercise, e.g. 3.1"
    )
    _add(verbs, "reset", "forget the record of exercises and show their start", reset).add_argument(
        "ids", nargs="+", metavar="ID", help="an exercise, e.g. 3.1"
    )
    own = _add(verbs, "mine", "list your own answers, which are modules that you may edit", mine)
    own.add_argument("--check", action="store_true", help="prove them all in a fresh process")


def start(arguments: argparse.Namespace) -> int:
    """Lay the notebooks out where the reader wants them, and say how to open the first."""
    from moe_teach.course.learner.desk import lay_out
    from moe_teach.doctor import opening

    folder = expanded(arguments.folder)
    said = lay_out(course_folder(), folder)
    print("\n".join(said) or f"Everything in {folder} is up to date.")
    print(opening(folder / "notebooks" / "00_start_here.ipynb"))
    return DONE


def desk(_arguments: argparse.Namespace) -> int:
    """Lay the notebooks out in the clone's own folder for that."""
    from moe_teach.course.learner.desk import lay_out

    print("\n".join(lay_out(repository(), repository() / "desk")) or "Your desk is up to date.")
    return DONE


def list_exercises(arguments: argparse.Namespace) -> int:
    """Print every exercise with its state."""
    from moe_teach.course.learner.agenda import listing
    from moe_teach.course.learner.overview import chapter_number
    from moe_teach.course.learner.recording import recorded

    asked = arguments.chapters
    done, problem = recorded()
    print(listing(done, None if asked is None else chapter_number(asked)))
    if problem:
        print(problem, file=sys.stderr)
    return DONE


def next_exercise(_arguments: argparse.Namespace) -> int:
    """Print what comes next."""
    from moe_teach.course.learner.agenda import following
    from moe_teach.course.learner.recording import recorded

    done, problem = recorded()
    print(following(done))
    if problem:
        print(problem, file=sys.stderr)
    return DONE


def progress(arguments: argparse.Namespace) -> int:
    """Print the overview that notebooks show."""
    from moe_teach.course import progress, registry
    from moe_teach.course.learner.overview import chapter_number
    from moe_teach.course.learner.typed import as_typed

    if arguments.chapters is not None:
        registry.room(chapter_number(arguments.chapters))  # a mistyped one is no success
    print(as_typed(progress(arguments.chapters)))
    return DONE


def check(arguments: argparse.Namespace) -> int:
    """Judge what a saved notebook holds, or say what is recorded of exercises."""
    files = [word for word in arguments.ids if word.endswith(".ipynb")]
    for word in set(arguments.ids) - set(files):
        if not word[:1].isdigit() and Path(word).exists():
            raise LookupError(
                f"{word} is no notebook. Name a file that ends in .ipynb to have it checked, or "
                "ids such as 3.1 to see what is recorded."
            )
    if files and len(files) < len(arguments.ids):
        raise LookupError("Name notebook files or ids, not both: the ids are as last recorded.")
    return max(map(_check_file, files)) if files else _check_record(arguments.ids)


def watch(arguments: argparse.Namespace) -> int:
    """Check a notebook again whenever it is saved."""
    from moe_teach.course.learner import saved, watching

    if arguments.file is not None:
        file = expanded(arguments.file)
        saved.read(file)  # a mistyped name is said at once
        print(f"Watching {file}. Ctrl-C ends it.")
        watching.watch(lambda: [file], at_once=True)
        return DONE
    shelf = _exercises()
    print(f"Watching the notebooks in {shelf}. Save one to have it checked; Ctrl-C ends it.")
    watching.watch(lambda: sorted(shelf.glob("*.ipynb")), at_once=False)
    return DONE


def hint(arguments: argparse.Namespace) -> int:
    """Print a hint."""
    from moe_teach.course import hint, registry
    from moe_teach.course.learner.typed import as_typed

    item, level = registry.find(arguments.id), arguments.level
    if level is not None and item.hints and level not in range(1, len(item.hints) + 1):
        numbers = "hint 1 only" if len(item.hints) == 1 else f"hints 1 to {len(item.hints)}"
        raise LookupError(f"{item.id} has {numbers}, and no hint {level}.")
    print(as_typed(hint(item.id, level)))
    return DONE


def solution(arguments: argparse.Namespace) -> int:
    """Print a solution."""
    from moe_teach.course import registry, solution
    from moe_teach.course.learner.typed import as_typed

    print(as_typed(solution(registry.find(arguments.id).id)))
    return DONE


def reset(arguments: argparse.Namespace) -> int:
    """Forget records."""
    from moe_teach.course import registry, reset

    for item in [registry.find(i) for i in arguments.ids]:
        print(reset(item.id))
    return DONE


def mine(arguments: argparse.Namespace) -> int:
    """List the reader's own parts, or prove them."""
    from moe_teach.course.learner.mine import command

    return command.check() if arguments.check else command.show()


def _add(verbs: Any, name: str, text: str, verb: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    return parser


def _check_file(file: str) -> int:
    from moe_teach.course.learner import rechecking, saved

    path = expanded(file)
    saved.read(path)
    process = rechecking.start(path, [])
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.kill()
        print("\nmoe-teach: stopped. What was judged so far is recorded.")
        return INTERRUPTED


def _check_record(ids: list[str]) -> int:
    from moe_teach.course import registry
    from moe_teach.course.learner.progress_file import read

    done = read()
    items = [registry.find(i) for i in ids] or list(registry.every_item())
    for item in items:
        print(f"{item.id:6} {done.of(item.id).state:14} {item.title}")
    return DONE if all(done.of(item.id).state == "passed" for item in items) else FAILED


def _exercises() -> Path:
    """Find the reader's exercises: on the desk that was laid out last, else below this folder."""
    from moe_teach.course.learner.desk import place

    own = place()
    for folder in (own, Path.cwd()):
        if folder and (folder / "exercises").is_dir():
            return folder / "exercises"
    raise LookupError(
        "There are no notebooks of yours to watch yet. `moe-teach start FOLDER` lays them out; or "
        "name a file: moe-teach watch FILE."
    )
