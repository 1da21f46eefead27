"""A padded batch gives the numbers of the unpadded one, wherever the padding stands."""

import pytest
import torch

from moe_teach.analysis.load import loads_of
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.gradients import accumulate_gradients
from moe_teach.train.loop import Trainer
from moe_teach.train.losses import total_loss
from moe_teach.train.ranks import Ranks
from moe_teach.train.seeding import seeded_model

N_ROWS, LENGTH, VOCABULARY = 4, 6, 29
WAYS = {
    "tokens choose": {},
    "capacity": {"capacity_factor": 0.75},
    "capacity by gate": {"capacity_factor": 0.75, "drop_policy": "by_gate"},
    "random capacity": {"capacity_factor": 0.75, "drop_policy": "random"},
    "experts choose": {"choice": "expert"},
    "sigmoid": {"score_fn": "sigmoid"},
}
# Where the text of each row stands among ten positions: at an end, at the other, with a gap.
PLACES = {
    "right": [list(range(6))] * N_ROWS,
    "left": [list(range(4, 10))] * N_ROWS,
    "mixed": [list(range(6)), list(range(4, 10)), [0, 1, 2, 6, 7, 9], [1, 3, 4, 5, 6, 8]],
}


def model_of(way: str) -> Model:
    options = WAYS[way]
    mine = {key: value for key, value in options.items() if key in ("choice", "score_fn")}
    rest = {key: value for key, value in options.items() if key not in mine}
    router = RouterConfig(n_experts=5, top_k=2, **mine)
    config = ModelConfig(
        n_layers=2,
        d_model=16,
        vocab_size=VOCABULARY,
        attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8),
        moe=MoEConfig(router=router, d_ff=12, n_shared_experts=1, **rest),
        max_seq_len=16,
    )
    return seeded_model(config, 0).double()


def text_batch() -> Batch:
    text = torch.randint(
        VOCABULARY, (N_ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0)
    )
    return Batch(text[:, :-1], text[:, 1:], torch.arange(N_ROWS) % 2)


def padded(batch: Batch, place: str, empty_rows: int = 0) -> Batch:
    """Put the text where `place` says, between ids that no vocabulary knows."""
    n_rows = N_ROWS + empty_rows
    inputs = torch.full((n_rows, 10), 999)
    targets = torch.full((n_rows, 10), NO_TARGET)
    real = torch.zeros(n_rows, 10, dtype=torch.bool)
    for row, where in enumerate(PLACES[place]):
        inputs[row, where], targets[row, where] = batch.inputs[row], batch.targets[row]
        real[row, where] = True
    return Batch(inputs, targets, torch.arange(n_rows) % 2, real)


@pytest.mark.parametrize(("place", "empty_rows"), [("right", 0), ("left", 0), ("mixed", 2)])
@pytest.mark.parametrize("way", WAYS)
def test_text_is_answered_and_judged_as_without_padding(way, place, empty_rows):
    model, batch = model_of(way).eval(), text_batch()
    wide = padded(batch, place, empty_rows)
    alone, among = batch.through(model), wide.through(model)

    torch.testing.assert_close(among.logits[wide.real], alone.logits.flatten(0, 1))
    assert among.logits.isfinite().all()
    for one, other in zip(alone.routings, among.routings, strict=True):
        text = other.only(wide.real.flatten())
        assert torch.equal(text.expert_ids, one.expert_ids)
        assert one.kept is None or torch.equal(text.kept, one.kept)
        assert not other.chosen[~wide.real.flatten()].any(), "padding chose somebody"
    for scope in ("batch", "micro_batch", "sequence"):
        factors = {"load_balance_coef": 0.3, "z_loss_coef": 0.02, "balance_scope": scope}
        expected = total_loss(alone, batch.targets, **factors)
        got = total_loss(among, wide.targets, **factors)
        for name in ("total", "task", "load_balance", "z"):
            torch.testing.assert_close(getattr(got, name), getattr(expected, name), msg=name)


@pytest.mark.parametrize("way", WAYS)
def test_reports_leave_padding_out(way):
    model, batch = model_of(way), text_batch()
    wide = padded(batch, "mixed", empty_rows=2)

    one, other = evaluate(model, [batch]), evaluate(model, [wide])
    assert other.loss == pytest.approx(one.loss)
    assert other.loads == one.loads and other.loads_per_domain == one.loads_per_domain
    for mine, theirs in zip(
        loads_of(model.eval(), [batch], ("even", "odd")),
        loads_of(model, [wide], ("even", "odd")),
        strict=True,
    ):
        assert torch.equal(mine.counts, theirs.counts)


@pytest.mark.parametrize("scope", ["batch", "sequence"])
@pytest.mark.parametrize("n_parts", [1, 2])
def test_a_step_learns_from_text_alone(scope, n_parts):
    batch = text_batch()
    config = TrainConfig(
        steps=1,
        warmup=0,
        batch_size=4,
        seq_len=6,
        accumulate=n_parts,
        balance_scope=scope,
        load_balance_coef=0.5,
        z_loss_coef=0.1,
    )
    results = []
    for given in (batch, padded(batch, "mixed")):
        model = model_of("tokens choose")
        measured = accumulate_gradients(model, given, config, Ranks(), 0)
        results.append((measured, [p.grad for p in model.parameters()]))
    (one, expected), (other, got) = results
    torch.testing.assert_close(got, expected)
    assert all(map(torch.equal, one.counts, other.counts))
    for name in ("task", "load_balance", "z"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name), msg=name)


def test_the_bias_moves_as_without_padding():
    biases = []
    for batch in (text_batch(), padded(text_batch(), "mixed")):
        model = model_of("sigmoid")
        config = TrainConfig(
            steps=1, warmup=0, batch_size=4, seq_len=batch.inputs.shape[1], bias_update_rate=0.1
        )
        Trainer(model, config).advance(batch)
        biases.append([block.ffn.router.expert_bias for block in model.blocks])
    torch.testing.assert_close(*biases)
    assert biases[0][0].any()


def test_without_a_mask_what_nobody_asks_for_is_taken_for_padding():
    model, batch = model_of("tokens choose"), text_batch()
    wide = padded(batch, "right")
    unmarked = model(wide.inputs.masked_fill(~wide.real, 0))

    expected = total_loss(model(batch.inputs), batch.targets)
    got = total_loss(unmarked, wide.targets)
    torch.testing.assert_close(got.load_balance, expected.load_balance)
    torch.testing.assert_close(got.z, expected.z)


def test_a_table_of_token_ids_is_asked_about_text_only():
    model, batch = use_hash_routers(model_of("tokens choose")), text_batch()
    wide = padded(batch, "left")
    torch.testing.assert_close(
        wide.through(model).logits[wide.real], batch.through(model).logits.flatten(0, 1)
    )


@pytest.mark.usefixtures("as_a_user")
def test_a_mask_that_does_not_fit_and_a_cache_beside_it_are_refused():
    model, batch = model_of("tokens choose"), text_batch()
    with pytest.raises(ValueError, match=r"each of the \(4, 6\) positions"):
        model(batch.inputs, real=torch.ones(4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"it is torch\.int64"):
        model(batch.inputs, real=batch.inputs)
    with pytest.raises(ValueError, match="A cache does not remember"):
        model(batch.inputs, model.new_cache(), torch.ones(4, 6, dtype=torch.bool))
