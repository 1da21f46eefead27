"""Exercise 8.4: what an MoE block says by its checkpoint and its config, in float64 and plainly."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator

Config = dict[str, Any]
Tensors = dict[str, Tensor]
DEFAULTS: dict[str, Config] = {
    "olmoe": {"norm_topk_prob": False, "routed_scaling_factor": 1.0},
    "qwen3_moe": {"norm_topk_prob": False, "routed_scaling_factor": 1.0},
    "deepseek_v3": {"norm_topk_prob": True, "routed_scaling_factor": 2.5},
}
D_MODEL, D_FF = 6, 5


def drawn(
    kind: str,
    n_experts: int,
    seed: int,
    *,
    shared: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensors:
    """Draw the tensors of a block, under the names of its file."""
    numbers = generator(seed)

    def matrix(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=numbers) / shape[-1] ** 0.5).to(dtype)

    tensors = {"gate.weight": 2 * matrix(n_experts, D_MODEL)}
    if kind == "deepseek_v3":
        tensors["gate.e_score_correction_bias"] = torch.randn(n_experts, generator=numbers)
    owners = [f"experts.{e}" for e in range(n_experts)] + ["shared_experts"] * shared
    for owner in owners:
        tensors[f"{owner}.gate_proj.weight"] = matrix(D_FF, D_MODEL)
        tensors[f"{owner}.up_proj.weight"] = matrix(D_FF, D_MODEL)
        tensors[f"{owner}.down_proj.weight"] = matrix(D_MODEL, D_FF)
    return tensors


def tokens(seed: int, n_tokens: int = 11) -> Tensor:
    """Draw the input of a block, (T, D)."""
    return torch.randn(n_tokens, D_MODEL, generator=generator(seed + 77))


def value(config: Config, key: str) -> Any:
    """Read a key of a config, or what its class takes where it is missing."""
    return config.get(key, DEFAULTS[config["model_type"]][key])


def defined(
    tensors: Tensors,
    config: Config,
    x: Tensor,
    *,
    swapped: bool = False,
    biased: bool = False,
    unbiased_choice: bool = False,
    order: list[int] | None = None,
    normalised: bool | None = None,
    scale: float | None = None,
    scales_shared: bool = False,
    score: str | None = None,
) -> Tensor:
    """Answer by definition, right by default and wrong in the ways that the keywords name."""
    at = {name: part.double() for name, part in tensors.items()}
    x = x.double()
    logits = x @ at["gate.weight"].T
    scores = logits.sigmoid() if _score(config, score) == "sigmoid" else logits.softmax(dim=-1)
    bias = at.get("gate.e_score_correction_bias", torch.zeros(logits.shape[1]).double())
    ranking = scores if unbiased_choice else scores + bias
    ids = ranking.topk(config["num_experts_per_tok"], dim=-1).indices
    gates = (ranking if biased else scores).gather(1, ids)
    if value(config, "norm_topk_prob") if normalised is None else normalised:
        gates = gates / gates.sum(dim=1, keepdim=True)
    factor = value(config, "routed_scaling_factor") if scale is None else scale
    numbers = order if order is not None else list(range(logits.shape[1]))
    everyone = [_expert(at, f"experts.{number}", x, swapped) for number in numbers]
    chosen = torch.stack(everyone)[ids, torch.arange(len(x))[:, None]]  # (T, K, D)
    y = factor * (gates[..., None] * chosen).sum(dim=1)
    if "shared_experts.up_proj.weight" in at:
        always = _expert(at, "shared_experts", x, swapped)
        y = y + always * (factor if scales_shared else 1.0)
    return y


def _score(config: Config, score: str | None) -> str:
    return score or ("sigmoid" if config["model_type"] == "deepseek_v3" else "softmax")


def _expert(at: Tensors, owner: str, x: Tensor, swapped: bool) -> Tensor:
    gate, up = (x @ at[f"{owner}.{part}_proj.weight"].T for part in ("gate", "up"))
    if swapped:
        gate, up = up, gate
    return (gate * torch.sigmoid(gate) * up) @ at[f"{owner}.down_proj.weight"].T
