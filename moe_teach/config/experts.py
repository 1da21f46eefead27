"""What one MoE layer is made of."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from moe_teach.config.refusal import refuse, refuse_non_positive
from moe_teach.config.router import RouterConfig

Activation = Literal["swiglu", "geglu", "gelu", "relu", "relu2"]
DropPolicy = Literal["first_come", "by_gate", "random"]
GatesOn = Literal["output", "input"]


class BoundedSwiGLU(NamedTuple):
    """A SwiGLU whose features cannot grow without bound, as `MoEConfig` describes it."""

    limit: float
    alpha: float = 1.0
    shift: float = 0.0


Nonlinearity = Activation | BoundedSwiGLU


def is_gated(nonlinearity: Nonlinearity) -> bool:
    """Tell whether an expert with this non-linearity has the third matrix, `w_gate`."""
    return isinstance(nonlinearity, BoundedSwiGLU) or nonlinearity in ("swiglu", "geglu")


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """One MoE layer: a router, its experts and what is always on.

    `d_ff` is the inner width of one routed expert; the shared expert, when there is one, is a
    single feed-forward of width `n_shared_experts * d_ff` (or `d_ff_shared` where the published
    model differs). `shared_gate` multiplies what it answers by the sigmoid of a learned map of the
    token to one number (Qwen2-MoE, Qwen3-Next). `bias` gives the experts ordinary linear biases
    (gpt-oss; the router's are `RouterConfig.bias`); it has nothing to do with the selection bias
    of balancing.

    Of the activations "swiglu" and "geglu" have a gate, which goes through a SiLU, or through the
    GELU written with tanh (Grok-1); "relu2" squares a ReLU (Nemotron). With `swiglu_limit` L, a
    SwiGLU takes min(gate, L) and keeps the other features between -L and L (gpt-oss,
    DeepSeek-V4); gpt-oss also steepens the gate's sigmoid by `swiglu_alpha` and adds
    `swiglu_shift` to the other features:

        inner = g * sigmoid(alpha * g) * (u + shift)        g, u = the bounded gate and features

    Drops: `capacity_factor` grants an expert that many times its even share of all tokens;
    `capacity` a fixed number of rows in each sequence (Switch as transformers runs it). With
    neither nothing is dropped, and with rows (T, D) all tokens are one sequence.

    `gates_on="input"` multiplies what an expert reads by its gate, and not what it answers
    (Llama-4). The last `n_identity_experts` of the router's experts hold no parameters and give
    their input back (LongCat-Flash, arXiv 2509.01322).

    `d_latent` is counted by the cost model and not built here: the routed experts work in a space
    of that width, into which and out of which one matrix each leads for all of them (LatentMoE).
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
    swiglu_limit: float | None = None
    swiglu_alpha: float = 1.0
    swiglu_shift: float = 0.0
    capacity: int | None = None
    gates_on: GatesOn = "output"
    n_identity_experts: int = 0

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
            not 0 <= self.n_identity_experts < self.router.n_experts,
            f"n_identity_experts counts those of the router's {self.router.n_experts} experts that "
            f"compute nothing, and one at least has to compute; it is {self.n_identity_experts}.",
        )
        refuse(
            self.gates_on not in get_args(GatesOn),
            f"gates_on must be 'output' or 'input', but it is {self.gates_on!r}.",
        )
        self._check_capacity()
        self._check_swiglu()

    def _check_capacity(self) -> None:
        refuse(
            self.capacity_factor is not None and self.capacity_factor <= 0,
            f"capacity_factor must be positive (or None to drop nothing), "
            f"but it is {self.capacity_factor}.",
        )
        refuse(
            self.capacity is not None and self.capacity < 1,
            f"capacity counts the rows an expert takes of a sequence and must be at least 1 (or "
            f"None to drop nothing), but it is {self.capacity}.",
        )
        refuse(
            self.capacity is not None and self.capacity_factor is not None,
            "capacity is a fixed number of rows and capacity_factor a share of the tokens: "
            "give one of them.",
        )
        refuse(
            self.drops and self.router.choice == "expert",
            "Expert choice already fixes how many tokens an expert takes: "
            "leave capacity_factor and capacity at None.",
        )

    def _check_swiglu(self) -> None:
        refuse(
            self.is_bounded and self.activation != "swiglu",
            "swiglu_limit, swiglu_alpha and swiglu_shift change a SwiGLU, but the activation is "
            f"{self.activation!r}: leave them at their defaults.",
        )
        refuse(
            self.swiglu_limit is not None and not self.swiglu_limit > 0,
            f"swiglu_limit must be positive (or None for no limit), but it is {self.swiglu_limit}.",
        )

    @property
    def drops(self) -> bool:
        """Whether an expert may be full."""
        return self.capacity is not None or self.capacity_factor is not None

    @property
    def is_bounded(self) -> bool:
        """Whether the SwiGLU is another than the usual one."""
        return (self.swiglu_limit, self.swiglu_alpha, self.swiglu_shift) != (None, 1.0, 0.0)

    @property
    def nonlinearity(self) -> Nonlinearity:
        """What the experts do between their matrices, as the functions of `ops` take it."""
        if not self.is_bounded:
            return self.activation
        limit = math.inf if self.swiglu_limit is None else self.swiglu_limit
        return BoundedSwiGLU(limit, self.swiglu_alpha, self.swiglu_shift)

    @property
    def n_computing_experts(self) -> int:
        """How many of the router's experts hold parameters."""
        return self.router.n_experts - self.n_identity_experts

    @property
    def shared_width(self) -> int:
        """Inner width of the shared expert; 0 when there is none."""
        if not self.n_shared_experts:
            return 0
        return self.d_ff_shared or self.n_shared_experts * self.d_ff
