"""Layouts say what models compute: published configurations, and what fits which."""

from dataclasses import replace

import pytest
import torch

from moe_teach.bench.parity_models import TINY, WITH_SELECTION_BIAS, tiny
from moe_teach.catalog import find
from moe_teach.checkpoint import guard
from moe_teach.checkpoint.layouts import LAYOUTS, layout_named
from moe_teach.checkpoint.layouts.canonical import canonical, places
from moe_teach.checkpoint.layouts.changes import in_halves, interleaved
from moe_teach.checkpoint.layouts.config_json import from_json, to_json
from moe_teach.checkpoint.layouts.names import places_of
from moe_teach.checkpoint.model_tensors import named_tensors, outline
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.moe import MoE

# What the configurations of released models say, as far as it bears on the computation.
RELEASED = {
    "Mixtral 8x7B": {
        "model_type": "mixtral",
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": 32000,
    },
    "OLMoE-1B-7B": {
        "model_type": "olmoe",
        "attention_bias": False,
        "clip_qkv": None,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 1024,
        "max_position_embeddings": 4096,
        "norm_topk_prob": False,
        "num_attention_heads": 16,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 16,
        "num_key_value_heads": 16,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": 50304,
    },
    "Qwen3-30B-A3B": {
        "model_type": "qwen3_moe",
        "attention_bias": False,
        "decoder_sparse_step": 1,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 40960,
        "max_window_layers": 48,
        "mlp_only_layers": [],
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "num_attention_heads": 32,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 4096,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "vocab_size": 151936,
    },
}


def changed(config: ModelConfig, **fields) -> ModelConfig:
    """Change fields by path, such as moe__router__top_k."""
    for path, value in fields.items():
        room, _, rest = path.partition("__")
        inner = changed(getattr(config, room), **{rest: value}) if rest else value
        config = replace(config, **{room: inner})
    return config


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_configuration_is_the_model_of_the_catalog(name: str) -> None:
    said = RELEASED[name]
    read = from_json(layout_named(said["model_type"]), said)
    shape = ("n_layers", "d_model", "vocab_size", "tie_embeddings", "n_dense_layers", "moe_every")
    ours = canonical(find(name)[0].config)

    assert read.moe.router == ours.moe.router
    assert read.moe.d_ff == ours.moe.d_ff
    assert [getattr(read, field) for field in shape] == [getattr(ours, field) for field in shape]
    for field in ("n_heads", "n_kv_heads", "d_head", "qk_norm", "bias"):
        assert getattr(read.attention, field) == getattr(ours.attention, field)
    assert read.attention.rope_theta == said["rope_theta"]
    assert (read.norm_eps, read.max_seq_len) == (
        said["rms_norm_eps"],
        said["max_position_embeddings"],
    )


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_configuration_is_written_as_it_was(name: str) -> None:
    said = RELEASED[name]
    layout = layout_named(said["model_type"])
    written = to_json(layout, from_json(layout, said))
    means_nothing = {"torch_dtype", "max_window_layers", "sliding_window", "rope_scaling"}
    if name == "Qwen3-30B-A3B":
        means_nothing.add("intermediate_size")  # no layer has that width

    for key in said.keys() - means_nothing:
        assert written[key] == said[key], key


@pytest.mark.parametrize("layout", TINY)
def test_a_configuration_comes_back_from_its_file(layout: str) -> None:
    config = TINY[layout]

    assert canonical(from_json(layout_named(layout), to_json(layout_named(layout), config))) == (
        canonical(config)
    )


@pytest.mark.parametrize("layout", TINY)
def test_every_tensor_has_one_place_and_no_two_share_it(layout: str) -> None:
    shapes = [(name, tuple(t.shape)) for name, t in named_tensors(outline(TINY[layout]))]
    found = places_of(layout_named(layout), shapes)
    theirs = [name for place in found for name in place.theirs]
    left_out = {name for name, _ in shapes} - {place.ours for place in found}

    assert len(set(theirs)) == len(theirs)
    assert all(name.endswith("expert_bias") for name in left_out)
    assert bool(left_out) == (layout not in WITH_SELECTION_BIAS)


@pytest.mark.parametrize("layout", TINY)
def test_export_takes_the_layout_that_fits(layout: str) -> None:
    model = tiny(layout)

    assert guard.chosen(None, model).name == layout
    guard.demand_plain(model)


