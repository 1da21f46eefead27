"""Chapter 07: its rule is DeepSeek-V3's, its designs cost the same, its experiments repeat."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from moe_teach.chapters import ch07_modern_moe as checks
from moe_teach.chapters.ch07_modern_moe import experiments as chapter
from moe_teach.chapters.ch07_modern_moe.experiments import memory
from moe_teach.chapters.ch07_modern_moe.experiments.memory import fixed_choice
from moe_teach.chapters.ch07_modern_moe.faulty_routers import lean_route
from moe_teach.config import RouterConfig
from moe_teach.course import materials
from moe_teach.course.experiments import stored
from moe_teach.nn.router import Router
from moe_teach.train.horizons import Horizon, best_rates

GROUPS = [(8, 2, 4, 2), (12, 3, 3, 2), (16, 4, 4, 1), (6, 2, 1, 1)]  # experts, k, groups, open


@pytest.fixture
def rule():
    """The solution of exercise 7.5."""
    return materials.reference(checks.EXERCISES[4])


def router(n_experts: int, top_k: int, n_groups: int, top_groups: int) -> Router:
    config = RouterConfig(
        n_experts=n_experts,
        top_k=top_k,
        score_fn="sigmoid",
        gate_scale=2.5,
        n_groups=n_groups,
        top_groups=top_groups,
    )
    made = Router(32, config)
    torch.nn.init.normal_(made.proj.weight, std=0.3)
    made.expert_bias.copy_(torch.randn(n_experts) - 1)  # partly negative rankings
    return made


@pytest.mark.parametrize("sizes", GROUPS)
def test_the_rule_of_the_exercise_is_the_librarys(rule, sizes):
    ours = router(*sizes)
    routing = ours(torch.randn(50, 32))

    gates, ids = rule(routing.logits, ours.expert_bias, *sizes[1:])

    assert torch.equal(ids, routing.expert_ids)
    torch.testing.assert_close(gates, routing.gates)


@pytest.mark.parametrize("sizes", GROUPS)
def test_the_rule_of_the_exercise_is_that_of_transformers(rule, sizes):
    pytest.importorskip("transformers")
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    n_experts, top_k, n_groups, top_groups = sizes
    config = DeepseekV3Config(
        hidden_size=32,
        moe_intermediate_size=8,
        n_routed_experts=n_experts,
        num_experts_per_tok=top_k,
        n_group=n_groups,
        topk_group=top_groups,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
    )
    theirs = DeepseekV3MoE(config).gate
    torch.nn.init.normal_(theirs.weight, std=0.3)
    theirs.e_score_correction_bias.copy_(torch.randn(n_experts) - 1)
    x = torch.randn(50, 32)

    _, their_gates, their_ids = theirs(x)
    gates, ids = rule(x @ theirs.weight.T, theirs.e_score_correction_bias, *sizes[1:])

    order, their_order = ids.argsort(dim=-1), their_ids.argsort(dim=-1)
    assert torch.equal(ids.gather(1, order), their_ids.gather(1, their_order))
    torch.testing.assert_close(gates.gather(1, order), their_gates.gather(1, their_order))


def hidden_units(design: chapter.Design) -> tuple[int, int]:
    if not design.n_experts:
        return design.d_ff, design.d_ff
    total, active = design.n_experts + design.n_shared, design.top_k + design.n_shared
    return total * design.d_ff, active * design.d_ff


@pytest.mark.parametrize("name", [n for n in chapter.DESIGNS if not n.startswith("dense")])
def test_every_design_with_experts_has_the_same_total_and_active_size(name):
    assert hidden_units(chapter.DESIGNS[name]) == (512, 64)


def test_a_memory_run_repeats_and_its_beginning_is_the_beginning_of_a_longer_one():
    design = chapter.DESIGNS["16 top-2"]

    short, again, longer = (chapter.memorise(design, seed=5, n_steps=n) for n in (75, 75, 80))

    assert short == again
    assert longer["curve"][0] == short["curve"][0]


def test_an_untrained_net_stores_nothing_and_a_known_answer_is_all_there_is():
    net = chapter.MemoryNet(chapter.DESIGNS["8 top-1"])
    values = torch.zeros(128 * 128, dtype=torch.long)
    assert chapter.kilobits(net, values) < 1

    with torch.no_grad():
        net.unembedding.weight.zero_()
    assert chapter.kilobits(net, values) == pytest.approx(0, abs=1e-3)


def test_a_hash_sends_a_key_always_to_the_same_expert_and_dice_do_not():
    keys = torch.arange(500)
    fixed, dice = (
        chapter.MemoryNet(chapter.DESIGNS[name]) for name in ("8, fixed hash", "8, random expert")
    )

    first, second = (fixed(keys)[1].expert_ids for _ in range(2))
    assert torch.equal(first, second)
    assert torch.bincount(first.flatten(), minlength=8).min() > 30
    first, second = (dice(keys)[1].expert_ids for _ in range(2))
    assert not torch.equal(first, second)


def test_domain_bits_are_zero_for_equal_use_and_two_for_experts_of_ones_own():
    even = {name: [[0.25] * 4] for name in "abcd"}
    own = {name: [[float(i == j) for j in range(4)]] for i, name in enumerate("abcd")}

    assert chapter.domain_bits(even) == pytest.approx([0.0])
    assert chapter.domain_bits(own) == pytest.approx([2.0])


@pytest.mark.parametrize("experiment", chapter.EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_stored_results_hold_every_seed_of_every_setting_as_it_stands(experiment):
    grid = stored(experiment.name)

    assert set(grid.names) == set(experiment.settings)
    for name, settings in experiment.settings.items():
        assert [cell.seed for cell in grid.of(name)] == list(experiment.seeds)
        assert all(cell.settings == dataclasses.asdict(settings) for cell in grid.of(name))


def test_fixed_rules_read_what_their_names_say():
    keys = torch.arange(memory.N_KEYS)
    half = fixed_choice(keys, 8, "half hash").view(memory.SIDE, memory.SIDE)
    whole = fixed_choice(keys, 8, "hash")

    assert (half == half[:, :1]).all() and half.unique().numel() == 8
    assert (whole.view(memory.SIDE, -1) != whole.view(memory.SIDE, -1)[:, :1]).any()
    for rule in ("hash", "half hash", "sum rule"):
        chosen = fixed_choice(keys, 8, rule)
        assert torch.equal(chosen, fixed_choice(keys, 8, rule))
        assert chosen.bincount(minlength=8).min() > memory.N_KEYS / 16


def test_a_linear_router_on_summed_embeddings_could_learn_the_sum_rule():
    draw = torch.Generator().manual_seed(8)
    scores = torch.randn(2 * memory.SIDE, 8, generator=draw)
    keys = torch.arange(0, memory.N_KEYS, 7)
    embedded = scores[keys // memory.SIDE] + scores[memory.SIDE + keys % memory.SIDE]

    assert torch.equal((embedded @ torch.eye(8)).argmax(dim=-1), fixed_choice(keys, 8, "sum rule"))


def test_a_weighed_hash_chooses_as_the_hash_and_weighs_as_the_router():
    keys = torch.arange(300)
    (_, fixed), (_, weighed) = (
        seeded_net(chapter.Design(d_ff=8, n_experts=8, top_k=1, rule=rule))(keys)
        for rule in ("hash", "weighed hash")
    )

    assert torch.equal(weighed.expert_ids, fixed.expert_ids)
    assert torch.equal(fixed.gates, torch.ones(300, 1))
    assert torch.equal(weighed.gates, weighed.probs.gather(1, weighed.expert_ids))


def seeded_net(design):
    torch.manual_seed(0)
    return chapter.MemoryNet(design)


def test_a_horizon_has_a_schedule_of_its_own_length_and_rate():
    design = chapter.DESIGNS["8 top-1"]
    run = memory.memorise_for(Horizon("8 top-1", design, 24, 0.02), seed=1)
    whole = list(memory.lessons(design, 1, 24, length=24, lr=0.02))

    assert [step for step, _ in run["curve"]] == list(range(2, 25, 2))
    assert run["kilobits"] == round(memory.kilobits(whole[-1], memory.facts(1)), 3)
    assert run != memory.memorise_for(Horizon("8 top-1", design, 24, 0.04), seed=1)


def test_rates_of_the_verdict_are_those_that_the_search_found():
    found = [
        best_rates(stored(name), "kilobits", lowest=False)
        for name in ("07_rates", "07_rates_beside", "07_rates_longer")
    ]

    assert chapter.BEST[900] == found[0][900] | found[1][900]
    assert chapter.BEST[2700] == found[2][2700]
    assert all(chapter.BEST[2700][name] == rate for name, rate in chapter.BEST_9000.items())


def test_every_rate_of_a_verdict_lies_between_two_that_did_worse_or_is_named():
    """A best rate at the end of a search may have a better neighbour that was never tried."""
    at_the_end = {
        (steps, name)
        for steps, of_length in chapter.BEST.items()
        for name, rate in of_length.items()
        if rate in (min(chapter.RATES), max(chapter.RATES))
    }
    named = {"dense, same total", "32 top-4, sigmoid + bias 0.003"}
    assert at_the_end == {(2700, name) for name in named}


def test_the_router_of_7_8_is_the_one_that_its_check_tries():
    source = inspect.getsource(lean_route)
    page = Path(chapter.__file__).parents[4] / "solutions" / "07_modern_moe.py"

    assert source in page.read_text("utf-8")
