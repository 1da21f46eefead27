"""The cost model against hand counts, simulation, and torch's own counters."""

import math
import random
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moe_teach.catalog import ARTICLE_MODEL, CATALOG
from moe_teach.config import (
    AttentionConfig,
    CountedMixer,
    ModelConfig,
    MoEConfig,
    RouterConfig,
)
from moe_teach.cost import (
    Machine,
    active_share,
    break_even_hours,
    break_even_million_tokens,
    bytes_per_decode_step,
    count_params,
    decode_step_seconds,
    decode_tokens_per_second,
    expected_distinct_experts,
    forward_flops,
    kv_cache_bytes_per_token,
    n_params_active,
    n_params_total,
    shared_share,
    training_flops,
    usd_per_million_tokens,
    weight_bytes,
)

ATTENTION = AttentionConfig(n_heads=4, n_kv_heads=2, d_head=6)
ROUTER = RouterConfig(n_experts=5, top_k=2)
EXPERTS = MoEConfig(router=ROUTER, d_ff=11)
TINY = ModelConfig(n_layers=3, d_model=7, vocab_size=13, attention=ATTENTION, moe=EXPERTS)
DENSE = replace(TINY, moe=None, d_ff_dense=11)
MACHINE = Machine(
    memory_bytes=80e9, bandwidth_bytes_per_s=2e12, peak_flops_per_s=4e14, usd_per_hour=2.0
)


def test_parts_of_a_tiny_model_equal_a_count_by_hand():
    count = count_params(TINY)
    assert count.input_embedding == count.output_head == 13 * 7
    assert count.attention == 3 * 7 * 6 * (4 + 2 + 2 + 4)
    assert count.routers == 3 * 5 * 7
    assert count.routed_experts == 3 * 5 * 3 * 7 * 11
    assert count.dense_ffn == count.shared_experts == 0
    assert count.vectors == (2 * 3 + 1) * 7
    assert count.total == n_params_total(TINY)


def test_active_count_takes_top_k_of_the_experts_and_all_the_rest():
    left_out = 3 * 3 * (3 * 7 * 11)  # three experts of 5 in each of three layers
    assert n_params_active(TINY) == n_params_total(TINY) - left_out
    assert n_params_active(TINY, input_embedding=False) == n_params_active(TINY) - 13 * 7


def test_a_dense_model_uses_every_parameter():
    assert n_params_active(DENSE) == n_params_total(DENSE)
    assert shared_share(DENSE) == 1.0


def test_a_tied_embedding_is_counted_once_and_stays_in_every_convention():
    tied = replace(TINY, tie_embeddings=True)
    assert n_params_total(tied) == n_params_total(TINY) - 13 * 7
    assert n_params_active(tied, input_embedding=False) == n_params_active(tied)


def test_more_experts_cost_memory_and_only_router_rows_of_compute():
    more = replace(TINY, moe=replace(EXPERTS, router=RouterConfig(n_experts=10, top_k=2)))
    assert n_params_total(more) > n_params_total(TINY)
    assert n_params_active(more) - n_params_active(TINY) == 3 * 5 * 7


