"""The dense feed-forward: every token, every parameter. Also the always-on shared expert."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import Nonlinearity, is_gated
from moe_teach.nn.linear import Linear, reset_parts
from moe_teach.ops.activation import activate


class FeedForward(nn.Module):
    """One network of inner width `d_ff`, without biases, with any activation of `MoEConfig`.

    `residual_scale` multiplies the first weights of `w_down`, as in `Experts`.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Nonlinearity = "swiglu",
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.w_up = Linear(d_model, d_ff)
        self.w_down = Linear(d_ff, d_model, scale=residual_scale)
        self.w_gate = Linear(d_model, d_ff) if is_gated(activation) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every matrix with variance 1 / (its input width), as `Experts` does."""
        reset_parts(self)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Transform every vector of `x` alone."""
        gate = None if self.w_gate is None else self.w_gate(x)
        return self.w_down(activate(self.w_up(x), gate, self.activation))


class GatedFeedForward(FeedForward):
    """A shared expert that the token itself weighs: sigmoid(w_token @ x) times what it answers.

    Qwen2-MoE and Qwen3-Next have it. At first every token weighs it by a half.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Nonlinearity = "swiglu",
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__(d_model, d_ff, activation, residual_scale)
        self.w_token = Linear(d_model, 1, std=0.0)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Transform every vector of `x` alone."""
        return self.w_token(x).sigmoid() * super().forward(x)


class DenseFFN(FeedForward):
    """A `FeedForward` in the place where a block may have an `MoE`, and called in the same way."""

    def forward(
        self, x: Float[Tensor, "*batch D"], token_ids: Int[Tensor, "*batch"] | None = None
    ) -> tuple[Float[Tensor, "*batch D"], None]:
        """Transform every vector of `x` alone; nobody was chosen, so there is no routing."""
        return super().forward(x), None
