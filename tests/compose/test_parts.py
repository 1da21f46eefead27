"""What is not to be trained stays bit for bit, and what a merge or a copy says it does, it does."""

from dataclasses import replace

import pytest
import torch

from moe_teach.compose.branches import average, merge_branches
from moe_teach.compose.slots import ExpertSlot, moe_of, read_expert, write_expert
from moe_teach.compose.trainable import (
    is_expert,
    is_feed_forward,
    is_router,
    training_experts,
    training_only,
)
from moe_teach.compose.upcycle import upcycle
from moe_teach.data.batches import Batches
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import train
from tests.compose.test_modules import contents, differing, tiny


def dense(seed: int = 0, **other) -> Model:
    torch.manual_seed(seed)
    config = replace(tiny().config, moe=None, d_ff_dense=12, **other)
    return Model(config).eval()


def taught(model: Model, steps: int = 3) -> Model:
    """Train with everything that could move what shall stay: decay, momentum, clipping."""
    ids = torch.randint(0, 32, (400,), generator=torch.Generator().manual_seed(1))
    config = TrainConfig(steps=steps, batch_size=2, seq_len=8, lr=1e-2, warmup=0, weight_decay=0.5)
    train(model, Batches({"any": ids}, 2, 8, seed=0), config, progress=False)
    return model.eval()


TEXT = torch.arange(24).reshape(2, 12) % 32


@pytest.mark.parametrize("n_experts", [1, 4])
@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_copies_with_normalised_gates_answer_as_the_dense_model(n_experts, activation):
    seed = dense(activation=activation).double()
    new = upcycle(seed, n_experts, min(2, n_experts))
    assert (new(TEXT).logits - seed(TEXT).logits).abs().max() < 1e-12


def test_raw_gates_change_the_answer_at_once():
    seed = dense().double()
    jump = {
        k: (upcycle(seed, 4, k, normalize_gates=False)(TEXT).logits - seed(TEXT).logits).abs().max()
        for k in (1, 4)
    }
    assert jump[1] > 1e-3
    assert jump[4] < 1e-12, "all raw gates together sum to 1"


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_a_layer_of_copies_answers_the_dense_one_times_the_sum_of_the_gates(top_k):
    seed = dense().double()
    new = upcycle(seed, 4, top_k, normalize_gates=False)
    x = torch.randn(5, 8, dtype=torch.float64)
    y, routing = moe_of(new, 0)(x)
    expected = seed.blocks[0].ffn(x)[0] * routing.gates.sum(-1, keepdim=True)
    assert (y - expected).abs().max() < 1e-14
    assert routing.gates.sum(-1).max() < 1


@pytest.mark.parametrize(
    ("top_k", "noise", "normalize_gates", "learns"),
    [
        (1, 0.1, True, False),  # the gate is always 1
        (1, 0.1, False, True),
        (2, 0.0, True, False),  # it does not matter which of equal copies is asked
        (2, 0.1, True, True),
    ],
)
def test_what_a_new_router_learns_at_step_0(top_k, noise, normalize_gates, learns):
    new = upcycle(dense().double(), 4, top_k, noise=noise, normalize_gates=normalize_gates)
    new(TEXT).logits.logsumexp(-1).mean().backward()
    gradients = [moe_of(new, layer).router.proj.weight.grad for layer in range(3)]
    largest = max(float(g.abs().max()) for g in gradients)
    assert (largest > 1e-9) if learns else (largest < 1e-15)


def test_upcycling_copies_all_else_and_leaves_the_dense_model_alone():
    seed = dense()
    before = contents(seed)
    new = upcycle(seed, 3, 2, noise=0.1, seed=5)
    assert not differing(before, contents(seed))
    shared = [name for name in before if ".ffn." not in name]
    assert all(torch.equal(before[name], contents(new)[name]) for name in shared)
    again, other = (upcycle(seed, 3, 2, noise=0.1, seed=s) for s in (5, 6))
    assert not differing(contents(new), contents(again))
    assert differing(contents(new), contents(other))


def test_noise_is_a_share_of_each_matrix():
    seed = dense()
    copies = moe_of(upcycle(seed, 64, 2, noise=0.5), 0).experts.w_up
    own = seed.blocks[0].ffn.w_up.weight.detach()
    assert float((copies.detach() - own).std()) == pytest.approx(0.5 * float(own.std()), rel=0.05)
    with pytest.raises(ValueError, match="below 0"):
        upcycle(seed, 4, 2, noise=-1.0)


def test_a_model_with_experts_is_not_upcycled():
    with pytest.raises(ValueError, match="has experts already"):
        upcycle(tiny(), 4, 2)


def test_nothing_draws_from_the_random_numbers_around_it():
    seed = dense()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    upcycle(seed, 4, 2, noise=0.1)
    merge_branches([seed, seed], trunk="frozen")
    average([seed, seed])
    assert torch.equal(torch.rand(1), expected)


def test_each_branch_becomes_an_expert_and_a_frozen_trunk_is_the_seeds():
    seed = dense()
    branches = []
    for i in range(3):
        branch = dense()
        with training_only(branch, is_feed_forward):
            torch.manual_seed(i)
            taught(branch, steps=i + 1)
        branches.append(branch)
    merged = merge_branches(branches, trunk="frozen")
    for layer, block in enumerate(merged.blocks):
        for e, branch in enumerate(branches):
            for name in ("w_gate", "w_up", "w_down"):
                matrix = branch.blocks[layer].ffn.get_parameter(f"{name}.weight")
                assert torch.equal(block.ffn.experts.get_parameter(name)[e], matrix)
    trunk = [name for name in contents(seed) if ".ffn." not in name]
    assert all(torch.equal(contents(merged)[name], contents(seed)[name]) for name in trunk)