BUILT = {
    "experts": TINY,
    "dense": DENSE,
    "shared expert": replace(TINY, moe=replace(EXPERTS, n_shared_experts=2)),
    "one dense layer": replace(TINY, n_dense_layers=1, d_ff_dense=17),
    "every second layer": replace(TINY, moe_every=2, d_ff_dense=17),
    "tied": replace(TINY, tie_embeddings=True),
    "gelu": replace(TINY, moe=replace(EXPERTS, activation="gelu")),
    "relu, dense": replace(DENSE, activation="relu"),
    "geglu": replace(TINY, moe=replace(EXPERTS, activation="geglu")),
    "relu2": replace(TINY, moe=replace(EXPERTS, activation="relu2")),
    "biased experts": replace(TINY, moe=replace(EXPERTS, bias=True)),
    "biased experts without a gate": replace(
        TINY, moe=replace(EXPERTS, bias=True, activation="relu")
    ),
    "biased router": replace(TINY, moe=replace(EXPERTS, router=replace(ROUTER, bias=True))),
    "biased, noisy router": replace(
        TINY, moe=replace(EXPERTS, router=replace(ROUTER, bias=True, noisy=True))
    ),
    "gated shared expert": replace(
        TINY, moe=replace(EXPERTS, n_shared_experts=2, shared_gate=True)
    ),
    "table of token ids": replace(
        TINY, moe=replace(EXPERTS, router=replace(ROUTER, choice="table", table_size=9))
    ),
    "experts that give back": replace(TINY, moe=replace(EXPERTS, n_identity_experts=2)),
    "norm per head": replace(TINY, attention=replace(ATTENTION, qk_norm="head")),
    "norm over all heads": replace(TINY, attention=replace(ATTENTION, qk_norm="full")),
    "attention biases": replace(TINY, attention=replace(ATTENTION, bias=True)),
    "no bias on the output": replace(
        TINY, attention=replace(ATTENTION, bias=True, qkv_bias_only=True)
    ),
    "noisy router": replace(
        TINY, moe=replace(EXPERTS, router=RouterConfig(n_experts=5, top_k=2, noisy=True))
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_total_equals_the_parameters_of_the_model_we_build(name):
    model = pytest.importorskip("moe_teach.nn.model")
    built = model.Model(BUILT[name])
    assert n_params_total(BUILT[name]) == sum(p.numel() for p in built.parameters())


def test_experts_in_a_narrower_space_share_the_way_into_it():
    latent = count_params(replace(TINY, moe=replace(EXPERTS, d_latent=2)))
    assert latent.routed_experts == 3 * 5 * 3 * 2 * 11
    assert latent.shared_experts == 3 * 2 * 7 * 2
    assert latent.routers == count_params(TINY).routers  # it still looks at the whole vector


def test_the_gate_of_a_shared_expert_is_one_row_a_layer():
    shared = replace(TINY, moe=replace(EXPERTS, n_shared_experts=1))
    gated = replace(TINY, moe=replace(EXPERTS, n_shared_experts=1, shared_gate=True))
    assert n_params_total(gated) - n_params_total(shared) == 3 * 7


def test_a_gate_on_the_attention_is_a_second_query_matrix():
    gated = replace(TINY, attention=replace(ATTENTION, output_gate=True))
    assert count_params(gated).attention - count_params(TINY).attention == 3 * 7 * 4 * 6


MIXER = CountedMixer(
    name="made up",
    per_width=5,
    matrices=17,
    vectors=3,
    cached_per_position=0.5,
    flops_per_position=10,
)
MIXED = replace(TINY, other_mixers=((MIXER, 2),))


def test_another_mixer_stands_in_the_place_of_attention():
    plain, mixed = count_params(TINY), count_params(MIXED)
    assert MIXED.n_attention_layers == 1
    assert mixed.attention == plain.attention // 3 + 2 * (5 * 7 + 17)
    assert mixed.vectors == plain.vectors + 2 * 3


def test_another_mixer_caches_and_computes_what_it_says():
    one_layer = kv_cache_bytes_per_token(TINY, "float32") / 3
    assert kv_cache_bytes_per_token(MIXED, "float32") == one_layer + 2 * 0.5 * 4
    added = forward_flops(MIXED, 10) - forward_flops(MIXED)
    assert added == 2 * (2 * 4 * 6 * 10) + 2 * 10 * 10
    assert forward_flops(MIXED) == 2 * (
        n_params_active(MIXED, input_embedding=False) - count_params(MIXED).vectors
    )


def test_layers_that_end_after_their_mixer_have_one_norm():
    bare = replace(TINY, n_dense_layers=2, d_ff_dense=0)
    assert count_params(bare).dense_ffn == 0
    assert count_params(bare).vectors == (2 * 3 - 2 + 1) * 7


def test_four_streams_are_mixed_around_every_sub_layer_and_at_the_end():
    before, after = count_params(TINY), count_params(replace(TINY, n_streams=4))
    assert after.attention - before.attention == (2 * 3 * 24 + 4) * 4 * 7
    assert after.vectors - before.vectors == 2 * 3 * (24 + 3) + 4 + 1


def test_more_mixers_than_layers_are_refused():
    with pytest.raises(ValueError, match="stand in 4 layers, but there are only 3"):
        replace(TINY, other_mixers=((MIXER, 4),))


def test_non_embedding_leaves_out_both_tables():
    both = n_params_active(TINY, input_embedding=False, output_head=False)
    assert n_params_active(TINY) - both == 2 * 13 * 7


def test_flops_equal_those_torch_counts_in_a_model_of_transformers():
    transformers = pytest.importorskip("transformers")
    shapes = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6}
    config = transformers.LlamaConfig(
        vocab_size=13,
        hidden_size=24,
        intermediate_size=11,
        num_hidden_layers=3,
        attn_implementation="eager",
        **shapes,
    )
    n_tokens = 5
    model = transformers.LlamaForCausalLM(config)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(1, n_tokens, dtype=torch.long), use_cache=False)
    ours = forward_flops(replace(DENSE, d_model=24), context=n_tokens)
    assert counter.get_total_flops() == n_tokens * ours


def test_training_costs_three_forward_passes():
    assert training_flops(TINY, 9) == 3 * forward_flops(TINY, 9)


def test_context_adds_two_products_in_every_attention_layer():
    added = forward_flops(TINY, 10) - forward_flops(TINY, 0)
    assert added == 3 * 2 * (2 * 4 * 6 * 10)


def test_all_weights_are_resident_whatever_a_token_uses():
    assert weight_bytes(ARTICLE_MODEL.config) == pytest.approx(144e9, rel=0.001)
    assert weight_bytes(ARTICLE_MODEL.config, "int4") == pytest.approx(36e9, rel=0.001)


