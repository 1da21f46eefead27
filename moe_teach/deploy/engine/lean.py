"""The same forward pass with less around it: for small models, few tokens and a CPU.

A step of decoding multiplies a handful of rows, and then the steps between the products take
longer than the products. What is saved here, without another copy of any weight:

- positions are turned into angles once a step, not twice a layer;
- residual connections are part of a product, and norms are five small operations;
- broken numbers are looked for once, at the end, and not in every layer;
- **every expert works on every row, and the gates are zero where it was not chosen.** Eight rows
  wake two thirds of sixteen experts anyway (chapter 01's formula), so sorting rows by expert costs
  more than the products it saves. Where that is not so, the layer is called as it stands.

`definition.py` is what it must equal, and the tests compare.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.deploy.engine.cache import Reading
from moe_teach.deploy.engine.definition import definition
from moe_teach.nn.attention import Attention
from moe_teach.nn.block import Block
from moe_teach.nn.model import Model
from moe_teach.nn.moe import FusedMoE
from moe_teach.nn.router import Router
from moe_teach.ops.demand import KERNEL_ACTIVATIONS
from moe_teach.ops.route import gates_of, is_plain, score_of, top_experts
from moe_teach.types import Routing

_MOST_PRODUCTS = 2**22  # of one layer's experts and all rows: above, sorting rows pays
_MOST_WEIGHTS = 2**19  # numbers in one layer's experts: what a core's cache holds


class LeanForward:
    """The lean pass through one model; called like `definition` without the model.

    Each block goes the lean way where it is made of the library's own parts, and is called as a
    module where it is not. Hooks, if there are any, are not passed by.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lean_attention = [_is_lean(block, block.attention) for block in model.blocks]
        self.lean_rows = [_most_lean_rows(block) for block in model.blocks]
        attention = model.config.attention
        half = attention.d_head // 2
        exponent = -torch.arange(half, dtype=torch.float32) / half
        self.frequency = attention.rope_theta**exponent

    @staticmethod
    def serves(model: Model) -> bool:
        """Tell whether numbers and device are those that this pass is for."""
        weight = model.embedding.weight
        return weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)

    def __call__(
        self, token_ids: Int[Tensor, " T"], reading: Reading, wanted: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n V"], list[Routing]]:
        """Read one token a row; return logits of the `wanted` rows, and every routing."""
        model, routings = self.model, []
        x = F.embedding(token_ids, model.embedding.weight)
        turn = self._turn(reading, x)
        for layer, block in enumerate(model.blocks):
            h = _normalised(x, block.attention_norm)
            if self.lean_attention[layer]:
                x = _attention(block.attention, h, x, reading, layer, turn)
            else:
                x = x + block.attention(h[:, None], reading, layer)[:, 0]
            h = _normalised(x, block.ffn_norm)
            if len(h) <= self.lean_rows[layer]:
                y, routing = _experts(block.ffn, h)
            else:
                y, routing = block.ffn(h, token_ids)
            x = x + y
            if routing is not None:
                routings.append(routing)
        if not bool(x.isfinite().all()):
            # Something is broken, or an expert whom nobody chose, and zero times that: the
            # definition tells which. It writes the same rows of the cache again.
            return definition(model, token_ids, reading, wanted)
        return model.unembedding(_normalised(x[wanted], model.norm)), routings

    def _turn(self, reading: Reading, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give (cos, cos) and (-sin, sin) of every token's angles, (T, 1, d_head)."""
        angle = reading.at[:, None] * self.frequency
        cos, sin = angle.cos(), angle.sin()
        both = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
        return tuple(part[:, None].to(x.dtype) for part in both)


def _attention(
    attention: Attention,
    h: Tensor,
    x: Tensor,
    reading: Reading,
    layer: int,
    turn: tuple[Tensor, Tensor],
) -> Tensor:
    """Return x + attention(h)."""
    query = _turned(_heads(attention, h, attention.q_proj, attention.q_norm), *turn)
    key = _turned(_heads(attention, h, attention.k_proj, attention.k_norm), *turn)
    value = _heads(attention, h, attention.v_proj, None)
    mixed = reading.attend(layer, query[:, :, None], key[:, :, None], value[:, :, None])
    out = attention.o_proj
    x = torch.addmm(x, mixed.reshape(len(x), -1), out.weight.t())
    return x if out.bias is None else x.add_(out.bias)


def _heads(attention: Attention, h: Tensor, proj: nn.Linear, norm: nn.RMSNorm | None) -> Tensor:
    flat = F.linear(h, proj.weight, proj.bias)
    if norm is not None and attention.config.qk_norm == "full":
        flat = _normalised(flat, norm)
    heads = flat.view(len(h), -1, attention.config.d_head)
    is_per_head = norm is not None and attention.config.qk_norm == "head"
    return _normalised(heads, norm) if is_per_head else heads


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + d/2) of (T, H, d): rolled by half, each stands at its partner."""
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, -1), sin)


def _normalised(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    width = x.shape[-1]
    squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    scale = squares.div_(width).add_(norm.eps).rsqrt_()
    return (x * scale).mul_(norm.weight)


def _experts(moe: FusedMoE, h: Tensor) -> tuple[Tensor, Routing]:
    """Let every expert work on every row, weighed by gates that are zero where it should not."""
    routing = _route(moe.router, h)
    weights = moe.experts.weights
    n_experts, d_ff, d_model = weights.w_up.shape
    gates = h.new_zeros(len(h), n_experts).scatter_(1, routing.expert_ids, routing.gates)
    inner = F.linear(h, weights.w_up.view(-1, d_model))
    match moe.experts.activation:
        case "swiglu":
            inner = F.silu(F.linear(h, weights.w_gate.view(-1, d_model)), inplace=True).mul_(inner)
        case "gelu":
            inner = F.gelu(inner)
        case "relu":
            inner = inner.relu_()
    inner = inner.view(len(h), n_experts, d_ff).mul_(gates[:, :, None])
    y = torch.bmm(inner.transpose(0, 1), weights.w_down.mT).sum(dim=0)
    return (y if moe.shared_expert is None else y.add_(moe.shared_expert(h))), routing


def _route(router: Router, h: Tensor) -> Routing:
    logits = F.linear(h, router.proj.weight)
    probs = score_of(logits, router.config.score_fn)
    expert_ids = top_experts(probs + router.expert_bias, router.config.top_k)
    return Routing(logits, probs, gates_of(router.config, logits, probs, expert_ids), expert_ids)


def _is_lean(block: nn.Module, part: nn.Module) -> bool:
    is_own = type(block) is Block and type(part) is Attention
    return is_own and not _is_watched(part)


def _most_lean_rows(block: nn.Module) -> int:
    """Return for how many rows the lean way through the experts is the quicker one."""
    ffn = block.ffn
    is_own = type(ffn) is FusedMoE and type(ffn.router) is Router
    if not (is_own and is_plain(ffn.router.config) and _is_usual(ffn)) or _is_watched(ffn):
        return 0
    n_weights = sum(parameter.numel() for parameter in ffn.experts.parameters())
    return _MOST_PRODUCTS // n_weights if n_weights <= _MOST_WEIGHTS else 0


def _is_usual(moe: FusedMoE) -> bool:
    """Tell whether experts are of the kinds that are written out here."""
    experts = moe.experts
    is_known = experts.activation in KERNEL_ACTIVATIONS and not experts.weights.has_biases
    return is_known and moe.gates_on == "output" and not moe.n_identity_experts


def _is_watched(part: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in part.modules())
