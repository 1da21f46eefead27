"""Exercise 8.5: right parts for a layer out of a checkpoint, and what it must say."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from moe_teach.chapters.ch08_real_models.checkpoint_file import File
from moe_teach.judging.exercise import generator
from moe_teach.types import Routing

OF_EXERCISE = {"build": "4.7", "fuse": "8.1"}
D_MODEL, D_FF, LAYER = 6, 5, 1
COUNTED = {"mixtral": "num_local_experts"}
WIDE = {"qwen3_moe": "moe_intermediate_size"}


class SwigluLayer(nn.Module):
    """Stands in for the reader's layer of 4.7: everyone computes, the chosen are mixed."""

    def __init__(
        self, d_model: int, n_experts: int, top_k: int, d_ff: int, normalize_gates: bool = True
    ) -> None:
        super().__init__()
        self.top_k, self.normalize_gates = top_k, normalize_gates
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.w_gate = nn.Parameter(torch.randn(n_experts, d_ff, d_model))
        self.w_up = nn.Parameter(torch.randn(n_experts, d_ff, d_model))
        self.w_down = nn.Parameter(torch.randn(n_experts, d_model, d_ff))

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        """Return y like x, and the routing."""
        weights = (self.router.weight, self.w_gate, self.w_up, self.w_down)
        return mixed(x, weights, self.top_k, self.normalize_gates)


def mixed(
    x: Tensor, weights: tuple[Tensor, ...], top_k: int, normalize: bool
) -> tuple[Tensor, Routing]:
    """Softmax over all experts, the top k, SwiGLU, and the sum."""
    router, w_gate, w_up, w_down = weights
    logits = x @ router.T
    probs = logits.softmax(dim=-1)
    gates, ids = probs.topk(top_k, dim=-1)
    gates = gates / gates.sum(dim=-1, keepdim=True) if normalize else gates
    answers = (silu(x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT  # (E, T, D)
    chosen = answers[ids, torch.arange(len(x))[:, None]]
    return (gates[..., None] * chosen).sum(dim=1), Routing(logits, probs, gates, ids)


def fuse(names: list[str], read: Callable[[str], Tensor], layer: int) -> tuple[Tensor, ...]:
    """Fuse the experts of a layer in Mixtral's spelling."""
    prefix = f"model.layers.{layer}.block_sparse_moe.experts."
    n_experts = sum(name.startswith(prefix) for name in names) // 3
    return tuple(
        torch.stack([read(f"{prefix}{e}.{part}.weight") for e in range(n_experts)])
        for part in ("w1", "w3", "w2")
    )


PARTS: dict[str, Callable[..., Any]] = {"build": SwigluLayer, "fuse": fuse}


@dataclass(frozen=True)
class Case:
    """A config, its file, and the layer that is asked for."""

    config: dict[str, Any]
    file: File
    layer: int
    seed: int

    def tokens(self) -> Tensor:
        """Draw an input (T, D)."""
        return torch.randn(13, D_MODEL, generator=generator(self.seed + 5))

    def facts(self) -> dict[str, Any]:
        """What a failing example shows."""
        return {"config": self.config, **self.file.facts(self.layer)}

    def at_layer(self, layer: int) -> "Case":
        """The same file, and another layer."""
        return replace(self, layer=layer)


def made(
    kind: str,
    seed: int,
    more: dict[str, Any],
    *,
    n_experts: int = 12,
    top_k: int = 3,
    dtype: torch.dtype = torch.float32,
    dense: int = 10,
) -> Case:
    """Make a checkpoint of three layers, one of them dense, and its config."""
    config = {
        "model_type": kind,
        "hidden_act": "silu",
        "hidden_size": D_MODEL,
        "intermediate_size": 3 * D_FF if kind in WIDE else D_FF,
        COUNTED.get(kind, "num_experts"): n_experts,
        "num_experts_per_tok": top_k,
    }
    if kind in WIDE:
        config[WIDE[kind]] = D_FF
    layers = {number: n_experts * (number != dense) for number in (LAYER, 0, 10)}
    return Case({**config, **more}, File(layers, D_MODEL, D_FF, seed, kind, dtype), LAYER, seed)


def answered(case: Case, x: Tensor, normalize: bool | None = None) -> Tensor:
    """What the model says, in float64."""
    config = case.config
    if normalize is None:
        normalize = config["model_type"] == "mixtral" or config.get("norm_topk_prob", False)
    weights = (case.file.router(case.layer), *case.file.fused(case.layer))
    wide = tuple(weight.double() for weight in weights)
    return mixed(x.double(), wide, config["num_experts_per_tok"], bool(normalize))[0]


def near(got: Tensor, right: Tensor) -> bool:
    """Compare beside the largest number."""
    gap = (got.detach().double() - right.double()).abs().max()
    return bool(gap <= 1e-5 * (1 + right.abs().max()))