# What a configuration asks for, and the words of the sentence that refuses it for Mixtral.
BESIDE_MIXTRAL = [
    ({"moe__router__normalize_gates": False}, "normalize_gates"),
    ({"moe__router__gate_scale": 2.0}, "gate_scale"),
    ({"moe__router__score_fn": "sigmoid"}, "score_fn"),
    ({"moe__router__score_fn": "sqrt_softplus"}, "score_fn"),
    ({"moe__router__choice": "expert"}, "choice"),
    ({"moe__router": RouterConfig(n_experts=6, top_k=2, n_groups=3, top_groups=2)}, "n_groups"),
    ({"moe__n_shared_experts": 1}, "n_shared_experts"),
    ({"moe__activation": "gelu"}, "activation"),
    ({"moe__capacity_factor": 1.5}, "capacity_factor is 1.5"),
    ({"moe__capacity": 3}, "turn tokens away .capacity is 3"),
    ({"moe__gates_on": "input"}, "gates_on"),
    ({"moe__n_identity_experts": 1}, "n_identity_experts"),
    ({"moe__bias": True}, "moe.bias"),
    ({"moe__swiglu_limit": 7.0}, "swiglu_limit"),
    ({"moe__router__bias": True}, "router.bias"),
    ({"moe__router__norm_order": 2.0}, "norm_order"),
    ({"moe__router__norm_floor": 0.5}, "norm_floor"),
    ({"d_ff_dense": 8, "moe": None}, "no layer of this model has experts"),
    ({"d_ff_dense": 8, "n_dense_layers": 1}, "experts stand in layers 1 here and 0, 1 there"),
    ({"d_ff_dense": 8, "moe_every": 2}, "experts stand in layers 1 here"),
    ({"attention__qk_norm": "head"}, "qk_norm"),
    ({"attention__bias": True}, "attention.bias"),
]


@pytest.mark.parametrize(("asked", "words"), BESIDE_MIXTRAL, ids=[w for _, w in BESIDE_MIXTRAL])
def test_what_mixtral_does_not_compute_is_named(asked: dict, words: str) -> None:
    config = changed(TINY["mixtral"], **asked)
    with pytest.raises(ValueError, match=words) as refused:
        guard.demand_fit(layout_named("mixtral"), config)

    sentence = str(refused.value)
    assert sentence.startswith("This model cannot be written as Mixtral: ")
    fitting = [layout.title for layout in LAYOUTS if not guard.misfits(layout, config)]
    assert all(title in sentence for title in fitting)


@pytest.mark.parametrize(
    "asked",
    [
        {"moe__router__jitter": 0.1},
        {"moe__router__noisy": True},
        {"moe__router__topk_first": True},
        {"moe__router__topk_first": True, "moe__router__normalize_gates": False},
        {"moe__router": RouterConfig(n_experts=6, top_k=2, n_groups=3, top_groups=3)},
        {"moe__router__group_score": "best"},
        {"moe__drop_policy": "random"},
        {"attention__qkv_bias_only": True},
        {"d_ff_dense": 99, "activation": "relu"},
    ],
    ids=str,
)
def test_what_changes_no_answer_is_no_reason_to_refuse(asked: dict) -> None:
    assert guard.misfits(layout_named("mixtral"), changed(TINY["mixtral"], **asked)) == []


def test_the_sentence_names_the_layout_that_fits() -> None:
    with pytest.raises(ValueError, match=r"selection bias.*as ERNIE-4\.5-MoE \(layout"):
        guard.demand_fit(layout_named("mixtral"), TINY["mixtral"], has_bias=True)
    with pytest.raises(ValueError, match="it always has a shared expert"):
        guard.demand_fit(
            layout_named("glm4_moe"), changed(TINY["glm4_moe"], moe__n_shared_experts=0)
        )
    with pytest.raises(ValueError, match="as wide as d_model together, which is 40, and here"):
        guard.demand_fit(layout_named("olmoe"), changed(TINY["olmoe"], attention__d_head=12))
    with pytest.raises(ValueError, match=r"fits no published layout.*Mixtral: .*capacity_factor"):
        guard.fitting(changed(TINY["mixtral"], moe__capacity_factor=1.0))
    with pytest.raises(ValueError, match="There is no layout 'gpt5' here; there are mixtral, "):
        layout_named("gpt5")


def test_groups_of_one_are_refused_where_the_best_two_are_added_up() -> None:
    router = replace(TINY["glm4_moe"].moe.router, n_groups=12, top_groups=6)
    with pytest.raises(ValueError, match="a group holds one"):
        guard.demand_fit(layout_named("glm4_moe"), changed(TINY["glm4_moe"], moe__router=router))


