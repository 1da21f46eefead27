"""Causal self-attention with grouped heads and rotary positions."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from moe_teach.config import AttentionConfig, refuse
from moe_teach.nn.cache import Cache, look, sees
from moe_teach.nn.linear import Linear, reset_parts


def rotate(
    x: Float[Tensor, "B H S d"], position: Int[Tensor, " S"] | Int[Tensor, "B 1 S"], theta: float
) -> Tensor:
    """Turn feature pairs (i, i + d/2) by position * theta^(-2i/d) (RoPE, arXiv 2104.09864).

    Pairing the two halves instead of neighbours is the convention of the published weights.
    """
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position[..., None] * frequency  # (S, d/2), float32: bfloat16 cannot count to 1000
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    if torch.compiler.is_compiling():  # a compiled graph saves the traffic by itself
        one, other = x[..., :half], x[..., half:]
        return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)
    return _Turn.apply(x, cos, sin)


class _Turn(torch.autograd.Function):
    """The rotation; backward is the rotation by the opposite angle.

    Autograd would instead write a zero tensor for each half that was cut out, forward's every
    product backward, and add them up: several times the traffic.
    """

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(dout, cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    out = x.new_empty(x.shape)
    for start, other, sign in ((0, half, -1), (half, 0, 1)):
        own = out[..., start : start + half]
        torch.mul(x[..., start : start + half], cos, out=own)
        own.addcmul_(x[..., other : other + half], sin, value=sign)
    return out


class Attention(nn.Module):
    """Multi-head attention in which groups of query heads share one key and value head (GQA).

    `qk_norm` applies RMS normalisation before the rotation: "head" to each head alone (Qwen3),
    "full" across all heads of the projection (OLMoE). `residual_scale` multiplies the first
    weights of `o_proj`, which answers into the residual stream.
    """

    def __init__(
        self,
        d_model: int,
        config: AttentionConfig,
        norm_eps: float = 1e-5,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        refuse(
            config.latent is not None
            or config.sinks
            or config.relative_buckets > 0
            or config.output_gate,
            "Latent attention, attention sinks, relative positions and output gates are counted by "
            "moe_teach.cost but not built by moe_teach.nn: leave latent, sinks, relative_buckets "
            "and output_gate at their defaults to build a model.",
        )
        self.config = config
        d_query, d_key = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
        self.q_proj = Linear(d_model, d_query, config.bias)
        self.k_proj = Linear(d_model, d_key, config.bias)
        self.v_proj = Linear(d_model, d_key, config.bias)
        has_output_bias = config.bias and not config.qkv_bias_only
        self.o_proj = Linear(d_query, d_model, has_output_bias, scale=residual_scale)
        self.q_norm = self._qk_norm(d_query, norm_eps)
        self.k_norm = self._qk_norm(d_key, norm_eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every matrix with variance 1 / (its input width); biases start at zero."""
        reset_parts(self)

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        cache: Cache | None = None,
        layer: int = 0,
        real: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Mix each position with those before it, the cached ones included.

        Args:
            x: the S newest positions.
            cache: what was read before; this layer's part of it grows by S.
            layer: which part of the cache belongs to this module.
            real: the positions that hold text. No text sees padding, and padding takes no place
                in the count of positions, wherever it stands. Not together with a cache.
        """
        mask = None
        if cache is not None:
            position = cache.positions(layer, x)
        else:
            position = torch.arange(x.shape[1], device=x.device)
        if real is not None:
            mask = _sees_text(position, real)
            position = (real.cumsum(-1) - 1).clamp_min(0)[:, None]
        query = rotate(self._heads(x, self.q_proj, self.q_norm), position, self.config.rope_theta)
        key = rotate(self._heads(x, self.k_proj, self.k_norm), position, self.config.rope_theta)
        value = self._heads(x, self.v_proj, None)
        if cache is not None:
            mixed = cache.attend(layer, query, key, value)
        else:
            mixed = look(query, key, value, mask)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def _qk_norm(self, width: int, eps: float) -> nn.Module | None:
        match self.config.qk_norm:
            case "head":
                return nn.RMSNorm(self.config.d_head, eps)
            case "full":
                return nn.RMSNorm(width, eps)
        return None

    def _heads(self, x: Tensor, proj: nn.Module, norm: nn.Module | None) -> Tensor:
        """Project (B, S, D) to heads (B, H, S, d_head), normalised where asked."""
        flat = proj(x)
        if norm is not None and self.config.qk_norm == "full":
            flat = norm(flat)
        heads = flat.unflatten(-1, (-1, self.config.d_head)).transpose(1, 2)
        return norm(heads) if norm is not None and self.config.qk_norm == "head" else heads


def _sees_text(position: Tensor, real: Tensor) -> Tensor:
    """Return the causal mask (B, 1, S, S) without padding; padding sees itself, and no text it.

    Who sees nobody would be given a mean of nothing, which is not a number.
    """
    itself = position == position[:, None]
    return sees(position, len(position)) & (real[:, None, None, :] | itself)
