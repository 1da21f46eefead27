"""Chapter 10, exercise 10.8: a test that tells right grouped kernels from wrong ones."""

from collections.abc import Callable, Iterable
from typing import Any

from moe_teach.chapters.ch10_triton_experts import suspects
from moe_teach.chapters.ch10_triton_experts.suspects import Multiply, Suspect
from moe_teach.judging.exercise import Exercise, Words, WrongAnswer, require

EXERCISE = Exercise(
    id="10.8",
    name="is_right",
    title="Find what is wrong: A test that everything passes",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    needs=("10.1",),
    limit=60,
    hints=(
        "The test above tries one shape. List what in it is even, square, full or alike, and take "
        "that away piece by piece: each may be what somebody's kernel silently relies on.",
        "Rows like 20, 0, 3: more than one tile, nobody, a rest. D = 20 and F = 56. A w that is "
        "stored turned round: w.mT.contiguous().mT. Then the kinds of numbers: a float16 input "
        "with sums that rise above 65,504 and come back. Then what no number shows: `with watch("
        "adopt=True) as seen:` and look at `seen`.",
        "For each case: with watch(adopt=True) as seen: got = multiply(rows, w, ends); if "
        "seen.races() or seen.narrow_dots: return False; compare got with grouped_mm(rows.double(),"
        ' w.double(), ends, backend="reference") by torch.allclose, with a tolerance that fits the '
        "dtype. For the half: rows of 300 and some noise, and w of 300 in its first half of D and "
        "of -300 in the other.",
    ),
    explanation="The kernel above works out its tile and its block of columns from one number, and "
    "divides by the wrong one of two sizes that happen to be equal in the test. It was published "
    "like this (meta-pytorch/applied-ai, issue 25), and looked faster than its rivals because it "
    "fetched the same matrices again and again. A grouped kernel has few sizes and many ways in "
    "which they can be equal. What is left after awkward shapes are two kinds of mistakes: those "
    "that need other numbers, and those that need another machine. The last ones are in the "
    "addresses and in the source, and only something that looks there can find them.",
)


def _says_yes(answer: Callable[[Multiply], Any], multiply: Multiply) -> bool:
    """Ask the learner's test; what a wrong kernel raises inside it counts as a no."""
    try:
        return _said(answer(multiply))
    except (NotImplementedError, WrongAnswer):
        raise
    except Exception:
        return False


def _said(got: Any) -> bool:
    require(
        isinstance(got, bool),
        "The test must say True or False.",
        cause="A comparison of tensors gives a tensor.",
        cure="Return True at the end, and False where a kernel is found out; bool(...) makes one.",
        expected=Words("True or False"),
        got=got,
    )
    return got


def _demand_no(answer: Any, wrong: Iterable[Suspect], said: str) -> None:
    missed = [suspect for suspect in wrong if _says_yes(answer, suspect.multiply)]
    require(
        not missed,
        f"{said} {len(missed)} of them got past.",
        cause=f"One is right as long as {missed[0].excuse}." if missed else "",
        cure=f"What shows it: {missed[0].shown_by}." if missed else "",
        expected=Words("False"),
        got=Words("True"),
    )


@EXERCISE.stage("right kernels")
def _right_kernels(answer: Any, seed: int) -> None:
    if seed:  # the kernels stay the same, and each takes the interpreter a tenth of a second
        return
    for name, suspect in suspects.right().items():
        try:
            says = _said(answer(suspect.multiply))
        except AssertionError:
            says = False
        require(
            says,
            f"Your test turns away a kernel that is right, one {name}.",
            cause="Another order of adding up rounds differently, and another size of the tiles is "
            "nobody's mistake.",
            cure="Compare with a tolerance that fits the dtype of the rows.",
            expected=Words("True"),
            got=says,
        )


@EXERCISE.stage("the kernel above")
def _kernel_above(answer: Any, seed: int) -> None:
    if not seed:
        _demand_no(
            answer, [suspects.shown()], "Your test lets the kernel pass that you were shown."
        )


@EXERCISE.stage("wrong numbers")
def _wrong_numbers(answer: Any, seed: int) -> None:
    if not seed:
        said = "Your test lets kernels pass whose numbers are wrong on some shape."
        _demand_no(answer, suspects.wrong_numbers(), said)


@EXERCISE.stage("broken sums")
def _broken_sums(answer: Any, seed: int) -> None:
    if not seed:
        said = "Your test lets a kernel pass that breaks sums."
        _demand_no(answer, suspects.broken_sums(), said)


@EXERCISE.stage("right numbers")
def _right_numbers(answer: Any, seed: int) -> None:
    if not seed:
        said = "Your test lets kernels pass that are right here, and wrong on a GPU."
        _demand_no(answer, suspects.right_numbers(), said)
