"""Two configurations may describe one computation; this gives them one form.

Only what a model answers in evaluation counts: what acts in training alone is set aside.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from moe_teach.config import ModelConfig, MoEConfig, RouterConfig


def canonical(config: ModelConfig) -> ModelConfig:
    """Return the simplest configuration that answers as `config` does in evaluation."""
    attention = config.attention
    if not attention.bias:
        attention = replace(attention, qkv_bias_only=False)
    pattern = list(config.layer_has_experts)
    if not any(pattern):
        return replace(config, attention=attention, moe=None, n_dense_layers=0, moe_every=1)
    first, every = places(pattern) or (config.n_dense_layers, config.moe_every)
    result = replace(
        config,
        attention=attention,
        moe=_canonical_layer(config.moe),
        n_dense_layers=first,
        moe_every=every,
    )
    return result if not all(pattern) else replace(result, d_ff_dense=None, activation="swiglu")


def places(pattern: list[bool]) -> tuple[int, int] | None:
    """Return the first `n_dense_layers` and `moe_every` that put experts into these layers."""
    n_layers = len(pattern)
    for first in range(n_layers):
        for every in range(1, n_layers - first + 1):
            if pattern == [
                layer >= first and (layer - first + 1) % every == 0 for layer in range(n_layers)
            ]:
                return first, every
    return None


def flat(config: Any, path: str = "") -> dict[str, Any]:
    """Return every field by its path, such as "moe.router.top_k"."""
    found = {}
    for field in fields(config):
        value, name = getattr(config, field.name), path + field.name
        found |= flat(value, f"{name}.") if is_dataclass(value) else {name: value}
    return found


def _canonical_layer(moe: MoEConfig) -> MoEConfig:
    moe = replace(moe, router=_canonical_router(moe.router))
    if not moe.drops:
        moe = replace(moe, drop_policy="first_come")
    if moe.d_ff_shared is not None and moe.shared_width % moe.d_ff == 0:
        moe = replace(moe, n_shared_experts=moe.shared_width // moe.d_ff, d_ff_shared=None)
    return moe


def _canonical_router(router: RouterConfig) -> RouterConfig:
    router = replace(router, jitter=0.0, noisy=False)
    if router.topk_first:  # a softmax over the chosen is a softmax over all, renormalised
        router = replace(router, topk_first=False, normalize_gates=True)
    if router.top_groups == router.n_groups:  # every group is open
        router = replace(router, n_groups=1, top_groups=1, group_score="best_two")
    return router
