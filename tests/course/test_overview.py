"""Progress fits on a screen, and the best figure of an open task is never lost."""

import pytest
import torch

from moe_teach.course import check, progress
from moe_teach.course.learner import overview, verbs
from moe_teach.course.learner import progress_file as ledger
from moe_teach.judging.exercise import Goal


def right(tokens):
    return [0 if t.isdigit() else 2 if any(c.isalnum() for c in t) else 1 for t in tokens]


@pytest.fixture
def task(double, monkeypatch):
    """Multiples of x, measured by their factor; the goal is 2."""
    del double.stages[1:]
    double.goal = Goal(quantity="factor", unit="", baseline=1, target=2, more_is_better=True)

    @double.goal.measure
    def _measure(answer, seed):
        return float(answer(torch.ones(1, 1)).sum())

    monkeypatch.setattr(verbs.registry, "find", lambda _: double)
    monkeypatch.setattr(overview.registry, "load", lambda _: {"9.1": double})
    return double


def times(factor):
    return check("9.1", lambda x: factor * x)


def test_progress_has_one_row_for_each_chapter_with_a_mark_for_each_exercise():
    check("0.1", right)
    check("0.2", lambda *_: -1.0)
    shown = progress()
    assert len(shown.rows) == len(overview.registry.chapters())
    first = shown.rows[0]
    assert first[:2] == ("00", "start here")
    assert first[2].startswith("1 of ") and first[3].startswith("✓✗·")
    assert first[-1] == "0.2"


def test_the_best_figure_stays_when_a_later_try_is_worse(task):
    assert "Your best so far.\n" in times(3).outcome.next_step
    assert times(2.5).outcome.next_step.startswith("Your best so far stays 3.")
    assert ledger.read().of("9.1").best == 3
    assert "passed, best 3" in repr(progress(9))


def test_a_figure_below_the_goal_is_kept_too(task):
    assert times(1.5).state == "wrong"
    assert ledger.read().of("9.1").best == 1.5
    assert "wrong, best 1.5" in repr(progress(9))


def test_a_figure_of_an_earlier_form_of_the_task_does_not_count(task):
    times(5)
    task.version = 2
    assert "Your best so far.\n" in times(2).outcome.next_step
    assert ledger.read().of("9.1").best == 2


def test_only_the_best_answer_becomes_the_readers_own(task, monkeypatch):
    carried = []
    monkeypatch.setattr(verbs.carrying, "carry", lambda item, answer: carried.append(answer) or "")
    for factor in (2, 4, 3, 4):
        times(factor)
    assert [float(answer(torch.tensor(1.0))) for answer in carried] == [2, 4, 4]


def test_the_record_survives_its_file(task):
    times(2.25)
    text = ledger.to_json(ledger.read())
    assert ledger.from_json(text).of("9.1").best == 2.25
    assert ledger.from_json(text.replace('"best": 2.25', '"best": null')).of("9.1").best is None
