"""How a router chooses, and what one MoE layer is made of."""

from dataclasses import dataclass
from typing import Literal

from moe_teach.config.refusal import refuse, refuse_non_positive

ScoreFn = Literal["softmax", "sigmoid", "sqrt_softplus"]
Activation = Literal["swiglu", "gelu", "relu", "relu2"]
Choice = Literal["token", "expert"]
DropPolicy = Literal["first_come", "by_gate", "random"]


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """How one router chooses.

    `topk_first` takes the softmax over the chosen logits only (Mixtral as published) instead of
    over all experts. `choice="expert"` lets each expert pick its top T * top_k / E tokens (Zhou
    et al. 2022, arXiv 2202.09368); it looks at the whole batch and is therefore not causal.
    `jitter` multiplies the input by uniform noise from [1 - jitter, 1 + jitter] and `noisy` adds
    learned noise to the logits (Shazeer et al. 2017, eq. 4); both act in training only.
    `n_groups` and `top_groups` restrict a token to its best groups of experts (DeepSeek-V3).
    `score_fn="sqrt_softplus"` is the square root of log(1 + exp(logit)) (DeepSeek-V4).
    """

    n_experts: int
    top_k: int
    score_fn: ScoreFn = "softmax"
    topk_first: bool = False
    normalize_gates: bool = True
    gate_scale: float = 1.0
    jitter: float = 0.0
    noisy: bool = False
    n_groups: int = 1
    top_groups: int = 1
    choice: Choice = "token"

    def __post_init__(self) -> None:
        refuse_non_positive(n_experts=self.n_experts, top_k=self.top_k, n_groups=self.n_groups)
        refuse(
            self.top_k > self.n_experts,
            f"top_k is {self.top_k}, but there are only {self.n_experts} experts: "
            f"choose top_k between 1 and {self.n_experts}.",
        )
        refuse(
            not 0.0 <= self.jitter < 1.0,
            f"jitter must lie in [0, 1), because the input is multiplied by 1 +- jitter; "
            f"it is {self.jitter}.",
        )
        refuse(
            self.topk_first and self.score_fn != "softmax",
            f"topk_first only changes a softmax: a {self.score_fn} scores each expert alone. "
            "Leave topk_first at False.",
        )
        self._check_groups()

    def _check_groups(self) -> None:
        refuse(
            self.n_experts % self.n_groups != 0,
            f"{self.n_experts} experts cannot be split into {self.n_groups} equal groups: "
            "choose n_groups that divides n_experts.",
        )
        refuse(
            not 1 <= self.top_groups <= self.n_groups,
            f"top_groups must lie between 1 and n_groups = {self.n_groups}, "
            f"but it is {self.top_groups}.",
        )
        reachable = self.n_experts // self.n_groups * self.top_groups
        refuse(
            self.top_k > reachable,
            f"top_k is {self.top_k}, but {self.top_groups} of {self.n_groups} groups hold only "
            f"{reachable} experts: raise top_groups or lower top_k.",
        )
        refuse(
            self.choice == "expert" and self.n_groups > 1,
            "Group-limited routing restricts what a token may choose; with choice='expert' the "
            "experts choose. Use n_groups=1.",
        )


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """One MoE layer: a router, its experts and what is always on.

    `d_ff` is the inner width of one routed expert; the shared expert, when there is one, is a
    single feed-forward of width `n_shared_experts * d_ff` (or `d_ff_shared` where the published
    model differs). `capacity_factor=None` drops nothing. `bias` gives the router and the experts
    ordinary linear biases (gpt-oss); it has nothing to do with the selection bias of balancing.

    Three more are counted by the cost model and not built here: `d_latent` lets the routed experts
    work in a space of that width, into which and out of which one matrix each leads for all of
    them (LatentMoE); `shared_gate` weighs the shared expert by a learned gate (Qwen3-Next);
    `activation="relu2"` squares a ReLU (Nemotron).
    """

    router: RouterConfig
    d_ff: int
    activation: Activation = "swiglu"
    n_shared_experts: int = 0
    d_ff_shared: int | None = None
    capacity_factor: float | None = None
    drop_policy: DropPolicy = "first_come"
    bias: bool = False
    d_latent: int | None = None
    shared_gate: bool = False

    def __post_init__(self) -> None:
        refuse_non_positive(d_ff=self.d_ff, d_latent=self.d_latent or 1)
        refuse(
            self.shared_gate and not self.n_shared_experts,
            "shared_gate weighs the shared expert, but there is none: set n_shared_experts.",
        )
        refuse(
            self.n_shared_experts < 0,
            f"n_shared_experts must not be negative, but it is {self.n_shared_experts}.",
        )
        refuse(
            self.capacity_factor is not None and self.capacity_factor <= 0,
            f"capacity_factor must be positive (or None to drop nothing), "
            f"but it is {self.capacity_factor}.",
        )
        refuse(
            self.capacity_factor is not None and self.router.choice == "expert",
            "Expert choice already fixes how many tokens an expert takes: "
            "leave capacity_factor at None.",
        )

    @property
    def shared_width(self) -> int:
        """Inner width of the shared expert; 0 when there is none."""
        if not self.n_shared_experts:
            return 0
        return self.d_ff_shared or self.n_shared_experts * self.d_ff
