"""The dense feed-forward: every token, every parameter. Also the always-on shared expert."""

from jaxtyping import Float
from torch import Tensor, nn

from moe_teach.config import Activation
from moe_teach.ops.activation import activate


class FeedForward(nn.Module):
    """One SwiGLU, GELU or ReLU network of inner width `d_ff`, without biases."""

    def __init__(self, d_model: int, d_ff: int, activation: Activation = "swiglu") -> None:
        super().__init__()
        self.activation = activation
        self.w_up = nn.Linear(d_model, d_ff, bias=False)
        self.w_down = nn.Linear(d_ff, d_model, bias=False)
        self.w_gate = nn.Linear(d_model, d_ff, bias=False) if activation == "swiglu" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every matrix with variance 1 / (its input width), as `Experts` does."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Transform every vector of `x` alone."""
        gate = None if self.w_gate is None else self.w_gate(x)
        return self.w_down(activate(self.w_up(x), gate, self.activation))
