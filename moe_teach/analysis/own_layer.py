"""What the laws and a reader want to know about a layer of the reader's own parts."""

import copy
from typing import Any

from torch import Tensor, nn


def told_about(layer: nn.Module) -> dict[str, Any]:
    """Tell the laws what they cannot see from outside: `obeys(layer, **told_about(layer), ...)`.

    `layer` is a `MyMoE`: it has `router`, `w_gate`, `w_up`, `w_down`, `top_k` and `expert`.
    """

    def one_expert(number: int, rows: Tensor) -> Tensor:
        return layer.expert(rows, layer.w_gate[number], layer.w_up[number], layer.w_down[number])

    def with_top_k(top_k: int) -> nn.Module:
        twin = copy.deepcopy(layer)
        twin.top_k = top_k
        return twin

    return {
        "expert": one_expert,
        "with_top_k": with_top_k,
        "expert_rows": (layer.router.weight, layer.w_gate, layer.w_up, layer.w_down),
        "gate_sum": 1.0 if layer.normalize_gates else None,
    }


def written_by(part: Any) -> str:
    """Say who wrote a part that `mine` gave: "you", or "the course"."""
    inner = getattr(part, "fn", part)  # a Triton kernel stands around a function
    return "you" if inner.__module__.startswith("mine.") else "the course"
