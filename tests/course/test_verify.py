"""The gates must be red for each fault they were built to catch, and green for the course."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from moe_teach.course import registry
from moe_teach.course.authoring import verify
from moe_teach.course.authoring.sources import read
from moe_teach.judging.exercise import Exercise, NamedAnswer

PRACTICE = '''\
# %% [markdown]
# # 09 A test: exercises

# %%
def double(x):
    """Double x."""
    ### BEGIN SOLUTION
    twice_as_much_of_it = x + x
    return twice_as_much_of_it
    ### END SOLUTION

# %%
check("9.1", double)
'''


def triples(x):
    return 3 * x


def shortens(x):
    return x[:0]


def works_in_place(x):
    return x.mul_(2)


def by_product(x):
    return 2 * x


def by_list(x):
    return x.new_tensor([[2 * entry for entry in row] for row in x.tolist()])


WRONG = [
    NamedAnswer(triples, False, "values", "twice"),
    NamedAnswer(shortens, False, "shape", "stay"),
    NamedAnswer(works_in_place, False, "shape", "in place"),
]
RIGHT = [NamedAnswer(by_product, True), NamedAnswer(by_list, True)]


@dataclass
class Bench:
    """One exercise on the bench: change something, then look at the complaints."""

    exercise: object
    path: Path
    answers: list

    def complaints(self, practice: str = PRACTICE) -> str:
        self.path.write_text(practice)
        return "\n".join(verify.verify_exercise(self.exercise, read(self.path)).problems)


@pytest.fixture
def bench(double, tmp_path, monkeypatch):
    (tmp_path / "solutions").mkdir()
    bench = Bench(double, tmp_path / "solutions" / "09_a_test.py", [*WRONG, *RIGHT])
    monkeypatch.setattr(registry, "answers_for", lambda _: bench.answers)
    return bench


def test_a_sound_exercise_passes_every_gate(bench):
    assert bench.complaints() == ""


def test_a_failing_solution_is_caught(bench):
    broken = PRACTICE.replace("x + x", "x + 1")
    assert "The solution does not pass: wrong at stage 'values'" in bench.complaints(broken)


def test_a_solution_that_cannot_be_defined_is_caught(bench):
    broken = PRACTICE.replace("def double(x):", "def double(x=nowhere):")
    assert "The solution cannot run: NameError" in bench.complaints(broken)


def test_a_starter_that_passes_is_caught(bench):
    practice = PRACTICE.replace("    ### BEGIN", "    return x + x\n    ### BEGIN")
    assert "The starter is 'passed' with 2 points" in bench.complaints(practice)


def test_a_stub_that_raises_when_it_is_defined_is_caught(bench):
    practice = """\
# %% [markdown]
# # 09 A test: exercises

# %%
class double:
    ### BEGIN SOLUTION
    def __new__(cls, x):
        return x + x
    ### END SOLUTION

# %%
check("9.1", double)
"""
    assert "Defining the starter raises NotImplementedError" in bench.complaints(practice)


def test_too_few_hints_are_caught(bench):
    bench.exercise.hints = ("one",)
    assert "It has 1 hints and needs 3." in bench.complaints()


def test_a_wrong_answer_that_passes_is_caught(bench):
    bench.answers = [*bench.answers, replace(WRONG[0], answer=by_product)]
    assert "Wrong answer by_product is passed" in bench.complaints()


def test_a_wrong_answer_rejected_by_another_stage_is_caught(bench):
    moved = replace(WRONG[1], stage="values")
    bench.answers = [WRONG[0], moved, WRONG[2], *RIGHT]
    assert "rejected by stage 'shape' instead of 'values'" in bench.complaints()


def test_a_rejection_in_other_words_is_caught(bench):
    bench.answers = [replace(WRONG[0], says="half"), *bench.answers[1:]]
    assert "without the words 'half'" in bench.complaints()


def test_wrong_answers_with_one_message_are_caught(bench):
    bench.answers = [*bench.answers, replace(WRONG[0], answer=lambda x: 4 * x)]
    assert "2 wrong answers get the same message" in bench.complaints()


def test_a_right_answer_that_is_refused_is_caught(bench):
    bench.answers = [*WRONG, *RIGHT, replace(RIGHT[0], answer=triples)]
    assert "Right answer triples is wrong at stage 'values'" in bench.complaints()


def test_too_few_named_answers_are_caught(bench):
    bench.answers = []
    said = bench.complaints()
    assert "needs 3" in said
    assert "needs 2" in said


def test_a_check_that_fails_for_some_seed_is_caught(bench):
    @bench.exercise.stage("flaky")
    def _flaky(answer, seed):
        verify_seed = seed != 500_002  # as large as grading draws them
        from moe_teach.judging.exercise import require

        require(verify_seed, "An unlucky seed.")

    assert "An unlucky seed." in bench.complaints()


def test_a_solution_line_in_the_exercise_is_caught(bench):
    leak = PRACTICE.replace("# # 09 A test", "# # 09 twice_as_much_of_it = x + x")
    assert "gives away: twice_as_much_of_it" in bench.complaints(leak)


def test_a_slow_check_is_caught(bench, monkeypatch):
    monkeypatch.setattr(verify, "CPU_BUDGET", -1.0)
    assert "of CPU" in bench.complaints()


def test_checks_that_depend_on_each_other_are_caught(bench):
    first_run = []

    @bench.exercise.stage("remembers")
    def _remembers(answer, seed):
        from moe_teach.judging.exercise import require

        first_run.append(seed)
        require(len(first_run) < 4, "It ran before.")

    references = {"9.1": by_product}
    assert verify.order_problems([bench.exercise], references) == []
    assert verify.order_problems([bench.exercise], references) != []


CHAPTERS = sorted(registry.chapters())
EXERCISES = [item for item in registry.every_item() if isinstance(item, Exercise)]
ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("as_a_user")  # a learner has no shape checks, and they are slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_every_exercise_of_the_course_passes_the_gates(exercise):
    source = verify.solution_source(ROOT, exercise.chapter)
    # The solution sees twenty seeds, as with `author verify`; other right answers see the three of
    # a learner's check and as many more, so that the gates stay short.
    report = verify.verify_exercise(exercise, source, seeds_of_others=range(6))
    assert report.problems == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: f"ch{c:02d}")
def test_every_chapter_checks_what_it_registers_in_any_order(chapter):
    source = verify.solution_source(ROOT, chapter)
    exercises = [exercise for exercise in EXERCISES if exercise.chapter == chapter]
    references = {e.id: verify.reference_of(e, source) for e in exercises}
    assert verify.verify_chapter(ROOT, chapter) == []
    assert verify.order_problems(exercises, references) == []


def test_every_id_is_defined_once():
    ids = [item.id for item in registry.every_item()]
    assert len(ids) == len(set(ids))
