"""Exercise 8.5: wrong answers with what they must be told, and other right ones."""

import re

import torch
from torch import nn

from moe_teach.chapters.ch08_real_models.block_parts import PARTS
from moe_teach.chapters.ch08_real_models.my_block import EXERCISE

_WORDS = {".mlp.": ".block_sparse_moe.", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
_ROUTER_OF = "model.layers.{}.block_sparse_moe.gate.weight"
_KINDS = ("mixtral", "olmoe", "qwen3_moe")


def _translated(names):
    spelt = {}
    for name in names:
        other = name
        for theirs, mixtrals in _WORDS.items():
            other = other.replace(theirs, mixtrals)
        spelt[other] = name
    return spelt


def _refuse(config, spelt, layer):
    if config["model_type"] not in _KINDS or config["hidden_act"] != "silu":
        raise ValueError("My layer can be mixtral, olmoe or qwen3_moe with silu.")
    if _ROUTER_OF.format(layer) not in spelt:
        raise ValueError(f"Layer {layer} of this file has no experts.")


def _normalizes(config):
    return config["model_type"] == "mixtral" or config.get("norm_topk_prob", False)


def _copy(moe, weights):
    with torch.no_grad():
        own = (moe.router.weight, moe.w_gate, moe.w_up, moe.w_down)
        for parameter, tensor in zip(own, weights, strict=True):
            parameter.copy_(tensor)
    return moe


def _load(
    config,
    names,
    read,
    layer,
    parts,
    refuse=_refuse,
    normalizes=_normalizes,
    copy=_copy,
    top_k=None,
):
    build, fuse = (parts.get(name) or PARTS[name] for name in ("build", "fuse"))
    spelt = _translated(names)
    refuse(config, spelt, layer)
    matrices = fuse(list(spelt), lambda name: read(spelt[name]), layer)
    router = read(spelt[_ROUTER_OF.format(layer)])
    n_experts, d_ff, d_model = matrices[0].shape
    places = top_k or config["num_experts_per_tok"]
    moe = build(d_model, n_experts, places, d_ff, normalizes(config))
    return copy(moe, (router, *matrices))


@EXERCISE.wrong(stage="the weights", says="does not hold what the file says")
def forgets_the_router(config, names, read, layer, **parts):
    def copy(moe, weights):
        return _copy(moe, (moe.router.weight.detach().clone(), *weights[1:]))

    return _load(config, names, read, layer, parts, copy=copy)


@EXERCISE.wrong(stage="the weights", says="in this order")
def swaps_gate_and_up(config, names, read, layer, **parts):
    def copy(moe, weights):
        router, gate, up, down = weights
        return _copy(moe, (router, up, gate, down))

    return _load(config, names, read, layer, parts, copy=copy)


@EXERCISE.wrong(stage="the weights", says="nobody can train")
def freezes_the_weights(config, names, read, layer, **parts):
    def copy(moe, weights):
        return _copy(moe, weights).requires_grad_(False)

    return _load(config, names, read, layer, parts, copy=copy)


@EXERCISE.wrong(stage="the weights", says="The answer is the layer")
def returns_the_tensors(config, names, read, layer, **parts):
    def copy(moe, weights):
        return weights

    return _load(config, names, read, layer, parts, copy=copy)


@EXERCISE.wrong(stage="the rule", says="They are normalised or not, against the config")
def normalises_always(config, names, read, layer, **parts):
    def normalizes(config):
        return config["model_type"] == "mixtral" or "norm_topk_prob" in config

    return _load(config, names, read, layer, parts, normalizes=normalizes)


@EXERCISE.wrong(stage="the rule", says="Where the key is missing")
def normalises_where_nothing_is_said(config, names, read, layer, **parts):
    def normalizes(config):
        return config.get("norm_topk_prob", True)

    return _load(config, names, read, layer, parts, normalizes=normalizes)


@EXERCISE.wrong(stage="the rule", says="Mixtral normalises always")
def asks_mixtral_for_the_key(config, names, read, layer, **parts):
    def normalizes(config):
        return config.get("norm_topk_prob", False)

    return _load(config, names, read, layer, parts, normalizes=normalizes)


@EXERCISE.wrong(stage="the rule", says="and the config says 3")
def takes_two_experts_always(config, names, read, layer, **parts):
    top_k = min(2, config["num_experts_per_tok"])
    return _load(config, names, read, layer, parts, top_k=top_k)


@EXERCISE.wrong(stage="a file in bfloat16", says="keeps the parameter's own dtype")
def replaces_the_parameters(config, names, read, layer, **parts):
    def copy(moe, weights):
        router, moe.w_gate, moe.w_up, moe.w_down = map(nn.Parameter, weights)
        moe.router.weight = router
        return moe

    return _load(config, names, read, layer, parts, copy=copy)


@EXERCISE.wrong(stage="what it cannot be", says="it would run, and be wrong")
def loads_whatever_fits(config, names, read, layer, **parts):
    return _load(config, names, read, layer, parts, refuse=lambda *_: None)


@EXERCISE.wrong(stage="what it cannot be", says="The ValueError does not say why")
def refuses_without_a_word(config, names, read, layer, **parts):
    def refuse(config, spelt, layer):
        if config["model_type"] not in _KINDS:
            raise ValueError

    return _load(config, names, read, layer, parts, refuse=refuse)


@EXERCISE.wrong(stage="what it cannot be", says="into experts that use silu")
def forgets_the_activation(config, names, read, layer, **parts):
    def refuse(config, spelt, layer):
        _refuse({**config, "hidden_act": "silu"}, spelt, layer)

    return _load(config, names, read, layer, parts, refuse=refuse)


@EXERCISE.wrong(stage="what it cannot be", says="not in a ValueError that says why")
def waits_for_fuse_to_fail(config, names, read, layer, **parts):
    def refuse(config, spelt, layer):
        _refuse(config, _ROUTER_OF.format(layer), layer)

    return _load(config, names, read, layer, parts, refuse=refuse)


@EXERCISE.wrong(stage="what it cannot be", says="is another layer")
def takes_layer_10_for_layer_1(config, names, read, layer, **parts):
    def refuse(config, spelt, layer):
        has_experts = any(f"layers.{layer}" in name and "experts" in name for name in spelt)
        _refuse(config, _ROUTER_OF.format(layer) if has_experts else "", layer)

    return _load(config, names, read, layer, parts, refuse=refuse)


@EXERCISE.wrong(stage="its parts", says="The part `fuse` was never asked")
def fuses_by_itself(config, names, read, layer, **parts):
    return _load(config, names, read, layer, {**parts, "fuse": PARTS["fuse"]})


@EXERCISE.wrong(stage="its parts", says="Every call of `read` goes to the disk")
def reads_the_router_twice(config, names, read, layer, **parts):
    for name in names:
        if name.endswith("gate.weight"):
            read(name)
    return _load(config, names, read, layer, parts)


@EXERCISE.right
def with_a_table_of_words(config, names, read, layer, **parts):
    return _load(config, names, read, layer, parts)


@EXERCISE.right
def by_patterns_and_state_dict(config, names, read, layer, **parts):
    build, fuse = (parts.get(name) or PARTS[name] for name in ("build", "fuse"))
    kind = config["model_type"]
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is none of {_KINDS}.")
    if config.get("hidden_act") != "silu":
        raise ValueError("The experts of my layer use silu and nothing else.")
    own = "block_sparse_moe" if kind == "mixtral" else "mlp"
    if f"model.layers.{layer}.{own}.gate.weight" not in names:
        raise ValueError(f"There are no experts in layer {layer}.")

    def back(name):
        if kind == "mixtral":
            return name
        words = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
        found = re.fullmatch(r"(.*)\.block_sparse_moe\.(.*)\.(w\d)\.weight", name)
        return f"{found[1]}.mlp.{found[2]}.{words[found[3]]}.weight"

    count = config["num_local_experts" if kind == "mixtral" else "num_experts"]
    asked = [
        f"model.layers.{layer}.block_sparse_moe.experts.{e}.{part}.weight"
        for e in range(count)
        for part in ("w1", "w2", "w3")
    ]
    gate, up, down = fuse(asked, lambda name: read(back(name)), layer)
    width = config["moe_intermediate_size" if kind == "qwen3_moe" else "intermediate_size"]
    normalize = bool(kind == "mixtral" or config.get("norm_topk_prob"))
    moe = build(config["hidden_size"], count, config["num_experts_per_tok"], width, normalize)
    router = read(f"model.layers.{layer}.{own}.gate.weight")
    own_tensors = {"router.weight": router, "w_gate": gate, "w_up": up, "w_down": down}
    moe.load_state_dict({**moe.state_dict(), **own_tensors})
    return moe
