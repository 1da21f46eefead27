"""Frozen configurations that refuse bad combinations in a full sentence.

One `ModelConfig` describes both the small models that `moe_teach.nn` builds and the published
models of `moe_teach.catalog`; `moe_teach.cost` counts either. Nothing here needs torch.
"""

from moe_teach.config.experts import (
    Activation,
    BoundedSwiGLU,
    DropPolicy,
    GatesOn,
    MoEConfig,
    Nonlinearity,
    is_gated,
)
from moe_teach.config.mixers import AttentionConfig, CountedMixer, LatentConfig, QKNorm
from moe_teach.config.model import ModelConfig
from moe_teach.config.refusal import refuse
from moe_teach.config.router import Choice, GroupScore, RouterConfig, ScoreFn

__all__ = [
    "Activation",
    "AttentionConfig",
    "BoundedSwiGLU",
    "Choice",
    "CountedMixer",
    "DropPolicy",
    "GatesOn",
    "GroupScore",
    "LatentConfig",
    "MoEConfig",
    "ModelConfig",
    "Nonlinearity",
    "QKNorm",
    "RouterConfig",
    "ScoreFn",
    "is_gated",
    "refuse",
]
