"""The balance replay says what the library would say, and refuses records that do not fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from moe_teach.ops.balance import load_entropy, max_violation
from moe_teach.widgets.balance_replay import BalanceReplay, Replay


def replay(**changes: Any) -> Replay:
    given = {
        "steps": [0, 10, 30],
        "loads": [[1, 1, 1], [2, 1, 0], [3, 0, 0]],
        "validation_loss": [3.0, 2.0, 1.5],
        "choices": np.array([[[0], [1]], [[0], [2]], [[1], [2]]]),
        "text": ["a", "b"],
    }
    return Replay(**(given | changes))


def test_the_browser_measures_a_load_as_the_library_does(in_node: Callable) -> None:
    torch.manual_seed(0)
    counts = [torch.randint(0, 50, (n,)) + torch.eye(n, dtype=torch.long)[0] for n in (1, 2, 7, 32)]
    shares = [(count / count.sum()).tolist() for count in counts]

    answers = in_node("balance_replay", "[m.loadEntropy(given), m.maxViolation(given)]", shares)

    for (entropy, violation), count in zip(answers, counts, strict=True):
        assert entropy == pytest.approx(float(load_entropy(count)), abs=1e-5)
        assert violation == pytest.approx(float(max_violation(count)), abs=1e-5)


def test_python_gives_the_numbers_of_the_present_step() -> None:
    widget = BalanceReplay.of({"one": replay()})

    assert widget.step == 30, "the end of the run comes first"
    assert widget.balance()["one"] == (pytest.approx(0, abs=1e-6), pytest.approx(2), 2)
    widget.step = 0
    assert widget.balance()["one"] == (pytest.approx(1), pytest.approx(0, abs=1e-6), 0)
    assert "one: entropy 1.00, maximal violation 0.00, 0 dead" in widget.words()


def test_a_step_between_two_records_becomes_the_nearest_one() -> None:
    widget = BalanceReplay.of({"one": replay(), "two": replay(steps=[0, 12, 30])})

    widget.step = 11
    assert widget.step in (10, 12)
    widget.step = 10**6
    assert widget.step == 30


def test_counts_and_shares_are_the_same_load() -> None:
    assert np.allclose(replay().loads, replay(loads=[[9, 9, 9], [4, 2, 0], [1, 0, 0]]).loads)


def test_tensors_are_taken_as_they_come_from_training() -> None:
    loads = torch.tensor([[0.5, 0.5]] * 3, requires_grad=True)
    choices = torch.zeros(3, 2, 1, dtype=torch.long)

    assert replay(loads=loads, choices=choices).n_experts == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": [0, 10, 10]}, "must rise"),
        ({"steps": []}, "at least one recorded step"),
        ({"loads": [[1, 1]]}, "one row for each of the 3 steps"),
        ({"loads": [[1, 1, 1], [0, 0, 0], [1, 1, 1]]}, "positive sum"),
        ({"validation_loss": [1.0, float("nan"), 2.0]}, "finite"),
        ({"choices": np.full((3, 2, 1), 3)}, "expert ids from 0 to 2"),
        ({"choices": np.full((3, 2, 1), 0.5)}, "expert ids from 0 to 2"),
        ({"text": ["a"]}, "token by token"),
        ({"skill": np.full((3, 2), 1.0)}, "each of the 3 experts"),
        ({"skill": np.full((3, 3), np.inf)}, "finite loss"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replay(**changes)


def test_methods_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="same probe text"):
        BalanceReplay.of({"one": replay(), "two": replay(text=["a", "c"])})
    with pytest.raises(ValueError, match="same number of experts"):
        BalanceReplay.of({"one": replay(), "two": replay(loads=[[1, 1, 1, 1]] * 3)})
    with pytest.raises(ValueError, match="1 to 6 methods"):
        BalanceReplay.of({})


def test_a_method_or_token_that_is_not_there_is_refused() -> None:
    widget = BalanceReplay.of({"one": replay()})

    with pytest.raises(ValueError, match="no method called 'two'"):
        widget.method = "two"
    with pytest.raises(ValueError, match="0 to 1, or -1"):
        widget.token = 2


def test_the_example_says_that_it_is_invented() -> None:
    assert "invented" in BalanceReplay().words()
    assert "invented" in BalanceReplay().html()
    assert BalanceReplay().html() == BalanceReplay().html()
