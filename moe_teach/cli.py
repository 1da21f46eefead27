"""The `moe-teach` command: one thin function per verb.

Exit status: 0 done as asked, 1 some work failed its check, 2 the command was not understood,
3 a fault of the tool or its surroundings, 130 training was stopped by Ctrl-C, 141 the
reader of the output went away.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from moe_teach import cli_grading, cli_learner, cli_models, cli_packing, cli_serve, cli_teaching
from moe_teach.files import repository
from moe_teach.terminal import on_any_terminal

Verb = Callable[[argparse.Namespace], int]
DONE, FAILED, USAGE, FAULT = range(4)
INTERRUPTED = 130  # what shells use for Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; faults are reported in a sentence."""
    words = list(sys.argv[1:] if argv is None else argv)
    return on_any_terminal(lambda: _run(words))


def _run(words: list[str]) -> int:
    if words[:1] == ["bench"]:  # the bench reads its own options
        return _bench(argparse.Namespace(words=words[1:]))
    parser = _parser()
    arguments = parser.parse_args(words)
    if not hasattr(arguments, "verb"):
        parser.print_help()
        return USAGE
    try:
        return arguments.verb(arguments)
    except BrokenPipeError:
        raise  # for `on_any_terminal`
    except Exception as problem:
        return _report(problem)


def _report(problem: Exception) -> int:
    """Tell a mistyped word from a missing tool and from a fault of ours."""
    is_ours = isinstance(problem, KeyError | IndexError)
    if isinstance(problem, LookupError) and not is_ours:
        print(f"moe-teach: {problem}", file=sys.stderr)
        return USAGE
    if isinstance(problem, ModuleNotFoundError) and not str(problem.name).startswith("moe_teach"):
        print(
            f"moe-teach: this verb needs {problem.name!r}, which is not installed. Authors "
            "install the course with: pip install -e '.[dev]'",
            file=sys.stderr,
        )
        return FAULT
    traceback.print_exception(problem)
    return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moe-teach",
        description="The course on Mixture-of-Experts: progress, help, and tools for its authors.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    cli_learner.add_verbs(verbs)
    _add(verbs, "doctor", "say what works on this machine and what to do about the rest", _doctor)
    _add(verbs, "bench", "time the implementations of an operation (see bench --help)", _bench)
    recipe = _add(verbs, "train", "train a model as a recipe says (a TOML file)", _train)
    recipe.add_argument("recipe", metavar="FILE", help="see moe_teach/train/recipe.py")
    recipe.add_argument("--anew", action="store_true", help="forget what the folder holds")
    cli_models.add_verbs(verbs)
    cli_serve.add_verbs(verbs)
    cli_grading.add_verbs(verbs)
    cli_teaching.add_verbs(verbs)
    cli_packing.add_verbs(verbs)
    grid = _add(verbs, "experiment", "run the many seeds behind a stored result", _experiment)
    grid.add_argument("name", nargs="?", metavar="NAME", help="default: list them")
    grid.add_argument("--jobs", type=int, default=1, help="runs side by side, one thread each")
    _add_tasks(verbs.add_parser("author", help="build, run and verify the course's notebooks"))
    return parser


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


def _doctor(_arguments: argparse.Namespace) -> int:
    from moe_teach.doctor import main as doctor

    return doctor() or DONE


def _bench(arguments: argparse.Namespace) -> int:
    if arguments.words[:1] == ["grade"]:  # times the course's own grader, which the bench is not
        from moe_teach.course.grading.bench import main as bench_grade

        return bench_grade(arguments.words[1:])
    from moe_teach.bench.cli import main as bench

    return bench(arguments.words) or DONE


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


if __name__ == "__main__":
    sys.exit(main())
