"""The settings of one training run, and the learning rate that follows from them."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from moe_teach.config import refuse

BalanceScope = Literal["batch", "micro_batch", "sequence"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one model is trained.

    One step sees the batch `batches.at(step)`, which has `batch_size` sequences of `seq_len`
    tokens. `accumulate` cuts it into as many micro-batches, and so does every process of a
    data-parallel run: neither changes what is learned, only how much memory a step takes. (A
    capacity, expert choice and router noise see one micro-batch at a time and do depend on it.)

    The learning rate climbs to `lr` over `warmup` steps and falls along a cosine to
    `min_lr_ratio * lr` at the last step. `clip` bounds the norm of the gradient; 0 leaves it.

    `balance_scope` says over which tokens the load of the balancing loss is counted: the whole
    "batch", one "micro_batch" on its process, or one "sequence" (Qiu et al. 2025, arXiv
    2501.11873, compare them). With accumulation, "batch" costs one forward pass more, because
    the counts of all micro-batches must be known before the first gradient.

    `bias_update_rate` moves the routers' `expert_bias` once a step, outside the optimiser (Wang
    et al. 2024, arXiv 2408.15664); 0 leaves the bias alone. `dtype="auto"` computes in bfloat16
    on a GPU and in float32 elsewhere; weights and optimiser are float32 (or what the model holds)
    either way. `checkpoint_every=0` writes only the last checkpoint.
    """

    steps: int
    batch_size: int = 16
    seq_len: int = 64
    lr: float = 4e-3
    min_lr_ratio: float = 0.1
    warmup: int = 20
    weight_decay: float = 0.01
    clip: float = 1.0
    load_balance_coef: float = 0.01
    balance_scope: BalanceScope = "batch"
    z_loss_coef: float = 0.0
    bias_update_rate: float = 0.0
    accumulate: int = 1
    seed: int = 0
    dtype: Precision = "auto"
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "seq_len", "accumulate"):
            value = getattr(self, name)
            refuse(value < 1, f"{name} must be at least 1, but it is {value}.")
        for name in NEVER_NEGATIVE:
            value = getattr(self, name)
            refuse(
                not 0 <= value < math.inf, f"{name} must be 0 or a positive number, not {value}."
            )
        refuse(
            self.warmup > self.steps,
            f"warmup is {self.warmup} steps, but the run has only {self.steps}: the learning rate "
            "would never reach lr. Choose a shorter warm-up.",
        )
        refuse(
            self.batch_size % self.accumulate != 0,
            f"A batch of {self.batch_size} sequences cannot be cut into {self.accumulate} equal "
            "micro-batches: accumulate must divide batch_size.",
        )

    @property
    def tokens_per_step(self) -> int:
        """How many tokens one optimiser step learns from."""
        return self.batch_size * self.seq_len

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as a plain dictionary, for JSON."""
        return asdict(self)


NEVER_NEGATIVE = (
    "lr",
    "min_lr_ratio",
    "warmup",
    "weight_decay",
    "clip",
    "load_balance_coef",
    "z_loss_coef",
    "bias_update_rate",
    "checkpoint_every",
)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then half a cosine."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    past, length = step - config.warmup, config.steps - 1 - config.warmup
    fraction = min(past / length, 1.0) if length > 0 else 1.0
    low = config.lr * config.min_lr_ratio
    return low + (config.lr - low) * (1 + math.cos(math.pi * fraction)) / 2
