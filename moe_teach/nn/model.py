"""A decoder-only language model, built from the same `ModelConfig` that `cost` counts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.config import ModelConfig, refuse
from moe_teach.nn.attention import Attention
from moe_teach.nn.block import Block
from moe_teach.nn.cache import Cache, KVCache
from moe_teach.nn.feed_forward import DenseFFN
from moe_teach.nn.linear import Embedding, Linear, reset_parts
from moe_teach.nn.moe import FusedMoE
from moe_teach.types import Routing


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Logits over the vocabulary, and one `Routing` for each MoE layer, from bottom to top.

    `real` is the mask of text that the model was given. Where there is one, padding has its rows
    in the routings too, but chose nobody, and its logits mean nothing.
    """

    logits: Float[Tensor, "B S V"]
    routings: tuple[Routing, ...]
    real: Bool[Tensor, "B S"] | None = None


class Model(nn.Module):
    """Embedding, blocks, norm, output projection: a Llama-like model whose layers may be MoE.

    Small embeddings leave the first logits near zero, so no token is preferred and the first loss
    is log(vocab_size). What each of the 2 * n_layers branches adds to the residual stream is
    scaled by 1 / sqrt(2 * n_layers), as in GPT-2, so that depth does not raise its variance.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        refuse(
            config.n_encoder_layers > 0 or config.n_block_norms != 2,
            "Encoders and blocks with norms on the way out are counted by moe_teach.cost but not "
            "built by moe_teach.nn: leave n_encoder_layers and n_block_norms at their defaults.",
        )
        refuse(
            bool(config.other_mixers) or config.n_streams != 1 or config.d_ff_dense == 0,
            "Mixers other than attention, several residual streams and layers without a "
            "feed-forward are counted by moe_teach.cost but not built by moe_teach.nn: leave "
            "other_mixers and n_streams at their defaults and give d_ff_dense a width.",
        )
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(
            _build_block(config, has_experts) for has_experts in config.layer_has_experts
        )
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.unembedding = Linear(config.d_model, config.vocab_size, std=Embedding.STD)
        # Both draw after the blocks, so that a seed gives the weights that lessons print.
        self.embedding.reset_parameters()
        self.unembedding.reset_parameters()
        self._tie()

    def reset_parameters(self) -> None:
        """Draw every parameter of the model anew, and put every buffer back to its beginning."""
        reset_parts(self)
        self._tie()

    def _tie(self) -> None:
        if self.config.tie_embeddings:
            self.unembedding.weight = self.embedding.weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Model":
        """Convert and move the model as torch does, which parts what is tied on the meta device."""
        super()._apply(fn, recurse)
        self._tie()
        return self

    def new_cache(self) -> KVCache:
        """Return an empty cache, to be handed to every call of one generation."""
        return KVCache(self.config.n_layers)

    def forward(
        self,
        token_ids: Int[Tensor, "B S"],
        cache: Cache | None = None,
        real: Bool[Tensor, "B S"] | None = None,
    ) -> ModelOutput:
        """Predict the next token at every position.

        Args:
            token_ids: a batch of sequences, or only their newest tokens when `cache` holds the
                earlier ones.
            cache: from `new_cache`; it grows by S tokens.
            real: which positions hold text; the rest is padding, wherever it stands and whatever
                ids stand there. Text is answered as if there were no padding.

        Raises:
            ValueError: if a token id is outside the vocabulary (on a GPU nobody waits to look:
                see `demand_ids`), the text is too long, or the mask does not fit.
        """
        self._demand_room(token_ids, cache)
        if real is not None:
            _demand_mask(real, token_ids, cache)
            token_ids = token_ids.masked_fill(~real, 0)
        try:
            x = self.embedding(token_ids)
        except IndexError:  # "index out of range in self"
            self.demand_ids(token_ids)
            raise
        routings = []
        for layer, block in enumerate(self.blocks):
            x, routing = block(x, cache, layer, token_ids, real)
            if routing is not None:
                routings.append(routing)
        return ModelOutput(self.unembedding(self.norm(x)), tuple(routings), real)

    def demand_ids(self, token_ids: Int[Tensor, "..."]) -> None:
        """Refuse ids outside the vocabulary.

        A forward pass on a GPU would have to wait for the device to do it, so this is called
        where ids are made, before they move there.
        """
        if not token_ids.numel():
            return
        low, high = (int(end) for end in token_ids.aminmax())
        refuse(
            low < 0 or high >= self.config.vocab_size,
            f"Token ids must lie between 0 and {self.config.vocab_size - 1}, but they reach from "
            f"{low} to {high}: is this the tokenizer the model was built for?",
        )

    def _demand_room(self, token_ids: Tensor, cache: Cache | None) -> None:
        longest = self.config.max_seq_len
        n_tokens = token_ids.shape[-1] + (0 if cache is None else cache.n_tokens)
        refuse(
            token_ids.is_floating_point(),
            f"The model reads token ids, which are integers, but was given {token_ids.dtype}.",
        )
        refuse(
            n_tokens > longest,
            f"The text has {n_tokens} tokens, but the model was built for at most {longest}: "
            "shorten the text or raise max_seq_len.",
        )


def _demand_mask(real: Tensor, token_ids: Tensor, cache: Cache | None) -> None:
    refuse(
        real.dtype is not torch.bool or real.shape != token_ids.shape,
        f"real must say True or False for each of the {tuple(token_ids.shape)} positions, but it "
        f"is {real.dtype} of shape {tuple(real.shape)}.",
    )
    refuse(
        cache is not None,
        "A cache does not remember which of its tokens were padding: continue texts of different "
        "lengths one by one, or without a cache.",
    )


def _build_block(config: ModelConfig, has_experts: bool) -> Block:
    scale = (2 * config.n_layers) ** -0.5
    attention = Attention(config.d_model, config.attention, config.norm_eps, scale)
    if has_experts:
        ffn = FusedMoE.build(config.d_model, config.moe, scale)
    else:
        ffn = DenseFFN(config.d_model, config.d_ff_dense, config.activation, scale)
    return Block(config.d_model, attention, ffn, config.norm_eps)
