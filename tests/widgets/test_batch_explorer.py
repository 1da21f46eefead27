"""The batch explorer plans as Python plans, and as the engine does."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.batch_explorer import PLANS, BatchExplorer

CASES = [
    BatchExplorer(),
    BatchExplorer(plan=PLANS[1], n_slots=2, gap=3, step=7),
    BatchExplorer.of([1], n_slots=1, budget=1),
    BatchExplorer.of([9, 1, 5, 30, 2], gap=0, n_slots=12, budget=7, n_experts=5, top_k=5),
    BatchExplorer.of(range(1, 12), gap=8, n_slots=1, budget=32),
]


def test_the_browser_plans_as_python_does(in_node: Callable) -> None:
    given = [
        {
            "prompts": w.prompts,
            "answers": w.answers,
            "nExperts": w.n_experts,
            "topK": w.top_k,
            "gap": w.gap,
            "nSlots": w.n_slots,
            "budget": w.budget,
            "plan": w.plan,
            "step": w.step,
        }
        for w in CASES
    ]

    for widget, plan in zip(
        CASES, in_node("batch_explorer", "m.planOf(given)", given), strict=True
    ):
        found = [
            ([tuple(read.values()) for read in step["reads"]], step["nWaiting"])
            for step in plan["all"]
        ]
        assert found == [(list(map(tuple, reads)), waiting) for reads, waiting in widget.steps]
        assert plan["bill"] == pytest.approx(widget.bill)
        assert plan["step"] == widget.step


def test_words_give_the_bill() -> None:
    words = BatchExplorer(prompts=[2, 1], answers=[1, 2], gap=0, n_slots=2, budget=4).words()

    assert "2 requests in 2 slots, continuous: 2 steps read 4 rows, at most 3 in one" in words
    assert "3.6 of 16 experts in the mean; for each new token 2.4 are fetched" in words


def test_a_step_that_does_not_exist_becomes_the_last_one() -> None:
    widget = BatchExplorer.of([1], step=99)
    assert widget.step == len(widget.steps) - 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": [], "answers": []},
        {"prompts": [1], "answers": [1, 2]},
        {"prompts": [1] * 25, "answers": [1] * 25},
        {"prompts": [41], "answers": [1]},
        {"n_experts": 2, "top_k": 3},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"drawn|choose"):
        BatchExplorer(**wrong)
