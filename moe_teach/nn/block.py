"""One layer of the transformer: attention, then a feed-forward with or without experts."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.nn.attention import KVCache
from moe_teach.types import Routing


class Block(nn.Module):
    """Pre-norm residual layer; `ffn` is a `FeedForward`, an `MoE`, or anything shaped like them.

    An MoE returns its routing beside its output, so the two are told apart by what they return.
    """

    def __init__(
        self, d_model: int, attention: nn.Module, ffn: nn.Module, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(d_model, norm_eps)
        self.attention = attention
        self.ffn_norm = nn.RMSNorm(d_model, norm_eps)
        self.ffn = ffn

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        cache: KVCache | None = None,
        layer: int = 0,
        token_ids: Int[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B S D"], Routing | None]:
        """Return the new residual stream, and the routing where the feed-forward has one.

        `token_ids` go to a feed-forward that says `reads_token_ids`, such as an `MoE` with a
        `HashRouter`.
        """
        x = x + self.attention(self.attention_norm(x), cache, layer)
        h = self.ffn_norm(x)
        reads_ids = getattr(self.ffn, "reads_token_ids", False)
        answer = self.ffn(h, token_ids) if reads_ids else self.ffn(h)
        y, routing = answer if isinstance(answer, tuple) else (answer, None)
        return x + y, routing
