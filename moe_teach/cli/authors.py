"""The verbs of who trains models, runs experiments and writes chapters."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from moe_teach.exit_status import DONE, FAILED, INTERRUPTED, USAGE
from moe_teach.files import repository

Verb = Callable[[argparse.Namespace], int]


def add_verbs(verbs: Any) -> None:
    """Add train, experiment and author."""
    recipe = _add(verbs, "train", "train a model as a recipe says (a TOML file)", _train)
    recipe.add_argument("recipe", metavar="FILE", help="see moe_teach/train/recipe.py")
    recipe.add_argument("--anew", action="store_true", help="forget what the folder holds")
    grid = _add(verbs, "experiment", "run the many seeds behind a stored result", _experiment)
    grid.add_argument("name", nargs="?", metavar="NAME", help="default: list them")
    grid.add_argument("--jobs", type=int, default=1, help="runs side by side, one thread each")
    _add_tasks(verbs.add_parser("author", help="build, run and verify the course's notebooks"))


def _add_tasks(author: argparse.ArgumentParser) -> None:
    author.set_defaults(verb=lambda _: author.print_help() or USAGE)
    tasks = author.add_subparsers(title="tasks", metavar="TASK", dest="task")
    build = _add(tasks, "build", "write the notebooks from their sources", _author, chapters="*")
    build.add_argument("--check", action="store_true", help="write nothing, report what is stale")
    _add(tasks, "execute", "build, run and store lessons with outputs", _author, chapters="*")
    cargo = _add(tasks, "ship", "turn a finished training run into a model that ships", _ship)
    cargo.add_argument("recipe", metavar="FILE", help="the recipe; the model goes beside it")
    cargo.add_argument("--to", metavar="FOLDER", help="another folder than the recipe's")
    _add(tasks, "verify", "send exercises through every gate", _author, ids="*")
    faults = _add(tasks, "mutate", "look for small faults that no check sees", _author, ids="*")
    faults.add_argument("--jobs", type=int, default=2, metavar="N", help="exercises at a time (2)")
    faults.add_argument("--one-in", type=int, default=1, metavar="N", help="try a fixed share only")


def _add(
    verbs: Any, name: str, text: str, verb: Verb, *, ids: int | str = 0, chapters: str = ""
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    if ids:
        parser.add_argument("ids", nargs=ids, metavar="ID", help="an exercise, e.g. 3.1")
    if chapters:
        parser.add_argument("chapters", nargs=chapters, metavar="NN", help="a chapter, e.g. 03")
    parser.set_defaults(verb=verb)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    from moe_teach.train.loop import TrainingStopped
    from moe_teach.train.ranks import connected
    from moe_teach.train.recipe import read_recipe
    from moe_teach.train.run import run_recipe

    try:
        with connected():
            run_recipe(read_recipe(arguments.recipe), resume=not arguments.anew)
    except TrainingStopped as stop:
        print(f"moe-teach: {stop}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nmoe-teach: stopped; the same command goes on after the last checkpoint.")
        return INTERRUPTED
    except (ValueError, FileNotFoundError) as problem:  # the recipe, or what it asks for, cannot be
        print(f"moe-teach: {problem}", file=sys.stderr)
        return USAGE
    return DONE


def _ship(arguments: argparse.Namespace) -> int:
    from moe_teach.course.authoring.command import ship

    return ship(arguments.recipe, arguments.to)


def _experiment(arguments: argparse.Namespace) -> int:
    from moe_teach.course import experiments

    if arguments.name is None:
        print(*(f"{e.name:24} {e.purpose}" for e in experiments.every()), sep="\n")
        return DONE
    experiments.run(arguments.name, repository(), jobs=arguments.jobs)
    return DONE


def _author(arguments: argparse.Namespace) -> int:
    from moe_teach.course.authoring import command

    return command.run(repository(), arguments)