def test_an_unknown_number_format_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="choose one of float32, bfloat16"):
        weight_bytes(TINY, "fp16")


def test_grouped_heads_cache_keys_and_values_of_the_shared_heads_only():
    assert kv_cache_bytes_per_token(TINY, "float32") == 3 * 2 * 2 * 6 * 4


def test_latent_attention_caches_the_compressed_vector():
    v3 = CATALOG["DeepSeek-V3"].config
    assert kv_cache_bytes_per_token(v3) == 61 * (512 + 64) * 2


def test_distinct_experts_match_a_simulation_of_uniform_routing():
    rng = random.Random(0)
    for n_experts, top_k, n_tokens in [(1, 1, 1), (5, 2, 1), (7, 3, 4), (16, 2, 8)]:
        draws = [
            len({e for _ in range(n_tokens) for e in rng.sample(range(n_experts), top_k)})
            for _ in range(4000)
        ]
        expected = expected_distinct_experts(n_experts, top_k, n_tokens)
        assert sum(draws) / len(draws) == pytest.approx(expected, abs=0.1)


def test_distinct_experts_start_at_top_k_and_never_exceed_all():
    assert expected_distinct_experts(16, 2, 0) == 0.0
    assert expected_distinct_experts(16, 2, 1) == pytest.approx(2.0)
    assert expected_distinct_experts(16, 2, 10_000) == pytest.approx(16.0)
    assert expected_distinct_experts(4, 4, 3) == 4.0


def test_a_step_reads_more_of_the_model_as_the_batch_grows_until_all_of_it():
    config = ARTICLE_MODEL.config
    read = [bytes_per_decode_step(config, batch) for batch in (1, 2, 4, 8, 16, 32, 1000)]
    assert read == sorted(read)
    assert read[0] == pytest.approx(2 * n_params_active(config, input_embedding=False))
    table = 2 * count_params(config).input_embedding
    assert read[-1] == pytest.approx(weight_bytes(config) - table)


def test_a_step_reads_the_cache_of_every_sequence():
    with_cache = bytes_per_decode_step(TINY, 3, context=5) - bytes_per_decode_step(TINY, 3)
    assert with_cache == pytest.approx(3 * 5 * kv_cache_bytes_per_token(TINY))


def test_decoding_is_bound_by_memory_at_small_batches_and_by_compute_at_large_ones():
    config = ARTICLE_MODEL.config
    one = bytes_per_decode_step(config, 1) / MACHINE.bandwidth_bytes_per_s
    assert decode_step_seconds(config, MACHINE, 1) == pytest.approx(one)
    many = 4096 * forward_flops(config) / MACHINE.peak_flops_per_s
    assert decode_step_seconds(config, MACHINE, 4096) == pytest.approx(many)


def test_tokens_per_second_times_step_time_is_the_batch():
    rate = decode_tokens_per_second(TINY, MACHINE, 7)
    assert rate * decode_step_seconds(TINY, MACHINE, 7) == pytest.approx(7.0)


def test_a_machine_knows_whether_the_weights_fit():
    assert not MACHINE.holds(ARTICLE_MODEL.config)
    assert MACHINE.holds(ARTICLE_MODEL.config, "int4")


@pytest.mark.parametrize(
    ("share", "one_over"), [(0.0, 8.0), (0.05, 5.93), (0.10, 4.71), (0.20, 3.33), (1.0, 1.0)]
)
def test_one_eighth_needs_that_nothing_is_shared(share, one_over):
    assert 1 / active_share(share, 16, 2) == pytest.approx(one_over, abs=0.005)


@pytest.mark.parametrize("name", ["Mixtral 8x7B", "DeepSeek-V3", "gpt-oss-20b"])
def test_active_share_of_the_shared_share_is_active_over_total(name):
    config = CATALOG[name].config
    router = config.moe.router
    ratio = n_params_active(config) / n_params_total(config)
    assert active_share(shared_share(config), router.n_experts, router.top_k) == pytest.approx(
        ratio
    )


def test_price_of_a_million_tokens():
    assert usd_per_million_tokens(3.6, 1000.0) == pytest.approx(1.0)


def test_buying_pays_after_the_saved_hours_or_never():
    assert break_even_hours(10_000.0, 0.5, 2.5) == pytest.approx(5000.0)
    assert break_even_hours(10_000.0, 2.5, 2.5) == math.inf
    assert break_even_hours(0.0, 9.0, 2.5) == 0.0
    assert break_even_million_tokens(9000.0, 0.1, 0.4) == pytest.approx(30_000.0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: usd_per_million_tokens(2.0, 0.0), "must be positive to have a price"),
        (lambda: break_even_hours(-1.0, 0.0, 1.0), "must not be negative"),
        (lambda: expected_distinct_experts(4, 5, 1), "top_k must lie between"),
        (lambda: bytes_per_decode_step(TINY, 0), "at least one sequence"),
        (lambda: active_share(1.2, 16, 2), "between 0 and 1"),
    ],
)
def test_impossible_questions_are_refused_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
