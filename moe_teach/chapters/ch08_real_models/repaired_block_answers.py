"""Exercise 8.4: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot, silu

from moe_teach.chapters.ch08_real_models.repaired_block import EXERCISE


def _one(tensors, owner, x, parts=("gate", "up")):
    gate, up = (x @ tensors[f"{owner}.{part}_proj.weight"].T for part in parts)
    return (silu(gate) * up) @ tensors[f"{owner}.down_proj.weight"].T


def _route(tensors, config, x):
    logits = x @ tensors["gate.weight"].T
    deepseek = config["model_type"] == "deepseek_v3"
    scores = logits.sigmoid() if deepseek else logits.softmax(-1)
    bias = tensors.get("gate.e_score_correction_bias", torch.zeros(logits.shape[1]))
    ids = (scores + bias).topk(config["num_experts_per_tok"]).indices
    gates = scores.gather(1, ids)
    if config.get("norm_topk_prob", deepseek):
        gates = gates / gates.sum(1, keepdim=True)
    return gates * config.get("routed_scaling_factor", 2.5 if deepseek else 1.0), ids


def _block(tensors, config, x, route=_route, numbers=None, one=_one):
    gates, ids = route(tensors, config, x)
    y = torch.zeros_like(x)
    numbers = numbers or range(len(tensors["gate.weight"]))
    for place, number in enumerate(numbers):
        weight = (gates * (ids == place)).sum(1, keepdim=True)
        y = y + weight * one(tensors, f"experts.{number}", x)
    if "shared_experts.up_proj.weight" in tensors:
        y = y + one(tensors, "shared_experts", x)
    return y


@EXERCISE.wrong(stage="one expert", says="The activation sits on the up matrix")
def swaps_gate_and_up(tensors, config, x):
    def one(tensors, owner, x):
        return _one(tensors, owner, x, parts=("up", "gate"))

    return _block(tensors, config, x, one=one)


@EXERCISE.wrong(stage="one expert", says="came as a tuple")
def returns_the_gates_too(tensors, config, x):
    return _block(tensors, config, x), _route(tensors, config, x)[0]


@EXERCISE.wrong(stage="the gates", says="olmoe and qwen3_moe take False")
def normalises_where_nothing_is_said(tensors, config, x):
    return _block(tensors, {"norm_topk_prob": True, **config}, x)


@EXERCISE.wrong(stage="the gates", says="The gates are never divided")
def never_normalises(tensors, config, x):
    return _block(tensors, {**config, "norm_topk_prob": False}, x)


@EXERCISE.wrong(stage="twelve experts", says="10 comes before 2")
def sorts_the_names(tensors, config, x):
    found = {name.split(".")[1] for name in tensors if name.startswith("experts.")}
    return _block(tensors, config, x, numbers=sorted(found))


@EXERCISE.wrong(stage="the bias", says="The gates contain the bias")
def weighs_with_the_bias(tensors, config, x):
    def route(tensors, config, x):
        if config["model_type"] != "deepseek_v3":
            return _route(tensors, config, x)
        ranking = (x @ tensors["gate.weight"].T).sigmoid()
        ranking = ranking + tensors["gate.e_score_correction_bias"]
        gates, ids = ranking.topk(config["num_experts_per_tok"])
        if config.get("norm_topk_prob", True):
            gates = gates / gates.sum(1, keepdim=True)
        return gates * config.get("routed_scaling_factor", 2.5), ids

    return _block(tensors, config, x, route=route)


@EXERCISE.wrong(stage="the bias", says="The bias has no say")
def forgets_the_bias(tensors, config, x):
    bias = torch.zeros(len(tensors["gate.weight"]))
    return _block({**tensors, "gate.e_score_correction_bias": bias}, config, x)


@EXERCISE.wrong(stage="the bias", says="deepseek_v3 takes True")
def takes_false_for_deepseek_too(tensors, config, x):
    return _block(tensors, {"norm_topk_prob": False, **config}, x)


@EXERCISE.wrong(stage="the bias", says="scored by a softmax")
def scores_by_a_softmax_always(tensors, config, x):
    def route(tensors, config, x):
        scores = (x @ tensors["gate.weight"].T).softmax(-1)
        bias = tensors.get("gate.e_score_correction_bias", torch.zeros(scores.shape[1]))
        ids = (scores + bias).topk(config["num_experts_per_tok"]).indices
        gates = scores.gather(1, ids)
        if config.get("norm_topk_prob", config["model_type"] == "deepseek_v3"):
            gates = gates / gates.sum(1, keepdim=True)
        return gates, ids

    return _block(tensors, config, x, route=route)


@EXERCISE.wrong(stage="the factor", says="multiplies the shared expert, too")
def scales_everything(tensors, config, x):
    deepseek = config["model_type"] == "deepseek_v3"
    factor = config.get("routed_scaling_factor", 2.5 if deepseek else 1.0)
    return factor * _block(tensors, {**config, "routed_scaling_factor": 1.0}, x)


@EXERCISE.wrong(stage="the factor", says="The factor has no effect")
def takes_one_where_nothing_is_said(tensors, config, x):
    return _block(tensors, {"routed_scaling_factor": 1.0, **config}, x)


@EXERCISE.wrong(stage="gradients", says="gradient")
def runs_without_gradients(tensors, config, x):
    with torch.no_grad():
        return _block(tensors, config, x)


@EXERCISE.right
def expert_by_expert(tensors, config, x):
    return _block(tensors, config, x)


@EXERCISE.right
def everybody_computes(tensors, config, x):
    gates, ids = _route(tensors, config, x)
    n_experts = len(tensors["gate.weight"])
    table = (one_hot(ids, n_experts) * gates[..., None]).sum(1)  # (T, E)
    answers = torch.stack([_one(tensors, f"experts.{e}", x) for e in range(n_experts)])
    y = torch.einsum("te,etd->td", table, answers)
    shared = "shared_experts.up_proj.weight" in tensors
    return y + _one(tensors, "shared_experts", x) if shared else y


@EXERCISE.right
def in_float64(tensors, config, x):
    wide = {name: part.double() for name, part in tensors.items()}
    return _block(wide, config, x.double()).float()