def test_a_moved_trunk_is_averaged_or_refused():
    branches = [taught(dense(), steps) for steps in (1, 3)]
    with pytest.raises(ValueError, match="training moved the trunk"):
        merge_branches(branches, trunk="frozen")
    merged = contents(merge_branches(branches, trunk="average"))
    for name in merged:
        if ".ffn." not in name:
            both = torch.stack([contents(branch)[name].double() for branch in branches])
            assert torch.equal(merged[name], both.mean(0).float()), name


def test_equal_branches_merge_into_what_they_are():
    seed = dense().double()
    for trunk in ("average", "frozen"):
        merged = merge_branches([seed, seed, seed], trunk=trunk)
        assert (merged(TEXT).logits - seed(TEXT).logits).abs().max() < 1e-12
    assert not differing(contents(average([seed, seed])), contents(seed))
    assert next(average([seed, seed]).parameters()).dtype == torch.float64


def test_what_is_made_of_a_model_has_its_mode_and_its_numbers_kind():
    seed = dense().bfloat16()
    for is_training in (True, False):
        seed.train(is_training)
        for made in (
            average([seed, seed]),
            upcycle(seed, 3, 2),
            merge_branches([seed, seed], trunk="frozen"),
        ):
            assert made.training == is_training
            assert next(made.parameters()).dtype == torch.bfloat16


def test_branches_of_different_shape_or_too_few_are_refused():
    with pytest.raises(ValueError, match="two branches or more"):
        merge_branches([dense()], trunk="average")
    with pytest.raises(ValueError, match="configurations differ"):
        merge_branches([dense(), dense(norm_eps=1e-3)], trunk="average")
    with pytest.raises(ValueError, match="no model"):
        average([])


@pytest.mark.parametrize("router_rows", [False, True])
def test_only_the_named_experts_move(router_rows):
    model = tiny()
    before, order = contents(model), [name for name, _ in model.named_parameters()]
    with training_experts(model, {1: [2], 2: [3, 0]}, router_rows=router_rows) as n_trained:
        taught(model)
    moved = differing(before, contents(model))
    assert {row for name, row in moved if "blocks.1" in name} == {2}
    assert {row for name, row in moved if "blocks.2" in name} == {0, 3}
    kinds = {name.split(".ffn.")[1] for name, _ in moved}
    rows = {"router.proj.weight"} if router_rows else set()
    assert kinds == {"experts.w_gate", "experts.w_up", "experts.w_down"} | rows
    assert n_trained == 3 * (3 * 6 * 8 + 8 * router_rows)
    assert [name for name, _ in model.named_parameters()] == order
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_training_rows_gives_the_gradients_of_training_everything():
    torch.manual_seed(0)
    whole, part = tiny().double(), tiny().double()
    whole(TEXT).logits.square().mean().backward()
    with training_experts(part, {1: [1, 3]}):
        part(TEXT).logits.square().mean().backward()
        gradients = {
            name.split(".")[-2]: parameter.grad
            for name, parameter in part.named_parameters()
            if parameter.grad is not None
        }
        for name in ("w_gate", "w_up", "w_down"):
            theirs = moe_of(whole, 1).experts.get_parameter(name).grad[[1, 3]]
            assert torch.allclose(gradients[name], theirs, atol=1e-14)
        assert len(gradients) == 3


def test_only_the_wanted_parameters_move():
    model = tiny()
    before = contents(model)
    with training_only(model, is_router) as names:
        taught(model)
    assert {name for name, _ in differing(before, contents(model))} == set(names)
    assert names == [f"blocks.{i}.ffn.router.proj.weight" for i in (1, 2)]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert is_expert("blocks.1.ffn.experts.w_up")
    assert not is_expert("blocks.1.ffn.w_up.weight")


@pytest.mark.parametrize(
    "experts", [{}, {1: []}, {0: [1]}, {1: [4]}, {1: [-1]}, {1: [0, 0]}, {9: [0]}]
)
def test_experts_that_are_not_there_are_refused_and_nothing_stays_switched_off(experts):
    model = tiny()
    said = r"(name at least one|no experts in layer|numbers from 0)"
    with pytest.raises(ValueError, match=said), training_experts(model, experts):
        pass
    said = "Nothing would be trained"
    with pytest.raises(ValueError, match=said), training_only(model, lambda name: False):
        pass
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_expert_moves_from_place_to_place_and_nothing_else_does():
    model = tiny(activation="gelu", bias=True)
    before = contents(model)
    slot = read_expert(model, 1, 0)
    write_expert(model, 1, 3, slot)
    assert {row for _, row in differing(before, contents(model))} == {3}
    assert set(slot.experts) == {"w_up", "w_down", "b_up", "b_down"}
    there = read_expert(model, 1, 3)
    assert all(torch.equal(t, there.tensors()[name]) for name, t in slot.tensors().items())
    with pytest.raises(ValueError, match="other sizes"):
        write_expert(tiny(), 1, 0, slot)
    with pytest.raises(ValueError, match="no tensors called odd"):
        ExpertSlot.of({"odd": torch.zeros(1)})
