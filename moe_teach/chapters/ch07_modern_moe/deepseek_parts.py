"""Exercise 7.7: right parts for a layer with DeepSeek-V3's rule, and what it must say."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import route
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import generator
from moe_teach.judging.stand_ins import SmallLayer, require_own_part
from moe_teach.ops.balance import update_expert_bias
from moe_teach.types import Routing

SCALE = 1.5
OF_EXERCISE = {"rule": "7.5", "move": "6.3"}


def move(expert_bias: Tensor, expert_ids: Tensor, rate: float) -> Tensor:
    """One step of exercise 6.3."""
    counts = torch.bincount(expert_ids.flatten(), minlength=len(expert_bias))
    return update_expert_bias(expert_bias, counts, rate)


PARTS: dict[str, Callable[..., Any]] = {"rule": route, "move": move}


def small_layer(n_experts: int, top_k: int, seed: int) -> SmallLayer:
    """Build a layer whose weights depend on the seed alone."""
    layer = SmallLayer(8, n_experts, top_k, 3, True)
    with torch.no_grad():
        for index, parameter in enumerate(layer.parameters()):
            drawn = torch.randn(parameter.shape, generator=generator(seed + index))
            parameter.copy_(drawn / 2)
    return layer


def defined(
    layer: nn.Module, x: Tensor, bias: Tensor, groups: tuple[int, int], gate_scale: float
) -> tuple[Tensor, Routing]:
    """What the layer says by DeepSeek-V3's rule; `groups` is (n_groups, top_groups)."""
    tokens = x.reshape(-1, x.shape[-1])
    logits = layer.router(tokens)
    gates, ids = route(logits, bias, layer.top_k, *groups, gate_scale)
    answers = (tokens @ layer.w_up).relu() @ layer.w_down
    chosen = answers[ids, torch.arange(len(tokens))[:, None]]
    y = (gates[..., None] * chosen).sum(dim=1).view_as(x)
    return y, Routing(logits, logits.float().sigmoid(), gates, ids)


def decided(*given: Any) -> tuple[Tensor, Tensor]:
    """Give the gates and expert_ids of `defined`."""
    record = defined(*given)[1]
    return record.gates, record.expert_ids


def told_about_rule(moe: nn.Module, told: dict[str, Any]) -> dict[str, Any]:
    """Tell the laws about a layer with DeepSeek-V3's rule.

    `told` is what they know of the layer inside (see `moe_teach.analysis.own_layer.told_about`);
    gates, groups and the bias are the rule's.
    """

    def with_top_k(top_k: int) -> nn.Module:
        twin = copy.deepcopy(moe)
        twin.layer.top_k, twin.n_groups, twin.top_groups = top_k, 1, 1
        return twin

    return told | {
        "with_top_k": with_top_k,
        "expert_rows": (*told["expert_rows"], moe.expert_bias),
        "expert_bias": moe.expert_bias,
        "gate_sum": moe.gate_scale,
        "group_size": len(moe.expert_bias) // moe.n_groups,
    }


def told_about_small(layer: SmallLayer) -> dict[str, Any]:
    """What the laws must know of the layer that checks use."""

    def expert(number: int, rows: Tensor) -> Tensor:
        return (rows @ layer.w_up[number]).relu() @ layer.w_down[number]

    return {"expert": expert, "expert_rows": (layer.router.weight, layer.w_up, layer.w_down)}


def with_bias(moe: Any, seed: int) -> Tensor:
    """Give the layer a bias that decides many choices, and return it."""
    bias = torch.randn(len(moe.expert_bias), generator=generator(seed + 11)) / 4
    moe.load_state_dict({**moe.state_dict(), "expert_bias": bias})
    return bias


def require_own_parts(answer: Any, seed: int) -> None:
    """Reject a layer that the reader's own parts spoil, and name the part."""
    for name, item in OF_EXERCISE.items():
        layer = small_layer(8, 3, seed)
        moe = answer(layer, 4, 2, SCALE, **{part: PARTS[part] for part in PARTS if part != name})
        bias, x = with_bias(moe, seed), torch.randn(11, 8, generator=generator(seed))
        y, right = defined(layer, x, bias, (4, 2), SCALE)
        seen, is_right = "", False
        try:
            got, record = moe(x)
            moe.update_bias(record, 0.125)
            moved = PARTS["move"](bias, right.expert_ids, 0.125)
            is_right = close(got, y) and close(moe.expert_bias, moved)
        except Exception as error:
            seen = f" It raises {type(error).__name__}: {error}"
        require_own_part(
            is_right,
            name,
            item,
            f"the layer says something else.{seen}",
        )
