"""One layer of the transformer: attention, then a feed-forward with or without experts."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.nn.cache import Cache
from moe_teach.types import Routing


class Block(nn.Module):
    """Pre-norm residual layer.

    `ffn` is a `DenseFFN`, an `MoE`, or anything that is called like them:
    `ffn(x, token_ids) -> (y, Routing | None)`.
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
        cache: Cache | None = None,
        layer: int = 0,
        token_ids: Int[Tensor, "B S"] | None = None,
        real: Bool[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B S D"], Routing | None]:
        """Return the new residual stream, and the routing where the feed-forward has one.

        With `real`, the feed-forward is handed the text alone. So padding takes no expert's
        place, whatever router and experts stand there.
        """
        x = x + self.attention(self.attention_norm(x), cache, layer, real)
        h = self.ffn_norm(x)
        if real is None:
            y, routing = self.ffn(h, token_ids)
            return x + y, routing
        text, routing = self.ffn(h[real], None if token_ids is None else token_ids[real])
        y = text.new_zeros(h.shape)
        y[real] = text
        return x + y, None if routing is None else spread(routing, real.flatten())


def spread(routing: Routing, real: Bool[Tensor, " T"]) -> Routing:
    """Give the decisions about text one row for every position; padding chose nobody.

    Its logits, probabilities and gates are zero, and its choices neither count nor are kept.
    """

    def over_all(part: Tensor) -> Tensor:
        rows = part.new_zeros(len(real), *part.shape[1:])
        rows[real] = part
        return rows

    chosen = routing.chosen
    kept = chosen if routing.kept is None else routing.kept
    parts = (routing.logits, routing.probs, routing.gates, routing.expert_ids, kept, chosen)
    return Routing(*map(over_all, parts))
