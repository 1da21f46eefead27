"""The hash router: a fixed table, handed its token ids in the open, and nothing learned."""

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.hash_router import HashRouter, use_hash_routers
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.ops.losses import importance_loss, load_balance_loss, router_z_loss
from moe_teach.train.generate import generate

CONFIG = ModelConfig(
    n_layers=2,
    d_model=16,
    vocab_size=37,
    attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8),
    moe=MoEConfig(router=RouterConfig(n_experts=5, top_k=2), d_ff=12),
)


@pytest.fixture
def ids():
    return torch.randint(37, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x():
    return torch.randn(21, 16, generator=torch.Generator().manual_seed(1))


def hashed_model() -> Model:
    torch.manual_seed(0)
    return use_hash_routers(Model(CONFIG))


def test_equal_tokens_go_to_equal_experts_whatever_their_vectors(x):
    routing = HashRouter(37, 5, 2)(x, torch.full((21,), 4))

    assert (routing.expert_ids == routing.expert_ids[0]).all()


def test_the_chosen_experts_of_a_token_differ_from_each_other(x, ids):
    expert_ids = HashRouter(37, 5, 3)(x, ids).expert_ids.sort(dim=-1).values

    assert (expert_ids.diff(dim=-1) > 0).all()


def test_the_table_follows_the_seed_and_has_no_parameters():
    same, again, other = (HashRouter(37, 5, 2, seed=seed) for seed in (3, 3, 4))

    assert torch.equal(same.table, again.table)
    assert not torch.equal(same.table, other.table)
    assert list(same.parameters()) == []


def test_the_record_is_consistent_and_losses_can_read_it(x, ids):
    routing = HashRouter(37, 5, 2)(x, ids)

    assert torch.equal(routing.gates, torch.full((21, 2), 0.5))
    torch.testing.assert_close(routing.probs.gather(-1, routing.expert_ids), routing.gates)
    torch.testing.assert_close(routing.probs, routing.logits.softmax(dim=-1))
    torch.testing.assert_close(routing.probs.sum(dim=-1), torch.ones(21))
    for loss in (load_balance_loss, router_z_loss, importance_loss):
        assert loss(routing).isfinite()


def test_every_expert_is_drawn_about_equally_often():
    counts = HashRouter(8000, 8, 2).table.flatten().bincount(minlength=8)

    assert (counts.float() / 2000 - 1).abs().max() < 0.1


def test_the_layer_hands_token_ids_to_routers_that_read_them_only(x, ids):
    layer = MoE.build(16, CONFIG.moe)
    without, _ = layer(x)
    assert torch.equal(layer(x, token_ids=ids.flatten())[0], without)

    layer.router = HashRouter(37, 5, 2)
    _, routing = layer(x.view(3, 7, 16), token_ids=ids)
    assert torch.equal(routing.expert_ids, layer.router.table[ids.flatten()])


def test_a_model_passes_its_token_ids_on(ids):
    model = hashed_model()
    output = model(ids)

    for block, routing in zip(model.blocks, output.routings, strict=True):
        assert torch.equal(routing.expert_ids, block.ffn.router.table[ids.flatten()])
    first, second = (block.ffn.router.table for block in model.blocks)
    assert not torch.equal(first, second), "each layer needs a table of its own"


def test_a_model_learns_and_stores_its_tables(ids):
    model = hashed_model()
    model(ids).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())

    other = use_hash_routers(Model(CONFIG), seed=7)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(ids).logits, model(ids).logits)


def test_generating_with_a_cache_changes_nothing(ids):
    model, start = hashed_model(), ids[0].tolist()

    assert generate(model, start, 9, use_cache=True) == generate(model, start, 9, use_cache=False)


@pytest.mark.parametrize(
    ("token_ids", "words"),
    [
        (None, "got none"),
        (torch.zeros(20, dtype=torch.long), "each row needs its own"),
        (torch.full((21,), 37), "another vocabulary"),
    ],
)
def test_wrong_token_ids_are_refused_in_a_sentence(x, token_ids, words):
    with pytest.raises(ValueError, match=words):
        HashRouter(37, 5, 2)(x, token_ids)


def test_impossible_sizes_and_dense_models_are_refused():
    with pytest.raises(ValueError, match="top_k must lie between"):
        HashRouter(37, 5, 6)
    with pytest.raises(ValueError, match="vocab_size must be at least 1"):
        HashRouter(0, 5)
    dense = ModelConfig(
        n_layers=1, d_model=16, vocab_size=37, attention=CONFIG.attention, d_ff_dense=8
    )
    with pytest.raises(ValueError, match="no MoE layer"):
        use_hash_routers(Model(dense))


def test_no_tokens_are_no_problem():
    routing = HashRouter(37, 5, 2)(torch.zeros(0, 16), torch.zeros(0, dtype=torch.long))

    assert routing.expert_ids.shape == (0, 2)
