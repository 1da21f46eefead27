"""Routes as records: every token once, what was chosen, how surely, and nothing of padding."""

from dataclasses import replace

import pytest
import torch

from moe_teach.analysis.routes.record import RouteRecord, weights_digest
from moe_teach.analysis.routes.recorder import record_routes, routes_by_batch
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.nn.model import Model


def model_of(seed: int = 0, n_experts: int = 4, top_k: int = 2, router=(), **moe) -> Model:
    torch.manual_seed(seed)
    chooser = RouterConfig(n_experts=n_experts, top_k=top_k, **dict(router))
    return Model(
        ModelConfig(
            vocab_size=16,
            n_layers=2,
            d_model=8,
            attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=4),
            moe=MoEConfig(router=chooser, d_ff=6, **moe),
        )
    ).eval()


def batch_of(rows: int = 3, length: int = 5, seed: int = 0, **other) -> Batch:
    ids = torch.randint(0, 16, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    return Batch(ids[:, :-1], ids[:, 1:], torch.arange(rows) % 2, **other)


NAMES = ("even", "odd")


@pytest.mark.parametrize(("n_experts", "top_k"), [(1, 1), (4, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 5)])
def test_a_record_holds_what_the_model_returns(n_experts, top_k, rows, length):
    model = model_of(n_experts=n_experts, top_k=top_k)
    batch = batch_of(rows, length)
    record = record_routes(model, [batch], NAMES)
    routings = model(batch.inputs).routings
    assert len(record) == rows * length
    assert (record.n_layers, record.top_k, record.n_experts) == (2, top_k, n_experts)
    for layer, routing in enumerate(routings):
        assert torch.equal(record.expert_ids[:, layer], routing.expert_ids)
        assert torch.equal(record.gates[:, layer], routing.gates.detach())
    assert torch.equal(record.token_ids, batch.inputs.flatten())
    assert record.positions.tolist() == list(range(length)) * rows
    assert record.kept is None


def test_margins_are_the_gap_to_the_first_one_left_out_bias_included():
    model = model_of(router={"score_fn": "sigmoid"})
    for block in model.blocks:
        block.ffn.router.expert_bias.copy_(torch.tensor([0.3, 0.0, -0.2, 0.1]))
    batch = batch_of()
    record = record_routes(model, [batch], NAMES)
    for layer, routing in enumerate(model(batch.inputs).routings):
        ranked = routing.probs + model.blocks[layer].ffn.router.expert_bias
        ordered = ranked.sort(descending=True).values
        expected = (ordered[:, 1] - ordered[:, 2]).detach()
        assert torch.allclose(record.margins[:, layer], expected)
        assert (expected >= 0).all()
    assert torch.isinf(record_routes(model_of(top_k=4), [batch], NAMES).margins).all()


def test_padding_and_what_nobody_asks_for_are_left_out():
    model, batch = model_of(), batch_of()
    real = torch.ones(3, 5, dtype=torch.bool)
    real[0, 3:] = False
    padded = replace(batch, real=real)
    record = record_routes(model, [padded], NAMES)
    assert len(record) == 13
    assert record.kept is None
    alone = record_routes(
        model,
        [
            Batch(
                *(
                    part[:1]
                    for part in (batch.inputs[:, :3], batch.targets[:, :3], batch.domain_ids)
                )
            )
        ],
        NAMES,
    )
    first = record.only(record.sequence_ids == 0)
    assert torch.equal(first.expert_ids, alone.expert_ids)
    targets = batch.targets.clone()
    targets[:, 1] = NO_TARGET
    asked = record_routes(model, [replace(batch, targets=targets)], NAMES)
    assert 1 not in asked.positions


def test_a_capacity_shows_in_what_was_kept():
    record = record_routes(model_of(capacity_factor=0.5), [batch_of()], NAMES)
    assert 0 < (~record.kept).sum() < record.kept.numel()


def test_batches_are_numbered_on_and_parts_can_be_taken():
    model = model_of()
    batches = [batch_of(seed=1), batch_of(rows=1, seed=2)]
    record = record_routes(model, batches, NAMES)
    assert record.sequence_ids.unique().tolist() == [0, 1, 2, 3]
    parts = list(routes_by_batch(model, batches, NAMES))
    assert torch.equal(parts[0].plus(parts[1]).gates, record.gates)
    odd = record.of_domain("odd")
    assert set(odd.sequence_ids.tolist()) == {1}
    assert len(record.only(slice(0, 4))) == 4
    with pytest.raises(ValueError, match="no 'music' among even, odd"):
        record.of_domain("music")


def test_records_of_two_models_are_not_thrown_together():
    batch = batch_of()
    one, other = (record_routes(model_of(seed), [batch], NAMES) for seed in (0, 1))
    with pytest.raises(ValueError, match="differ in weights_digest"):
        one.plus(other)
    assert weights_digest(model_of(0)) == one.weights_digest != other.weights_digest


def test_what_cannot_be_recorded_is_said():
    with pytest.raises(ValueError, match="no batch"):
        record_routes(model_of(), [])
    with pytest.raises(ValueError, match="experts choose their tokens"):
        record_routes(model_of(router={"choice": "expert"}), [batch_of()], NAMES)
    dense = Model(replace(model_of().config, moe=None, d_ff_dense=8))
    with pytest.raises(ValueError, match="no layer with experts"):
        record_routes(dense, [batch_of()], NAMES)
    with pytest.raises(ValueError, match="domain ids must lie between 0 and 0"):
        record_routes(model_of(), [batch_of()])


def test_a_record_of_nothing_is_a_record():
    empty = record_routes(model_of(), [batch_of()], NAMES).only(slice(0, 0))
    assert isinstance(empty, RouteRecord)
    assert len(empty) == 0
    assert len(empty.plus(empty)) == 0


def test_a_model_in_training_stays_in_training():
    model = model_of(router={"jitter": 0.3}).train()
    one, other = (record_routes(model, [batch_of()], NAMES) for _ in range(2))
    assert model.training
    assert torch.equal(one.gates, other.gates), "nothing is drawn in evaluation"
