"""What chapter 12 stands on: the new skill, the experiments' parts, its figures."""

import pytest
import torch

from moe_teach.chapters.ch12_specialise_and_compose import figures
from moe_teach.chapters.ch12_specialise_and_compose.experiments import EXPERIMENTS, compose, upcycle
from moe_teach.chapters.ch12_specialise_and_compose.experiments.parts import dense
from moe_teach.chapters.ch12_specialise_and_compose.my_marketplace import plain_swap
from moe_teach.chapters.ch12_specialise_and_compose.new_skill import remainders
from moe_teach.chapters.ch12_specialise_and_compose.swap_expert import expert_module, model_state
from moe_teach.compose.branches import merge_branches

DOMAINS = ("code", "english", "languages", "arithmetic")


def lines(side: str) -> set[str]:
    return set(remainders(side).split("\n"))


def test_remainders_are_right_and_no_pair_is_on_both_sides() -> None:
    for line in lines("train") | lines("validation"):
        a, _, b, _, r = line.split()
        assert int(a) % int(b) == int(r)

    assert not lines("train") & lines("validation")


def test_the_oracle_recovers_all_and_the_seed_nothing() -> None:
    seed, best = dict.fromkeys(DOMAINS, 3.0), dict.fromkeys(DOMAINS, 2.0)
    result = {"seed": seed, "branches": {"code": best}}

    assert compose.recovered({**result, "tuned": best}) == 1
    assert compose.recovered({**result, "tuned": seed}) == 0
    assert compose.recovered({**result, "tuned": dict.fromkeys(DOMAINS, 2.25)}) == 0.75


def test_a_content_takes_the_slot_and_leaves_the_router() -> None:
    experts = [dense(seed) for seed in range(4)]
    merged = merge_branches(experts, trunk="average")
    rows = [block.ffn.router.proj.weight.clone() for block in merged.blocks]
    content = dense(0)
    with torch.no_grad():
        for block in content.blocks:
            block.ffn.w_up.weight.fill_(7.0)
    compose.put(merged, compose.filled(merged, [experts[0]] * 4, content))

    for block, row in zip(merged.blocks, rows, strict=True):
        assert (block.ffn.experts.w_up[compose.SLOT] == 7).all()
        assert not (block.ffn.experts.w_up[0] == 7).any()
        assert torch.equal(block.ffn.router.proj.weight, row)


def test_no_fact_is_longer_than_a_row() -> None:
    assert max(len(line.encode()) for line in upcycle.facts().lines) < 64


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_every_experiment_has_a_verdict_of_three_seeds_or_is_a_search(experiment) -> None:
    is_search = experiment.name.endswith("_rates")

    assert len(experiment.seeds) == 1 if is_search else len(experiment.seeds) >= 3
    assert 10 not in experiment.seeds or is_search


def test_a_plain_swap_and_back_is_nothing() -> None:
    state = model_state(0, 5)
    new, old = plain_swap(state, 11, 4, expert_module(0))
    back, _ = plain_swap(new, 11, 4, old)

    assert any(not torch.equal(new[name], state[name]) for name in state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_figures_say_what_they_show() -> None:
    losses = {"before": {"code": [2.0, 4.0]}, "after": {"code": [1.0, 1.0]}}

    assert "before: code 3.00; after: code 1.00" in figures.by_domain(losses, "nats").get_gid()
    drawing = figures.gain_and_harm({"lot": ([0.1, 0.3], [1.0, 2.0])})
    assert "lot: old domains +0.20, new skill 1.50" in drawing.get_gid()
    drawing = figures.at_lengths((50, 150), {"nats": {"frozen": [[3.0, 2.0], [1.0, 2.0]]}})
    assert "At 150 steps, means. nats: frozen 1.50." in drawing.get_gid()
