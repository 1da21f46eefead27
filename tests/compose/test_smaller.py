"""Relevance, pruning and merging, each against a count or a formula by hand."""

from dataclasses import replace

import pytest
import torch

from moe_teach.compose.merging import merge_experts, merged
from moe_teach.compose.pruning import (
    at_random,
    best_experts,
    by_load,
    by_router_weighted_activation,
    prune_experts,
)
from moe_teach.compose.relevance import (
    expert_relevance,
    least_relevant_experts,
    random_experts,
    relevant_experts,
)
from moe_teach.compose.slots import read_expert
from moe_teach.compose.upcycle import upcycle
from moe_teach.config import RouterConfig
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.nn.model import Model
from moe_teach.ops.activation import activate
from tests.compose.test_modules import contents, differing, tiny
from tests.compose.test_parts import TEXT, dense

LAYERS = (1, 2)  # of `tiny` that have experts


def batch(ids: torch.Tensor = TEXT, **parts) -> Batch:
    return Batch(
        **{"inputs": ids, "targets": ids, "domain_ids": torch.zeros(len(ids)).long()} | parts
    )


def routed(**router) -> Model:
    return tiny(router=RouterConfig(**{"n_experts": 4, "top_k": 2} | router))


def spoken(text: torch.Tensor, n: int) -> Batch:
    """Make a batch of the first n tokens of each row, with others behind them as padding."""
    real = torch.zeros(text.shape, dtype=torch.bool)
    real[:, :n] = True
    return batch(text, targets=text.masked_fill(~real, NO_TARGET), real=real)


@pytest.mark.parametrize("router", [{}, {"normalize_gates": False}, {"score_fn": "sigmoid"}])
def test_relevance_is_the_share_of_gates_or_of_choices(router):
    model = routed(**router)
    for row, routing in enumerate(model(TEXT).routings):
        gates, choices = torch.zeros(4), torch.zeros(4)
        for ids, of_token in zip(routing.expert_ids, routing.gates, strict=True):
            for expert, gate in zip(ids, of_token, strict=True):
                gates[expert] += gate.detach()
                choices[expert] += 1
        for by, count in (("gate", gates), ("share", choices)):
            found = expert_relevance(model, [batch()], by)
            assert found.shape == (2, 4)
            torch.testing.assert_close(found[row], count / count.sum())


def test_relevance_adds_batches_and_passes_over_padding():
    model = tiny()
    model.train()
    whole = expert_relevance(model, [batch()])
    assert model.training
    rows = expert_relevance(model, [batch(TEXT[:1]), batch(TEXT[1:])])
    torch.testing.assert_close(rows, whole)
    for score in (expert_relevance, by_load, by_router_weighted_activation):
        alone = score(model, [batch(TEXT[:, :7])])
        torch.testing.assert_close(score(model, [spoken(TEXT, 7)]), alone)


def test_a_text_of_one_token_and_an_expert_of_one():
    one = expert_relevance(tiny(), [batch(TEXT[:1, :1])])
    assert (one > 0).sum(-1).tolist() == [2, 2]
    only = routed(n_experts=1, top_k=1)
    assert expert_relevance(only, [batch()]).tolist() == [[1.0], [1.0]]
    assert relevant_experts(expert_relevance(only, [batch()]), 0.5, LAYERS) == {1: (0,), 2: (0,)}


def test_no_text_and_no_experts_are_refused():
    with pytest.raises(ValueError, match="all dense"):
        expert_relevance(dense(), [batch()])
    with pytest.raises(ValueError, match="no batch"):
        expert_relevance(tiny(), [])
    with pytest.raises(ValueError, match="hold no text"):
        expert_relevance(tiny(), [spoken(TEXT, 0)])


SHARES = torch.tensor([[0.1, 0.5, 0.4, 0.0], [0.25, 0.25, 0.25, 0.25]])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.01, {0: (1,), 1: (0,)}),
        (0.5, {0: (1,), 1: (0, 1)}),
        (0.51, {0: (1, 2), 1: (0, 1, 2)}),
        (0.9, {0: (1, 2), 1: (0, 1, 2, 3)}),
        (1.0, {0: (0, 1, 2), 1: (0, 1, 2, 3)}),
    ],
)
def test_the_fewest_experts_that_have_the_share(threshold, expected):
    assert relevant_experts(SHARES, threshold) == expected


def test_controls_have_as_many_experts_of_each_layer():
    chosen = relevant_experts(SHARES, 0.51, LAYERS)
    assert chosen == {1: (1, 2), 2: (0, 1, 2)}
    assert least_relevant_experts(SHARES, chosen) == {1: (0, 3), 2: (0, 1, 2)}
    drawn = [random_experts(chosen, 4, seed) for seed in range(40)]
    assert all([len(d[1]), len(d[2])] == [2, 3] and len(set(d[1])) == 2 for d in drawn)
    assert {expert for d in drawn for expert in d[1]} == {0, 1, 2, 3}
    assert random_experts(chosen, 4, 3) == drawn[3]


