"""Adapters: nothing at first, nothing else ever, and merged they are what they were beside."""

import pytest
import torch

from moe_teach.compose.adapters import ExpertAdapters
from moe_teach.compose.slots import read_expert
from moe_teach.compose.trainable import training_experts
from tests.compose.test_modules import contents, differing, tiny
from tests.compose.test_parts import TEXT, taught


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_new_adapters_change_no_answer(activation):
    model = tiny(activation=activation)
    before = model(TEXT).logits
    adapters = ExpertAdapters(model, 2)
    assert torch.equal(model(TEXT).logits, before)
    downs = [p for name, p in model.named_parameters() if name.endswith(".down")]
    sizes = torch.cat([(down.detach() * down.shape[-1] ** 0.5).flatten() for down in downs])
    assert float(sizes.std()) == pytest.approx(1, abs=0.2)  # what comes in leaves as large
    n_matrices = 3 if activation == "swiglu" else 2
    assert adapters.n_trained == 2 * 4 * n_matrices * 2 * (6 + 8)


def test_merged_adapters_answer_as_they_did_beside_the_matrices():
    model = tiny(bias=True).double()
    before, order = contents(model), [name for name, _ in model.named_parameters()]
    adapters = ExpertAdapters(model, 2, {1: [3, 0], 2: [1]}, alpha=4.0)
    taught(model)
    beside = model(TEXT).logits
    adapters.merge()
    assert (model(TEXT).logits - beside).abs().max() < 1e-12
    moved = differing(before, contents(model))
    assert {row for name, row in moved if "blocks.1" in name} == {0, 3}
    assert {row for name, row in moved if "blocks.2" in name} == {1}
    assert {name.split(".ffn.")[1] for name, _ in moved} == {
        "experts.w_gate",
        "experts.w_up",
        "experts.w_down",
    }
    assert [name for name, _ in model.named_parameters()] == order
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("rank", [1, 2])
def test_what_training_adds_to_a_matrix_has_the_adapters_rank(rank):
    model = tiny().double()
    before = read_expert(model, 1, 2).experts
    adapters = ExpertAdapters(model, rank, {1: [2]})
    taught(model)
    adapters.merge()
    after = read_expert(model, 1, 2).experts
    for name, matrix in before.items():
        assert torch.linalg.matrix_rank(after[name] - matrix, atol=1e-12) == rank


def test_alpha_over_rank_is_the_factor_of_the_product():
    grown = {}
    for alpha in (None, 6.0):
        model = tiny().double()
        before = read_expert(model, 1, 2).experts["w_up"]
        adapters = ExpertAdapters(model, 2, {1: [2]}, alpha=alpha)
        product = model.blocks[1].ffn.experts.parametrizations.w_up[0]
        torch.nn.init.ones_(product.up)
        expected = product.up[0] @ product.down[0]
        adapters.merge()
        grown[alpha] = read_expert(model, 1, 2).experts["w_up"] - before
        torch.testing.assert_close(grown[alpha], (1 if alpha is None else 3) * expected)


def test_adapters_learn_under_autocast():
    model = tiny()
    adapters = ExpertAdapters(model, 2, {1: [2]})
    with torch.autocast("cpu", torch.bfloat16):
        model(TEXT).logits.float().square().mean().backward()
    assert model.blocks[1].ffn.experts.parametrizations.w_up[0].up.grad.abs().sum() > 0
    adapters.remove()


def test_removed_adapters_leave_no_trace():
    model = tiny()
    before = contents(model)
    adapters = ExpertAdapters(model, 3)
    taught(model)
    adapters.remove()
    assert not differing(before, contents(model))
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match="merged or removed before"):
        adapters.merge()


def test_what_was_frozen_before_stays_frozen():
    model = tiny()
    model.embedding.requires_grad_(False)
    ExpertAdapters(model, 1).remove()
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["embedding.weight"]


def test_the_same_seed_starts_the_same_and_draws_from_no_other_source():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    starts = []
    for seed in (1, 1, 2):
        model = tiny()
        torch.manual_seed(3)
        ExpertAdapters(model, 2, seed=seed)
        starts.append(model.blocks[1].ffn.experts.parametrizations.w_down[0].down.detach())
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert torch.equal(torch.rand(1), expected)


def test_adapters_on_adapters_and_reading_under_them_are_refused():
    model = tiny()
    adapters = ExpertAdapters(model, 1, {1: [0]})
    with pytest.raises(ValueError, match="have adapters already"):
        ExpertAdapters(model, 1, {1: [1]})
    with pytest.raises(ValueError, match="end that first"):
        read_expert(model, 1, 0)
    adapters.remove()
    with training_experts(model, {2: [0]}), pytest.raises(ValueError, match="being trained"):
        ExpertAdapters(model, 1)
    with pytest.raises(ValueError, match="rank of an adapter"):
        ExpertAdapters(model, 0)
    with pytest.raises(ValueError, match="numbers from 0"):
        ExpertAdapters(model, 1, {1: [4]})
    assert all(parameter.requires_grad for parameter in model.parameters())
