"""Attention, its cache, and the model around it."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import (
    AttentionConfig,
    CountedMixer,
    LatentConfig,
    ModelConfig,
    MoEConfig,
    RouterConfig,
)
from moe_teach.cost import n_params_total
from moe_teach.nn.attention import Attention, rotate
from moe_teach.nn.cache import KVCache
from moe_teach.nn.model import Model

ATTENTION = AttentionConfig(n_heads=4, n_kv_heads=2, d_head=8)
MOE = MoEConfig(router=RouterConfig(n_experts=6, top_k=2), d_ff=24)
CONFIG = ModelConfig(
    n_layers=3,
    d_model=32,
    vocab_size=50,
    attention=ATTENTION,
    moe=MOE,
    d_ff_dense=48,
    n_dense_layers=1,
    max_seq_len=64,
)
KINDS = {
    "plain": ATTENTION,
    "norm-per-head": replace(ATTENTION, qk_norm="head"),
    "norm-over-all-heads": replace(ATTENTION, qk_norm="full"),
    "with-bias": replace(ATTENTION, bias=True),
    "one-key-head": replace(ATTENTION, n_kv_heads=1),
    "all-heads-their-own": replace(ATTENTION, n_kv_heads=4),
}


def by_hand(attention: Attention, x: Tensor) -> Tensor:
    """Causal attention as nested loops over batch, head and position."""
    config, out = attention.config, []
    heads_per_key = config.n_heads // config.n_kv_heads
    for sequence in x:
        q = _heads(attention.q_proj(sequence), attention.q_norm, config)
        k = _heads(attention.k_proj(sequence), attention.k_norm, config)
        v = attention.v_proj(sequence).unflatten(-1, (-1, config.d_head))
        rows = []
        for t in range(len(sequence)):
            mixed = []
            for head in range(config.n_heads):
                key_head = head // heads_per_key
                query = _turned(q[t, head], t, config.rope_theta)
                keys = [_turned(k[s, key_head], s, config.rope_theta) for s in range(t + 1)]
                weights = (torch.stack(keys) @ query / math.sqrt(config.d_head)).softmax(dim=0)
                mixed.append(weights @ v[: t + 1, key_head])
            rows.append(torch.cat(mixed))
        out.append(attention.o_proj(torch.stack(rows)))
    return torch.stack(out)


def _heads(flat: Tensor, norm, config: AttentionConfig) -> Tensor:
    if config.qk_norm == "full":
        flat = norm(flat)
    heads = flat.unflatten(-1, (-1, config.d_head))
    return norm(heads) if config.qk_norm == "head" else heads


def _turned(vector: Tensor, position: int, theta: float) -> Tensor:
    half = len(vector) // 2
    pairs = torch.complex(vector[:half], vector[half:])
    angles = torch.tensor([position * theta ** (-i / half) for i in range(half)])
    turned = pairs * torch.polar(torch.ones(half), angles)
    return torch.cat([turned.real, turned.imag])


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_attention_is_the_formula(config: AttentionConfig) -> None:
    attention, x = Attention(32, config), torch.randn(2, 7, 32)
    for parameter in attention.parameters():
        parameter.data += torch.randn_like(parameter) / 10  # biases and norms off their start
    torch.testing.assert_close(attention(x), by_hand(attention, x), atol=2e-5, rtol=1e-4)


def test_rotation_keeps_lengths_and_makes_products_depend_on_distance_only() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8).unbind()

    def product(i: int, j: int) -> Tensor:
        turn = lambda x, at: rotate(x, torch.tensor([at]), 10_000.0)  # noqa: E731
        return (turn(q, i) * turn(k, j)).sum()

    torch.testing.assert_close(product(9, 4), product(105, 100), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rotate(q, torch.tensor([33]), 10_000.0).norm(), q.norm())


def test_far_positions_are_told_apart_in_bfloat16() -> None:
    x = torch.ones(1, 1, 2, 8, dtype=torch.bfloat16)
    a, b = rotate(x, torch.tensor([1000, 1001]), 10_000.0)[0, 0]
    assert not torch.equal(a, b), "positions must be counted in float32"


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1, 1, 1), (4, 1, 2), (7,)], ids=str)
def test_reading_in_pieces_with_a_cache_equals_reading_at_once(config, chunks) -> None:
    model = Model(replace(CONFIG, attention=config))
    token_ids = torch.randint(0, 50, (2, 7))
    cache = model.new_cache()

    pieces = [model(piece, cache) for piece in token_ids.split(chunks, dim=-1)]
    whole = model(token_ids)

    logits = torch.cat([piece.logits for piece in pieces], dim=1)
    torch.testing.assert_close(logits, whole.logits, atol=1e-5, rtol=1e-4)
    assert cache.n_tokens == 7
    for layer, routing in enumerate(whole.routings):
        ids = routing.expert_ids.unflatten(0, (2, 7))
        parts = [p.routings[layer].expert_ids.unflatten(0, (2, -1)) for p in pieces]
        assert torch.equal(torch.cat(parts, dim=1), ids), "the same experts, token by token"


def test_a_cache_is_empty_at_first() -> None:
    assert KVCache(3).n_tokens == 0


def test_one_routing_comes_back_for_each_moe_layer() -> None:
    config = replace(CONFIG, n_layers=5, n_dense_layers=1, moe_every=2)
    out = Model(config)(torch.randint(0, 50, (2, 7)))
    assert config.layer_has_experts == (False, False, True, False, True)
    assert [len(routing.probs) for routing in out.routings] == [14, 14]


def test_a_dense_model_has_no_routings() -> None:
    out = Model(replace(CONFIG, moe=None))(torch.randint(0, 50, (2, 7)))
    assert out.routings == () and out.logits.shape == (2, 7, 50)


def test_the_future_does_not_change_the_past() -> None:
    model, token_ids = Model(CONFIG), torch.randint(0, 50, (1, 9))
    other = token_ids.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 50
    before, after = (model(ids).logits[:, :5] for ids in (token_ids, other))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_first_loss_is_the_logarithm_of_the_vocabulary(tied: bool) -> None:
    model = Model(replace(CONFIG, tie_embeddings=tied))
    logits = model(torch.randint(0, 50, (4, 32))).logits
    loss = F.cross_entropy(logits.flatten(0, 1), torch.randint(0, 50, (128,)))
    assert loss.item() == pytest.approx(math.log(50), abs=0.05)


def test_depth_does_not_raise_the_variance_of_the_stream() -> None:
    x = torch.randn(2, 16, 32)
    for n_layers in (2, 12):
        stream = x
        for block in Model(replace(CONFIG, n_layers=n_layers)).blocks:
            stream, _ = block(stream)
        assert stream.std() / x.std() < 2


def test_tied_embeddings_are_one_tensor_and_counted_once() -> None:
    model = Model(replace(CONFIG, tie_embeddings=True))
    untied = Model(CONFIG)
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert model.unembedding.weight is model.embedding.weight
    assert count(untied) - count(model) == 50 * 32


def test_all_parameters_learn() -> None:
    model = Model(replace(CONFIG, moe=replace(MOE, n_shared_experts=1)))
    token_ids = torch.randint(0, 50, (4, 32))
    logits = model(token_ids).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_no_tokens_give_no_logits() -> None:
    assert Model(CONFIG)(torch.zeros(2, 0, dtype=torch.int64)).logits.shape == (2, 0, 50)


LATENT = LatentConfig(kv_rank=4, d_rope=4, d_value=8)
NOT_BUILT = {
    "latent": replace(CONFIG, attention=replace(ATTENTION, latent=LATENT)),
    "sinks": replace(CONFIG, attention=replace(ATTENTION, sinks=True)),
    "relative-positions": replace(CONFIG, attention=replace(ATTENTION, relative_buckets=8)),
    "encoder": replace(CONFIG, n_encoder_layers=1),
    "four-norms": replace(CONFIG, n_block_norms=4),
    "latent-experts": replace(CONFIG, moe=replace(MOE, d_latent=8)),
    "output-gate": replace(CONFIG, attention=replace(ATTENTION, output_gate=True)),
    "other-mixers": replace(
        CONFIG, other_mixers=((CountedMixer(name="linear attention", per_width=4), 1),)
    ),
    "streams": replace(CONFIG, n_streams=4),
    "no-feed-forward": replace(CONFIG, n_dense_layers=1, d_ff_dense=0),
}


@pytest.mark.parametrize("config", NOT_BUILT.values(), ids=NOT_BUILT)
def test_what_is_only_counted_is_refused_in_a_sentence(config: ModelConfig) -> None:
    with pytest.raises(ValueError, match=r"counted by moe_teach.cost but not\s+built"):
        Model(config)


COUNTED = {
    **{kind: replace(CONFIG, attention=config) for kind, config in KINDS.items()},
    "tied": replace(CONFIG, tie_embeddings=True),
    "dense": replace(CONFIG, moe=None, activation="gelu"),
    "every-second-layer": replace(CONFIG, n_layers=5, moe_every=2),
    "shared-expert": replace(CONFIG, moe=replace(MOE, n_shared_experts=2, activation="relu")),
    "noisy": replace(CONFIG, moe=replace(MOE, router=replace(MOE.router, noisy=True))),
}


@pytest.mark.parametrize("config", COUNTED.values(), ids=COUNTED)
def test_the_model_has_as_many_parameters_as_the_cost_model_counts(config: ModelConfig) -> None:
    built = sum(parameter.numel() for parameter in Model(config).parameters())
    assert built == n_params_total(config)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("token_ids", "sentence"),
    [
        (torch.zeros(1, 4), "token ids, which are integers"),
        (torch.tensor([[0, 50]]), "must lie between 0 and 49, but they reach from 0 to 50"),
        (torch.tensor([[-1, 3]]), "reach from -1 to 3"),
        (torch.zeros(1, 65, dtype=torch.int64), "has 65 tokens, .* at most 64"),
    ],
    ids=["floats", "too-high", "negative", "too-long"],
)
def test_bad_token_ids_are_answered_with_a_sentence(token_ids: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Model(CONFIG)(token_ids)


def test_a_cache_counts_towards_the_longest_text() -> None:
    model = Model(CONFIG)
    cache = model.new_cache()
    model(torch.zeros(1, 60, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match="has 65 tokens"):
        model(torch.zeros(1, 5, dtype=torch.int64), cache)