def test_a_model_that_was_changed_after_it_was_built_is_refused() -> None:
    capped = tiny("mixtral")
    capped.blocks[1].ffn.capacity_factor = 1.0
    with pytest.raises(ValueError, match=r"blocks\.1\.ffn was changed .* its capacity_factor is 1"):
        guard.demand_plain(capped)
    other_norm = tiny("mixtral")
    other_norm.blocks[0].ffn_norm.eps = 1e-3
    with pytest.raises(ValueError, match=r"blocks\.0\.ffn_norm was changed .* its eps is 0\.001"):
        guard.demand_plain(other_norm)
    pruned = tiny("mixtral")
    experts = pruned.blocks[1].ffn.experts
    experts.w_up = torch.nn.Parameter(experts.w_up[:4].detach())
    with pytest.raises(
        ValueError, match=r"blocks\.1\.ffn\.experts\.w_up has the shape \(4, 20, 36"
    ):
        guard.demand_plain(pruned)
    with pytest.raises(ValueError, match="is a HashRouter, which no layout knows"):
        guard.demand_plain(use_hash_routers(tiny("mixtral")))


def test_parts_of_ones_own_are_refused_by_name() -> None:
    class Doubled(MoE):
        def forward(self, x, token_ids=None):
            y, routing = super().forward(x, token_ids)
            return 2 * y, routing

    model = tiny("mixtral")
    plain = model.blocks[0].ffn
    model.blocks[0].ffn = Doubled(plain.router, plain.experts)
    with pytest.raises(ValueError, match=r"blocks\.0\.ffn is a Doubled"):
        guard.demand_plain(model)
    with pytest.raises(ValueError, match="Linear is a class of your own"):
        guard.demand_plain(torch.nn.Linear(2, 2))


def test_the_order_of_rotary_pairs_goes_there_and_back() -> None:
    rows = torch.arange(12)[:, None]  # two heads of six

    assert interleaved(rows, 6).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(in_halves(interleaved(rows, 6), 6), rows)


def test_any_pattern_that_a_configuration_makes_is_found_again() -> None:
    plain = TINY["mixtral"]
    for n_layers in range(1, 7):
        for first in range(n_layers):
            for every in range(1, n_layers - first + 1):
                config = replace(
                    plain, n_layers=n_layers, n_dense_layers=first, moe_every=every, d_ff_dense=8
                )
                same = canonical(config)
                assert same.layer_has_experts == config.layer_has_experts
    assert places([True, False, False]) is None


def test_layers_that_no_configuration_can_place_are_refused() -> None:
    said = to_json(layout_named("qwen3_moe"), TINY["qwen3_moe"])
    with pytest.raises(ValueError, match="experts into layers 0, 3, which is no regular pattern"):
        from_json(layout_named("qwen3_moe"), {**said, "mlp_only_layers": [1, 2, 4]})
    with pytest.raises(ValueError, match="none of whose layers has experts"):
        from_json(layout_named("qwen3_moe"), {**said, "mlp_only_layers": [0, 1, 2, 3, 4]})


def test_a_shared_expert_of_another_width_is_one_of_several_widths_or_refused() -> None:
    ernie = layout_named("ernie4_5_moe")
    twice = changed(TINY["ernie4_5_moe"], moe__d_ff_shared=32)
    odd = changed(TINY["ernie4_5_moe"], moe__d_ff_shared=33)

    assert guard.misfits(ernie, twice) == []
    assert to_json(ernie, twice)["moe_num_shared_experts"] == 2
    assert "d_ff_shared is 33 here" in guard.misfits(ernie, odd)[0]


def test_ernie_cannot_place_experts_off_the_beat() -> None:
    config = changed(TINY["ernie4_5_moe"], n_dense_layers=1)  # experts in layers 2 and 4

    assert guard.misfits(layout_named("ernie4_5_moe"), config)


def test_a_head_of_an_odd_width_is_refused_and_not_built() -> None:
    config = ModelConfig(
        n_layers=1,
        d_model=12,
        vocab_size=5,
        attention=AttentionConfig(n_heads=4, n_kv_heads=4, d_head=4, qk_norm="full"),
        moe=MoEConfig(router=RouterConfig(n_experts=2, top_k=1), d_ff=4),
    )
    assert guard.misfits(layout_named("olmoe"), config)[0].startswith("its heads are as wide")
