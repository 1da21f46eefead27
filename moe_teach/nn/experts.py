"""The experts of one layer, fused: one tensor per matrix instead of one module per expert."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import Nonlinearity, is_gated
from moe_teach.ops.grouped_ffn import grouped_ffn
from moe_teach.types import ExpertWeights


class Experts(nn.Module):
    """E feed-forward networks of equal shape that compute on rows sorted by expert.

    `w_up` and, where the activation has a gate, `w_gate` are (E, F, D); `w_down` is (E, D, F).
    With `bias` each has a vector for every expert, `b_up` and `b_gate` (E, F), `b_down` (E, D).
    `residual_scale` multiplies the first weights of `w_down`, which answer into the residual
    stream.
    """

    def __init__(
        self,
        n_experts: int,
        d_model: int,
        d_ff: int,
        activation: Nonlinearity = "swiglu",
        residual_scale: float = 1.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.residual_scale = residual_scale
        self.has_biases = bias
        self.w_up = nn.Parameter(torch.empty(n_experts, d_ff, d_model))
        self.w_down = nn.Parameter(torch.empty(n_experts, d_model, d_ff))
        has_gate = is_gated(activation)
        w_gate = nn.Parameter(torch.empty(n_experts, d_ff, d_model)) if has_gate else None
        self.register_parameter("w_gate", w_gate)
        for name, width in (("b_up", d_ff), ("b_down", d_model), ("b_gate", d_ff)):
            exists = bias and (has_gate or name != "b_gate")
            vectors = nn.Parameter(torch.empty(n_experts, width)) if exists else None
            self.register_parameter(name, vectors)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every matrix with variance 1 / (its input width), then scale `w_down`.

        Then an output is about as large as its input. torch's own initialisers take a fused
        (E, F, D) tensor for a convolution and would make every expert sqrt(F) times too small.
        Biases start at zero.
        """
        for name, parameter in self.named_parameters():
            if name.startswith("b_"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        self.w_down.mul_(self.residual_scale)

    @property
    def weights(self) -> ExpertWeights:
        """The matrices and biases, as the functions of `moe_teach.ops` take them."""
        matrices = self.w_up, self.w_down, self.w_gate
        if not self.has_biases:  # torch looks long for each of them, in every pass
            return ExpertWeights(*matrices)
        return ExpertWeights(*matrices, self.b_up, self.b_down, self.b_gate)

    def forward(
        self, rows: Float[Tensor, "N D"], expert_offsets: Int[Tensor, " E"]
    ) -> Float[Tensor, "N D"]:
        """Run each expert on its own slice of rows, which ends at `expert_offsets[e]`."""
        return grouped_ffn(rows, expert_offsets, self.weights, self.activation)

    def extra_repr(self) -> str:
        """Say the sizes when the module is printed."""
        n_experts, d_ff, d_model = self.w_up.shape
        return f"{n_experts=}, {d_model=}, {d_ff=}, activation={self.activation!r}"
