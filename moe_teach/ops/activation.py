"""The non-linearity inside an expert, and the feed-forward of one expert or of all at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import BoundedSwiGLU, Nonlinearity
from moe_teach.ops.demand import demand_activation, demand_no_biases, unknown_activation
from moe_teach.types import ExpertWeights

Matrices = tuple[Tensor, Tensor, Tensor | None]
"""w_up, w_down and w_gate, which some activations lack: of one expert, or of all, along axis 0."""


def activate(up: Tensor, gate: Tensor | None, activation: Nonlinearity) -> Tensor:
    """Apply the non-linearity to the inner features of an expert.

    SwiGLU (Shazeer 2020, arXiv 2002.05202, eq. 6) multiplies `up` by `silu(gate)`, a bounded one
    as `MoEConfig` describes it, GEGLU by the GELU of the gate in the form with tanh; the others
    act on `up` alone and have no `gate`.
    """
    demand_activation(activation, gate is not None)
    match activation:
        case "swiglu":
            opened = F.silu(gate)
            # Without gradients nothing will want silu(gate) again: it can be overwritten.
            return opened * up if torch.is_grad_enabled() else opened.mul_(up)
        case "gelu":
            return F.gelu(up)
        case "relu":
            return F.relu(up)
        case "relu2":
            return F.relu(up).square()
        case "geglu":
            return F.gelu(gate, approximate="tanh") * up
        case BoundedSwiGLU(limit, alpha, shift):
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
            return gate * (alpha * gate).sigmoid() * (up + shift)
    raise unknown_activation(activation)


def activation_backward(
    dinner: Tensor, up: Tensor, gate: Tensor | None, activation: Nonlinearity
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Give `activate(...)` again and its gradients for `up` and `gate`.

    `dinner` is the gradient of what `activate` returned; its memory may be used up.
    """
    match activation:
        case "swiglu":
            # In place where it can be: fresh memory costs more than the arithmetic in it.
            opened, dgate = F.silu(gate), dinner * up
            torch.ops.aten.silu_backward.grad_input(dgate, gate, grad_input=dgate)
            dup = dinner.mul_(opened)
            return opened.mul_(up), dup, dgate
        case "gelu":
            return F.gelu(up), torch.ops.aten.gelu_backward(dinner, up), None
        case "relu":
            return F.relu(up), torch.ops.aten.threshold_backward(dinner, up, 0), None
    return _differentiated(dinner, up, gate, activation)


def _differentiated(
    dinner: Tensor, up: Tensor, gate: Tensor | None, activation: Nonlinearity
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Let autograd find what nobody has written out."""
    inputs = [x.detach().requires_grad_() for x in (up, gate) if x is not None]
    with torch.enable_grad():
        inner = activate(inputs[0], inputs[1] if gate is not None else None, activation)
    dup, *dgate = torch.autograd.grad(inner, inputs, dinner)
    return inner.detach(), dup, dgate[0] if dgate else None


def expert_ffn(
    x: Tensor, w_up: Tensor, w_down: Tensor, w_gate: Tensor | None, activation: Nonlinearity
) -> Tensor:
    """Run rows through an expert, (..., D) -> (..., D): `activate(x @ w_up.T, ...) @ w_down.T`.

    Matrices of one expert, (F, D) and (D, F), take rows (n, D). Fused ones, (E, F, D) and
    (E, D, F), take a batch of rows for each expert, (E, n, D). The formula is the same.
    """
    gate = None if w_gate is None else x @ w_gate.mT
    return activate(x @ w_up.mT, gate, activation) @ w_down.mT


def unbind(weights: ExpertWeights) -> list[Matrices]:
    """Split fused weights into the matrices of each expert, without copying.

    Raises:
        ValueError: if there are biases, which would be lost.
    """
    demand_no_biases(weights)
    # Once for all experts: `w[e]` inside a loop would make the backward pass write a zero tensor
    # of the full fused size for each of them.
    w_ups, w_downs = weights.w_up.unbind(), weights.w_down.unbind()
    w_gates = (None,) * len(w_ups) if weights.w_gate is None else weights.w_gate.unbind()
    return list(zip(w_ups, w_downs, w_gates, strict=True))
