"""The `moe-teach` command: one thin function per verb.

Exit status: 0 done as asked, 1 some work failed its check, 2 the command was not understood,
3 a fault of the tool or its surroundings, 130 training was stopped by Ctrl-C, 141 the
reader of the output went away.
"""

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence

from moe_teach.cli import (
    authors,
    experts,
    grading,
    learner,
    looking,
    models,
    packing,
    serve,
    teaching,
)
from moe_teach.exit_status import DONE, FAULT, USAGE
from moe_teach.terminal import in_a_sentence, on_any_terminal

# Benches of the exercises, which the room of the other benches does not know.
_OF_COURSE = {
    "checks": "moe_teach.course.grading.check_bench",
    "grade": "moe_teach.course.grading.bench",
}


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
    if isinstance(problem, OSError) and (said := in_a_sentence(problem)):
        print(f"moe-teach: {said}", file=sys.stderr)
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
    learner.add_verbs(verbs)
    for name, text, verb in (
        ("doctor", "say what works on this machine and what to do about the rest", _doctor),
        ("bench", "time the implementations of an operation (see bench --help)", _bench),
    ):
        plain = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
        plain.set_defaults(verb=verb)
    for room in (models, experts, looking, serve, grading, teaching, packing, authors):
        room.add_verbs(verbs)
    return parser


def _doctor(_arguments: argparse.Namespace) -> int:
    from moe_teach.doctor import main as doctor

    return doctor() or DONE


def _bench(arguments: argparse.Namespace) -> int:
    for word, module in _OF_COURSE.items():
        if arguments.words[:1] == [word]:
            return importlib.import_module(module).main(arguments.words[1:])
    from moe_teach.bench.cli import main as bench

    return bench(arguments.words) or DONE
