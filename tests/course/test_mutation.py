"""Small faults made by rule: each rule makes its own, and what no check sees is told."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from moe_teach.course import registry
from moe_teach.course.authoring.command import DONE, FAILED, mutate
from moe_teach.course.authoring.mutation import crew, equal, trial
from moe_teach.course.authoring.mutation.mutants import mutants_of
from moe_teach.course.authoring.mutation.run import mutate as findings
from moe_teach.course.authoring.mutation.run import work_on
from moe_teach.course.authoring.sources import read
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.outcome import Outcome

ROOT = Path(__file__).parents[2]
ONE_IN = 10  # one of so many mutants is tried on every run of the tests
IN_CHILDREN = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PYTHON = '''\
def answer(n: int, k: int = 2, words: str | None = None):
    """Not to be touched: 1 + 1."""
    given = 1 + 1
    ### BEGIN SOLUTION
    {}
    ### END SOLUTION
'''
TORCH = PYTHON.replace("n: int, k: int = 2, words: str | None = None", "x: Tensor, y: Tensor")
KERNEL = "@triton.jit\n" + PYTHON.replace(
    "n: int, k: int = 2, words: str | None = None", "x_ptr, stride_a, stride_b, B: tl.constexpr"
)


def made(line: str, rule: str, form: str = PYTHON) -> list[str]:
    """Give what a rule makes of one line of a solution."""
    mutants = mutants_of("9.1", form.replace("{}", line))
    return [mutant.new.strip() for mutant in mutants if mutant.rule == rule]


@pytest.mark.parametrize(
    ("rule", "line", "expected"),
    [
        ("comparison", "return n < k", ["return n <= k"]),
        ("comparison", "return n == k", ["return n != k"]),
        ("comparison", "return 0 < n > k", ["return 0 <= n > k", "return 0 < n >= k"]),
        ("constant", "return n[3]", ["return n[4]", "return n[2]"]),
        ("constant", "return n * 0.5", ["return n * 1.0"]),
        ("constant", 'return n["a"]', ["return n['a?']"]),
        ("constant", "return -torch.inf", ["return -10.0"]),
        ("operator", "return n // k", ["return n / k"]),
        ("operator", "return (n + k) * n", ["return (n + k) / n", "return (n - k) * n"]),
        ("operator", "n += k", ["n -= k"]),
        ("operands", "return n - k", ["return k - n"]),
        ("half", "return n & k", ["return n", "return k"]),
        ("half", "return n or k", ["return n", "return k"]),
        ("sign", "return not n", ["return n"]),
        ("sign", "return n[-1]", ["return n[1]"]),
        ("logic", "return n and k", ["return n or k"]),
        ("condition", "n = 1 if n else k", ["n = 1 if not n else k"]),
        ("dropped line", "n.append(k)", ["pass"]),
        ("jump", "while n: break", ["while n: continue"]),
        ("argument order", "return f(n, k)", ["return f(k, n)"]),
        ("tuple order", "return n, k, 1", ["return (k, n, 1)", "return (n, 1, k)"]),
        ("keyword", "return n.sort(stable=True, dim=0)", ["return n.sort(dim=0)"]),
        ("skipped call", "return int(n)", ["return n"]),
        ("skipped call", "return n.long().sum()", ["return n.long()", "return n.sum()"]),
        ("range end", "return n[:k]", ["return n[:k + 1]", "return n[:k - 1]"]),
        ("wrong parameter", "return n", ["return k"]),
    ],
)
def test_a_plain_rule_makes_its_fault(rule: str, line: str, expected: list[str]) -> None:
    assert made(line, rule)[: len(expected)] == expected


def test_a_range_ends_or_begins_elsewhere() -> None:
    ends = ["return range(n + 1)", "return range(n - 1)", "return range(1, n)"]
    assert made("return range(n)", "range end") == ends


def test_a_parameter_is_ignored_in_favour_of_usual_values() -> None:
    usual = ["n = 1", "n = 2", "k = 1", "k = 2", "words = None"]
    assert made("return n", "ignored parameter") == usual


@pytest.mark.parametrize(
    ("rule", "line", "expected"),
    [
        ("axis", "return x.sum(dim=0)", ["return x.sum(dim=1)"]),
        ("twin", "return x.sum()", ["return x.mean()"]),
        ("twin", "return max(x, y)", ["return min(x, y)"]),
        ("narrower", "return x.to(torch.int64)", ["return x.to(torch.int32)"]),
        ("narrower", "return x.double()", ["return x.float()"]),
        ("short result", "return x, y", ["return x.int(), y", "return x, y.int()"]),
        ("detached", "return x", ["return x.detach()"]),
        (
            "detached",
            "z = x + y",
            ["z = (x + y).detach()", "z = x.detach() + y", "z = x + y.detach()"],
        ),
        ("no gradient", "return x", ["@torch.no_grad()"]),
        ("in place", "x = x + y", ["x += y", "x = x.add_(y)"]),
        ("in place", "return x.view(-1).clamp(0)", ["return x.view(-1).clamp_(0)"]),
        ("in place", "return (x + y).clamp(0)", ["return (x.add_(y)).clamp(0)"]),
        ("layout", "return x.reshape(-1)", ["return x.view(-1)"]),
        ("fixed kind", "return x.new_zeros(3)", ["return torch.zeros(3)"]),
        ("fixed kind", "return torch.zeros_like(x)", ["return torch.zeros(x.shape)"]),
    ],
)
def test_a_rule_for_tensors_makes_its_fault(rule: str, line: str, expected: list[str]) -> None:
    assert sorted(made(line, rule, TORCH)) == sorted(expected)


@pytest.mark.parametrize(
    ("rule", "line", "expected"),
    [
        ("keyword", "a = tl.load(x_ptr, mask=B, other=0)", 2),
        ("wrong parameter", "a = stride_a", 1),
        ("narrower", "a = B.to(tl.int64)", 1),
        ("detached", "return B + B", 0),
        ("no gradient", "return B", 0),
    ],
)
def test_a_kernel_gets_the_faults_of_kernels(rule: str, line: str, expected: int) -> None:
    assert len(made(line, rule, KERNEL)) == expected


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("sign", "return x.gather(-1, y)"),
        ("sign", "return x.sum(dim=-1)"),
        ("argument order", "return min(x, y)"),
        ("keyword", "return x.topk(1, dim=-1)"),
    ],
)
def test_what_can_make_no_difference_is_not_tried(rule: str, line: str) -> None:
    assert made(line, rule, TORCH) == []


def test_what_a_learner_is_given_stays_as_it_is() -> None:
    cell = PYTHON.replace("{}", 'raise ValueError(f"{n + 1} is not {k}.", 1)')
    mutants = mutants_of("9.1", cell)
    assert {mutant.old.strip() for mutant in mutants} <= {"", cell.splitlines()[4].strip()}
    assert {mutant.rule for mutant in mutants} <= {"dropped line", "ignored parameter"}


def test_another_spelling_of_the_same_program_is_no_mutant() -> None:
    assert "return n * 1" not in made("return n * (1 * 1)", "half")


def test_a_mutant_keeps_its_name_when_lines_move() -> None:
    cell = PYTHON.replace("{}", "return n < k  # a border")
    moved = cell.replace("    given", "    # one more line\n\n    given")
    keys = [mutant.key for mutant in mutants_of("9.1", cell)]
    assert keys == [mutant.key for mutant in mutants_of("9.1", moved)]
    assert "comparison: return n < k -> return n <= k" in keys


def test_equal_lines_have_mutants_of_their_own_names() -> None:
    keys = [m.key for m in mutants_of("9.1", PYTHON.replace("{}", "n.a(k)\n    n.a(k)"))]
    assert len(keys) == len(set(keys))
    assert "dropped line: n.a(k) -> pass #2" in keys


Write = Callable[..., Path]


@pytest.fixture
def course(tmp_path: Path) -> Write:
    """Write a course of one exercise with this solution and this list of equal mutants."""

    def write(body: str, listed: str = "") -> Path:
        solution = tmp_path / "solutions" / "09_triton_dispatch.py"
        solution.parent.mkdir(exist_ok=True)
        solution.write_text(
            "# %% [markdown]\n# # 09 A test: exercises\n\n# %%\ndef double(x):\n"
            f"    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION\n\n"
            '# %%\ncheck("9.1", double)\n'
        )
        path = equal.path_of(tmp_path, 9)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'["9.1"]\n{listed}\n' if listed else "")
        return tmp_path

    return write


def complaints(root: Path, exercise: Exercise, **options: int) -> str:
    (finding,) = findings(root, [exercise], **{"jobs": 0, **options})
    return "\n".join(finding.complaints)


SURVIVOR = "return abs(x) * 2 if len(x) > 9 else x + x"  # the check never gives so many tokens


def test_a_fault_that_no_check_sees_is_shown(course: Write, double: Exercise) -> None:
    said = complaints(course(SURVIVOR), double)
    assert "9.1 lets through (comparison; passed):" in said
    assert f"    - {SURVIVOR}\n    + {SURVIVOR.replace('>', '>=')}\n" in said
    assert "x + x + x" not in said


def test_a_sharp_check_leaves_nothing_to_say(course: Write, double: Exercise) -> None:
    assert complaints(course("return x + x"), double) == ""


def test_a_listed_fault_is_no_longer_shown(course: Write, double: Exercise) -> None:
    work = work_on(double, read(course(SURVIVOR) / "solutions" / "09_triton_dispatch.py"))
    lines = [equal.line_for(mutant.key).replace('""', '"why"') for mutant in work.mutants]
    root = course(SURVIVOR, "\n".join(lines))
    assert "lets through" not in complaints(root, double)


def test_a_listed_fault_that_is_rejected_is_stale(course: Write, double: Exercise) -> None:
    key = "operator: return x + x -> return x - x"
    said = complaints(course("return x + x", f'"{key}" = "No."'), double)
    assert said == f"9.1: listed as equal, but rejected: {key}"


def test_a_listed_fault_that_no_rule_makes_is_stale(course: Write, double: Exercise) -> None:
    said = complaints(course("return x + x", '"magic: a -> b" = "No."'), double, one_in=10**9)
    assert said == "9.1: listed as equal, but no rule makes it: magic: a -> b"


def test_a_list_without_reasons_is_refused(course: Write, double: Exercise) -> None:
    with pytest.raises(ValueError, match="must hold lines of the form"):
        complaints(course("return x + x", '"magic: a -> b" = ""'), double)


def test_a_gradient_cut_off_where_none_could_pass_is_no_fault(
    course: Write, double: Exercise
) -> None:
    body = (
        "import torch\n    n = torch.tensor(2)\n    near = x * 1\n"
        "    order = (near + x).argsort(dim=0)\n    return n * near + 0 * order"
    )
    said = complaints(course(body), double)
    assert "n.detach() * near" not in said
    assert "near.detach() + x" not in said
    assert "n * near.detach()" in said
    assert "@torch.no_grad()" in said


def test_a_function_without_gradients_may_run_without_them(course: Write, double: Exercise) -> None:
    body = "import torch\n    return torch.tensor([[2 * n for n in row] for row in x.tolist()])"
    assert "grad" not in complaints(course(body), double)


def test_an_endless_mutant_is_rejected(course: Write, double: Exercise) -> None:
    body = "n = 0\n    while n < 2:\n        n += 1\n    return n * x"
    assert "+ pass" not in complaints(course(body), double)


def test_a_mutant_that_got_no_verdict_in_haste_is_judged_again_in_peace(
    course: Write, double: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, double = [], replace(double, limit=10.0)

    def crowded(exercise: Exercise, answer: object, **options: object) -> Outcome:
        limits.append(exercise.limit)
        outcome = run_exercise(exercise, answer, **options)
        in_haste = exercise.limit < double.limit and outcome.state != "passed"
        return replace(outcome, state="course problem") if in_haste else outcome

    monkeypatch.setattr(trial, "run_exercise", crowded)
    assert complaints(course("return x + x"), double) == ""
    assert limits[1] < limits[2] == double.limit


@IN_CHILDREN
def test_a_mutant_that_ends_python_is_rejected_and_the_rest_is_tried(
    course: Write, double: Exercise
) -> None:
    body = "import os\n    if len(x) > 9:\n        os._exit(3)\n    return x + x"
    path = course(body) / "solutions" / "09_triton_dispatch.py"
    (work,) = crew.judge([work_on(double, read(path))], jobs=2)
    fates = {
        mutant.key: verdict.fate
        for mutant, verdict in zip(work.mutants, work.verdicts, strict=True)
    }
    assert len(fates) == len(work.mutants)
    assert fates["condition: if len(x) > 9: -> if True:"] == "crashed"
    assert fates["condition: if len(x) > 9: -> if False:"] == "survived"
    assert fates["operator: return x + x -> return x - x"] == "rejected"


@IN_CHILDREN
def test_a_mutant_that_says_nothing_is_given_up(
    course: Write, double: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "SILENCE", 0.5)
    monkeypatch.setattr(crew.Trial, "judge", lambda *_: time.sleep(600))
    work = work_on(double, read(course("return x + x") / "solutions" / "09_triton_dispatch.py"))
    work.mutants = work.mutants[:1]
    (work,) = crew.judge([work], jobs=1)
    assert [verdict.fate for verdict in work.verdicts] == ["crashed"]


@IN_CHILDREN
def test_a_solution_that_fails_is_a_complaint(course: Write, double: Exercise) -> None:
    said = complaints(course("return x"), double, jobs=1)
    assert "The solution of 9.1 does not pass" in said


@IN_CHILDREN
def test_the_command_shows_counts_and_fails_on_what_is_unlisted(
    course: Write,
    double: Exercise,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(registry, "find_exercise", lambda _: double)
    assert mutate(course("return x + x"), ["9.1"]) == DONE
    assert "Every mutant is rejected, or listed as equal." in capsys.readouterr().out
    assert mutate(course(SURVIVOR), ["9.1"]) == FAILED
    assert "lets through" in capsys.readouterr().out


EXERCISES = [item for item in registry.every_item() if isinstance(item, Exercise)]


@pytest.mark.usefixtures("as_a_user")  # a learner has no shape checks, and they are slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_a_share_of_all_mutants_is_rejected_or_listed(exercise: Exercise) -> None:
    [finding] = findings(ROOT, [exercise], jobs=0, one_in=ONE_IN)
    assert finding.complaints == ()