def test_shares_and_layers_that_are_none_are_refused():
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share of a layer"):
            relevant_experts(SHARES, threshold)
    with pytest.raises(ValueError, match="layers are named"):
        relevant_experts(SHARES, 0.5, [1])
    with pytest.raises(ValueError, match="layers are named"):
        best_experts(SHARES, 2, [1])
    with pytest.raises(ValueError, match="rows of relevance"):
        least_relevant_experts(SHARES, {1: (0,)})


@pytest.mark.parametrize(
    "moe", [{}, {"activation": "relu", "bias": True}, {"gates_on": "input"}, {"capacity": 3}]
)
def test_the_score_of_reap_is_the_mean_of_gate_times_norm(moe):
    model = tiny(**moe).double()
    found = by_router_weighted_activation(model, [batch()])
    given = {}
    for layer in LAYERS:
        model.blocks[layer].ffn.register_forward_hook(
            lambda _, args, out, layer=layer: given.update({layer: (args[0], out[1])})
        )
    with torch.no_grad():
        model(TEXT)
    for row, layer in enumerate(LAYERS):
        x, routing = given[layer][0].flatten(0, 1), given[layer][1]
        for expert in range(4):
            sizes = [
                contribution(model, layer, expert, x[t], routing.gates[t, k].item())
                for t, k in torch.nonzero(routing.expert_ids == expert).tolist()
                if routing.kept is None or routing.kept[t, k]
            ]
            expected = sum(sizes) / max(1, len(sizes))
            assert float(found[row, expert]) == pytest.approx(expected, rel=1e-5)


def contribution(model: Model, layer: int, expert: int, x: torch.Tensor, gate: float) -> float:
    """Compute one expert's answer to one token, and the size of what it adds."""
    part, on_input = read_expert(model, layer, expert).experts, gate
    if model.config.moe.gates_on == "input":
        x, gate = on_input * x, 1.0
    up = part["w_up"] @ x + part.get("b_up", 0)
    inner = activate(up, part["w_gate"] @ x if "w_gate" in part else None, _activation(model))
    return gate * float((part["w_down"] @ inner + part.get("b_down", 0)).norm())


def _activation(model: Model) -> str:
    return model.config.moe.activation


def test_an_expert_that_nobody_chose_has_no_score():
    model = tiny()
    for layer in LAYERS:
        model.blocks[layer].ffn.router.expert_bias[2] = -9.0
    for score in (by_load, by_router_weighted_activation):
        assert score(model, [batch()])[:, 2].tolist() == [0.0, 0.0]
    assert 2 not in best_experts(by_load(model, [batch()]), 3)[0]


@pytest.mark.parametrize("moe", [{}, {"activation": "relu", "bias": True}, {"n_shared_experts": 1}])
@pytest.mark.parametrize("score_fn", ["softmax", "sigmoid"])
def test_a_pruned_model_answers_as_the_whole_one_with_the_others_masked(moe, score_fn):
    router = RouterConfig(n_experts=4, top_k=2, score_fn=score_fn)
    model = tiny(router=router, **moe).double()
    if score_fn == "sigmoid":
        for layer in LAYERS:
            model.blocks[layer].ffn.router.expert_bias[:] = torch.tensor([0.0, 0.1, 0.0, 0.2])
    keep = {1: (3, 0, 1), 2: (0, 2, 3)}
    before, smaller = contents(model), prune_experts(model, keep)
    assert not differing(before, contents(model))
    router = replace(router, n_experts=3)
    assert smaller.config == replace(model.config, moe=replace(model.config.moe, router=router))
    assert not smaller.training
    for place, expert in enumerate((0, 1, 3)):
        one, other = read_expert(smaller, 1, place).tensors(), read_expert(model, 1, expert)
        assert all(torch.equal(one[name], tensor) for name, tensor in other.tensors().items())
    model.blocks[1].ffn.router.expert_bias[2] = -9.0
    model.blocks[2].ffn.router.expert_bias[1] = -9.0
    assert (smaller(TEXT).logits - model(TEXT).logits).abs().max() < 1e-12


def test_keeping_everybody_changes_nothing_and_keeps_the_mode_and_the_dtype():
    model = tiny().bfloat16().train()
    same = prune_experts(model, {1: range(4), 2: range(4)})
    assert not differing(contents(model), contents(same))
    assert same.training
    assert {t.dtype for t in same.state_dict().values()} == {torch.bfloat16, torch.float32}


