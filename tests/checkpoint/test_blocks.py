"""Our layer is the MoE block of published architectures: outputs, gradients, experts chosen."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from moe_teach.bench.blocks.case import BlockCase
from moe_teach.bench.blocks.cases import CASES
from moe_teach.bench.blocks.parity import Meeting, compare
from moe_teach.bench.parity_models import TINY
from moe_teach.checkpoint.blocks import FAMILIES, families, moe_from, weights_from, weights_to
from moe_teach.checkpoint.blocks.views import HALVES, SAME, Piece
from moe_teach.checkpoint.layouts import LAYOUTS, Layout
from moe_teach.checkpoint.layouts.canonical import canonical
from moe_teach.checkpoint.layouts.config_json import to_json
from moe_teach.config import MoEConfig
from moe_teach.ops.route.gates import gates_of

pytest.importorskip("transformers")

BY_NAME = {case.name: case for case in CASES}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
# One token; many; several sequences; and routers from nearly even to nearly decided.
INPUTS = {"one-token": ((1, 1), 1.0), "even": ((1, 31), 0.1), "steep": ((4, 9), 6.0)}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
@every_case
def test_our_layer_is_their_block_forward_and_backward(case: BlockCase, dtype, name) -> None:
    shape, steepness = INPUTS[name]
    found = compare(case, dtype, shape, steepness)
    assert found.same_experts
    assert found.outputs <= found.limit
    assert {key: value for key, value in found.gradients.items() if value > found.limit} == {}


@every_case
def test_every_parameter_has_a_gradient_that_is_compared(case: BlockCase) -> None:
    both = Meeting(case, torch.float64, (4, 12), 1.0)
    theirs, ours = both.theirs(), both.ours(both.moe)
    assert ours.gradients.keys() <= theirs.gradients.keys()
    assert theirs.gradients.keys() - ours.gradients.keys() <= {"router.expert_bias", "router.table"}
    for name, gradient in ours.gradients.items():
        assert gradient.abs().max() > 0, name


@every_case
def test_the_way_there_and_back_changes_no_bit(case: BlockCase) -> None:
    config, block = case.build()
    state, layer = block.state_dict(), case.layer or 0
    back = weights_to(weights_from(state, config, layer), config, layer)
    assert back.keys() == state.keys()
    for name, tensor in back.items():
        unread = case.name == "LongCat-Flash" and name == "experts.gate_up_proj"
        read = slice(config.n_routed_experts if unread else None)
        assert torch.equal(tensor[read], state[name][read]), name


def router(**wrong: object) -> Callable[[MoEConfig], MoEConfig]:
    return lambda moe: replace(moe, router=replace(moe.router, **wrong))


def layer(**wrong: object) -> Callable[[MoEConfig], MoEConfig]:
    return lambda moe: replace(moe, **wrong)


WRONG = {
    "forgotten sum": ("Mixtral", router(normalize_gates=False)),
    "sum too many": ("OLMoE", router(normalize_gates=True)),
    "one expert less": ("FlexOlmo", router(top_k=2)),
    "forgotten gate of the shared expert": ("Qwen2-MoE", layer(shared_gate=False)),
    "forgotten shared expert": (
        "Qwen3-Next",
        layer(n_shared_experts=0, d_ff_shared=None, shared_gate=False),
    ),
    "forgotten scale": ("DeepSeek-V2", router(gate_scale=1.0)),
    "forgotten groups": ("DeepSeek-V2, groups", router(n_groups=1, top_groups=1)),
    "groups by their best two": ("DeepSeek-V2, groups", router(group_score="best_two")),
    "groups by their best": ("DeepSeek-V3", router(group_score="best")),
    "softmax for sigmoid": ("DeepSeek-V3", router(score_fn="softmax")),
    "forgotten limit": ("DeepSeek-V4", layer(swiglu_limit=None)),
    "sigmoid for another score": ("DeepSeek-V4", router(score_fn="sigmoid")),
    "own choice for the table's": (
        "DeepSeek-V4, hash layer",
        router(choice="token", table_size=None),
    ),
    "forgotten floor": ("ERNIE-4.5-MoE", router(norm_floor=0.0)),
    "sum for another norm": ("DBRX", router(norm_order=1.0)),
    "softmax over all": ("gpt-oss", router(topk_first=False, normalize_gates=False)),
    "forgotten bias of the router": ("gpt-oss", router(bias=False)),
    "forgotten biases of experts": ("gpt-oss", layer(bias=False)),
    "forgotten slope": ("gpt-oss", layer(swiglu_alpha=1.0)),
    "forgotten one": ("gpt-oss", layer(swiglu_shift=0.0)),
    "gate on the answer": ("Llama-4", layer(gates_on="output")),
    "nobody dropped": ("Switch", layer(capacity=None)),
    "gate that is always one": ("Switch", router(normalize_gates=True)),
    "capacity of the whole batch": ("Switch", layer(capacity=None, capacity_factor=0.5)),
    "softmax for MiniMax's sigmoid": ("MiniMax-M2", router(score_fn="softmax")),
    "SiLU for GELU": ("Grok-1 (oracle)", layer(activation="swiglu")),
    "Grok's gates summed": ("Grok-1 (oracle)", router(normalize_gates=True)),
}
VISIBLE = 1e-3  # a hundred times what rounding explains, at least


@pytest.mark.parametrize("name", WRONG)
def test_another_rule_does_not_pass(name: str) -> None:
    architecture, change = WRONG[name]
    found = compare(BY_NAME[architecture], torch.float64, (2, 40), change=change)
    assert not found.is_equal
    assert found.outputs > VISIBLE


@pytest.mark.parametrize("name", ["DeepSeek-V3", "GLM-4-MoE", "ERNIE-4.5-MoE", "MiniMax-M2"])
def test_a_selection_bias_in_the_mixture_does_not_pass(name: str, monkeypatch) -> None:
    both = Meeting(BY_NAME[name], torch.float64, (2, 40), 1.0)
    theirs, bias = both.theirs(), both.state["router.expert_bias"]
    torch.testing.assert_close(both.ours(both.moe).y, theirs.y, atol=1e-5, rtol=1e-5)

    def by_rank(config, logits, probs, expert_ids):
        return gates_of(config, logits, probs + bias, expert_ids)

    for place in ("moe_teach.ops.route", "moe_teach.nn.router"):
        monkeypatch.setattr(importlib.import_module(place), "gates_of", by_rank)
    assert (both.ours(both.moe).y - theirs.y).abs().max() > VISIBLE


@pytest.mark.parametrize("name", ["DeepSeek-V4", "ERNIE-4.5-MoE", "LongCat-Flash", "MiniMax-M2"])
def test_a_forgotten_selection_bias_does_not_pass(name: str) -> None:
    both = Meeting(BY_NAME[name], torch.float64, (2, 40), 1.0)
    theirs = both.theirs()
    both.state["router.expert_bias"].zero_()
    ours = both.ours(both.moe)
    assert not torch.equal(ours.chosen, theirs.chosen)
    assert (ours.y - theirs.y).abs().max() > VISIBLE


def test_an_expert_that_answers_nothing_is_not_one_that_gives_back(monkeypatch) -> None:
    module = importlib.import_module("moe_teach.nn.moe")
    split = module.without_identity

    def silent(routing, n_identity):
        others, returned = split(routing, n_identity)
        return others, torch.zeros_like(returned)

    monkeypatch.setattr(module, "without_identity", silent)
    found = compare(BY_NAME["LongCat-Flash"])
    assert found.outputs > VISIBLE


SWAPPED = Piece("experts.gate_up_proj", ("experts.w_up", "experts.w_gate"), HALVES)
TABLES = {
    "gate and up exchanged": ("mixtral", "Mixtral", SWAPPED),
    "halves for turns": (
        "gpt_oss",
        "gpt-oss",
        Piece("experts.gate_up_proj", families.GATE_AND_UP, families.transposed(HALVES)),
    ),
    "a square matrix the other way round": (
        "gpt_oss",
        "gpt-oss",
        Piece("experts.down_proj", ("experts.w_down",), SAME),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_another_table_does_not_pass(name: str, monkeypatch) -> None:
    model_type, case, wrong = TABLES[name]
    right = FAMILIES[model_type]
    pieces = tuple(wrong if piece.theirs == wrong.theirs else piece for piece in right.pieces)
    monkeypatch.setitem(FAMILIES, model_type, right._replace(pieces=pieces))
    found = compare(BY_NAME[case])
    assert not found.is_equal
    assert found.outputs > VISIBLE


def test_a_file_says_as_much_as_a_configuration_of_transformers() -> None:
    for case in CASES:
        config, _ = case.build()
        if hasattr(config, "to_dict"):
            assert moe_from(config.to_dict(), case.layer or 0) == moe_from(config, case.layer or 0)


def test_what_a_file_leaves_out_is_asked_for() -> None:
    with pytest.raises(ValueError, match="says nothing about 'num_local_experts'"):
        moe_from({"model_type": "mixtral", "num_experts_per_tok": 2})
    with pytest.raises(ValueError, match="says nothing about 'model_type'"):
        moe_from({})
    with pytest.raises(ValueError, match=r"'bert' is not described here. Known are: mixtral, "):
        moe_from(SimpleNamespace(model_type="bert"))


REFUSED = {
    "activation": ("Mixtral", {"hidden_act": "relu"}, "gates go through 'relu'"),
    "DeepSeek-V2's sum": ("DeepSeek-V2", {"norm_topk_prob": True}, "norm_topk_prob is True"),
    "unknown choice": ("DeepSeek-V2", {"topk_method": "noaux"}, "topk_method is 'noaux'"),
    "biases of a shared expert": ("ERNIE-4.5-MoE", {"use_bias": True}, "use_bias is True"),
    "gated Switch": ("Switch", {"dense_act_fn": "gated-gelu"}, "dense_act_fn is 'gated-gelu'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_rule_that_is_not_ours_is_refused_in_a_sentence(name: str) -> None:
    architecture, changes, sentence = REFUSED[name]
    config, _ = BY_NAME[architecture].build()
    with pytest.raises(ValueError, match=sentence):
        moe_from(config.to_dict() | changes)


def test_a_missing_and_a_strange_tensor_are_named() -> None:
    config, block = BY_NAME["OLMoE"].build()
    state = block.state_dict()
    with pytest.raises(ValueError, match=r"needs the tensors gate\.weight"):
        weights_from({key: state[key] for key in state if key != "gate.weight"}, config)
    with pytest.raises(ValueError, match=r"has no tensors self_attn\.q_proj"):
        weights_from({**state, "self_attn.q_proj": torch.zeros(1)}, config)
    with pytest.raises(ValueError, match="describes a layer of olmoe"):
        weights_to({}, config)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_of_whole_models_and_its_block_say_the_same(layout: Layout) -> None:
    for change in ({}, {"top_k": 1}):
        config = TINY[layout.name]
        assert config.moe is not None
        moe = replace(config.moe, router=replace(config.moe.router, **change))
        found = moe_from(to_json(layout, replace(config, moe=moe)))
        said = canonical(replace(config, moe=moe)).moe
        assert canonical(replace(config, moe=found)).moe == said
