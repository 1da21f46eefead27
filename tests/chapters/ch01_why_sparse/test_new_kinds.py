"""The counters of 1.7 are right or wrong as they claim, and the figures of 1.8's card are true."""

import inspect
import random
import re
from pathlib import Path

import pytest

from moe_teach.chapters.ch01_why_sparse import plan_steps as task
from moe_teach.chapters.ch01_why_sparse.counters import FAULTS, MIXTRAL, RIGHT, Sizes
from moe_teach.chapters.ch01_why_sparse.plan_steps_answers import (
    fills_one_step_after_another,
    keeps_the_order_of_arrival,
)
from moe_teach.chapters.ch01_why_sparse.trust import count_at_work
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.cost import n_params_active
from moe_teach.judging.engine import SEEDS

SOLUTIONS = Path(__file__).parents[3] / "solutions" / "01_why_sparse.py"


def drawn(seed: int) -> Sizes:
    draw = random.Random(seed)
    sizes = {name: draw.randrange(2, 20) for name in MIXTRAL}
    sizes["n_layers"] += sizes["n_dense_layers"]
    sizes["n_experts"] += sizes["top_k"]
    sizes["n_heads"] = sizes["n_kv_heads"] * draw.randrange(2, 4)
    sizes["d_head"] *= 2
    return sizes | {"is_tied": draw.random() < 0.5}


def by_the_library(sizes: Sizes) -> int:
    heads = {name: sizes[name] for name in ("n_heads", "n_kv_heads", "d_head")}
    router = RouterConfig(n_experts=sizes["n_experts"], top_k=sizes["top_k"])
    moe = MoEConfig(router=router, d_ff=sizes["d_ff"], n_shared_experts=sizes["n_shared_experts"])
    config = ModelConfig(
        attention=AttentionConfig(**heads),
        moe=moe,
        tie_embeddings=bool(sizes["is_tied"]),
        **{k: sizes[k] for k in ("n_layers", "d_model", "vocab_size", "d_ff_dense")},
        n_dense_layers=sizes["n_dense_layers"],
    )
    return n_params_active(config)


@pytest.mark.parametrize("seed", range(8))
def test_right_counters_agree_with_the_library(seed):
    sizes = drawn(seed)
    assert [counter(sizes) for counter in RIGHT] == [by_the_library(sizes)] * len(RIGHT)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.cause[:40])
def test_every_faulty_counter_is_wrong_somewhere(fault):
    assert any(fault.count(drawn(seed)) != by_the_library(drawn(seed)) for seed in range(8))


def test_the_counter_to_find_fault_with_is_right_on_mixtral_only_and_is_the_one_shown():
    assert count_at_work(MIXTRAL) == 12_879_925_248
    assert all(count_at_work(drawn(seed)) != by_the_library(drawn(seed)) for seed in range(8))
    text = SOLUTIONS.read_text(encoding="utf-8")
    assert inspect.getsource(count_at_work) in text
    shown = re.search(r"^MIXTRAL = (\{.*?^\})", text, re.DOTALL | re.MULTILINE)
    assert shown is not None and eval(shown[1]) == MIXTRAL


def test_the_exercise_says_how_many_counters_there_are():
    words = {3: "three", 14: "fourteen"}
    said = f"{words[len(RIGHT)]} right counters and {words[len(FAULTS) + 1]} wrong ones"
    assert said in SOLUTIONS.read_text(encoding="utf-8").replace("\n# ", " ")


def measured(answer):
    return sum(task.EXERCISE.goal.measuring(answer, seed) for seed in SEEDS) / len(SEEDS)


def test_arrival_order_reads_what_the_card_says_and_filling_steps_passes():
    goal = task.EXERCISE.goal
    assert measured(keeps_the_order_of_arrival) == pytest.approx(goal.baseline, abs=0.005)
    assert goal.is_reached(measured(fills_one_step_after_another))


def test_a_step_counts_each_expert_once():
    assert task.n_woken([[0, 1], [1, 2], [3, 4]], [0, 1]) == 3