def test_best_experts_are_those_with_the_highest_scores():
    assert best_experts(SHARES, 2, LAYERS) == {1: (1, 2), 2: (0, 1)}
    drawn = {at_random(SHARES, seed).argmax(-1)[0].item() for seed in range(20)}
    assert drawn == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="1 to 4 can be kept"):
        best_experts(SHARES, 0)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({1: (0, 1)}, "name all of them"),
        ({1: (0, 1), 2: (0, 1, 2)}, "equally many experts to keep"),
        ({1: (0, 0), 2: (0, 1)}, "each named once"),
        ({1: (0, 4), 2: (0, 1)}, "numbers from 0 to 3"),
        ({1: (0,), 2: (0,)}, "A token chooses 2"),
    ],
)
def test_what_cannot_be_pruned_is_refused(keep, said):
    with pytest.raises(ValueError, match=said):
        prune_experts(tiny(), keep)


def test_routers_for_a_fixed_number_of_experts_are_refused():
    for model in (
        routed(n_groups=2, top_groups=2),
        routed(choice="table", table_size=32),
        tiny(n_identity_experts=1),
    ):
        n = model.config.moe.n_computing_experts
        with pytest.raises(ValueError, match="fixed number"):
            prune_experts(model, {layer: range(n) for layer in LAYERS})
    with pytest.raises(ValueError, match="all dense"):
        prune_experts(dense(), {})


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_merged_expert_is_the_weighted_mean_of_all_its_tensors(share):
    model = tiny(bias=True)
    one, other = read_expert(model, 1, 0), read_expert(model, 1, 3)
    mean = merged([one, other], [1 - share, share]).tensors()
    for name, tensor in one.tensors().items():
        expected = (1 - share) * tensor.double() + share * other.tensors()[name].double()
        torch.testing.assert_close(mean[name], expected.float())
    same = merged([one, one, one]).tensors()
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.tensors().items())


def test_copies_merge_into_the_dense_model_again():
    seed = dense().double()
    new = upcycle(seed, 6, 2)
    groups = {layer: [(0, 3), (5,), (1, 2, 4)] for layer in range(3)}
    smaller = merge_experts(new, groups)
    assert smaller.config.moe.router.n_experts == 3
    assert (smaller(TEXT).logits - seed(TEXT).logits).abs().max() < 1e-12


def test_groups_of_one_leave_each_expert_in_its_new_place():
    model = tiny()
    turned = merge_experts(model, {1: [(3,), (2,), (1,), (0,)], 2: [(0,), (1,), (2,), (3,)]})
    assert differing(contents(model), contents(turned))
    assert torch.equal(
        read_expert(turned, 1, 0).experts["w_up"], read_expert(model, 1, 3).experts["w_up"]
    )
    torch.testing.assert_close(turned(TEXT).logits, model(TEXT).logits)


def test_experts_merge_by_their_load():
    model = tiny()
    weights = {
        layer: row.tolist() for layer, row in zip(LAYERS, by_load(model, [batch()]), strict=True)
    }
    groups = {layer: [(0, 1), (2, 3)] for layer in LAYERS}
    smaller = merge_experts(model, groups, weights)
    a, b = weights[2][2:]
    rows = [read_expert(model, 2, e).router["proj.weight"] for e in (2, 3)]
    expected = (a * rows[0] + b * rows[1]) / (a + b)
    torch.testing.assert_close(read_expert(smaller, 2, 1).router["proj.weight"], expected)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({1: [(0, 1), (2, 3)]}, "name all of them"),
        ({1: [(0, 1), (2, 3)], 2: [(0,), (1,), (2, 3)]}, "equally many groups"),
        ({1: [(0, 1), (2,)], 2: [(0, 1), (2, 3)]}, "must stand in one group"),
        ({1: [(0, 1), (1, 2, 3)], 2: [(0, 1), (2, 3)]}, "must stand in one group"),
        ({1: [(0, 1, 2, 3), ()], 2: [(0, 1), (2, 3)]}, "no group may be empty"),
        ({1: [(0, 1, 2, 3)], 2: [(0, 1, 2, 3)]}, "A token chooses 2"),
    ],
)
def test_groups_that_are_none_are_refused(groups, said):
    with pytest.raises(ValueError, match=said):
        merge_experts(tiny(), groups)


def test_weights_and_experts_that_do_not_fit_are_refused():
    one, other = read_expert(tiny(), 1, 0), read_expert(tiny(d_ff=7), 1, 0)
    with pytest.raises(ValueError, match="different shapes"):
        merged([one, other])
    for weights in ([0.0, 0.0], [1.0, -1.0], [1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="as many weights"):
            merged([one, one], weights)
    with pytest.raises(ValueError, match="no expert to merge"):
        merged([])
