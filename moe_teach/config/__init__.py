"""Frozen configurations that refuse bad combinations in a full sentence.

One `ModelConfig` describes both the small models that `moe_teach.nn` builds and the published
models of `moe_teach.catalog`; `moe_teach.cost` counts either. Nothing here needs torch.
"""

from moe_teach.config.experts import (
    Activation,
    Choice,
    DropPolicy,
    MoEConfig,
    RouterConfig,
    ScoreFn,
)
from moe_teach.config.mixers import AttentionConfig, CountedMixer, LatentConfig, QKNorm
from moe_teach.config.model import ModelConfig
from moe_teach.config.refusal import refuse

__all__ = [
    "Activation",
    "AttentionConfig",
    "Choice",
    "CountedMixer",
    "DropPolicy",
    "LatentConfig",
    "MoEConfig",
    "ModelConfig",
    "QKNorm",
    "RouterConfig",
    "ScoreFn",
    "refuse",
]
