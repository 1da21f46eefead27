"""A decoder-only language model, built from the same `ModelConfig` that `cost` counts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import ModelConfig, refuse
from moe_teach.nn.attention import Attention, KVCache
from moe_teach.nn.block import Block
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.moe import MoE
from moe_teach.types import Routing


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Logits over the vocabulary, and one `Routing` for each MoE layer, from bottom to top."""

    logits: Float[Tensor, "B S V"]
    routings: tuple[Routing, ...]


class Model(nn.Module):
    """Embedding, blocks, norm, output projection: a Llama-like model whose layers may be MoE."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        refuse(
            config.n_encoder_layers > 0 or config.n_block_norms != 2,
            "Encoders and blocks with norms on the way out are counted by moe_teach.cost but not "
            "built by moe_teach.nn: leave n_encoder_layers and n_block_norms at their defaults.",
        )
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(
            _build_block(config, has_experts) for has_experts in config.layer_has_experts
        )
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Make the first loss log(vocab_size), and keep the residual stream from growing.

        Small embeddings leave the first logits near zero, so no token is preferred. What each of
        the 2 * n_layers branches adds to the stream is scaled by 1 / sqrt(2 * n_layers), as in
        GPT-2, so that depth does not raise its variance.
        """
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.unembedding.weight, std=0.02)
        if self.config.tie_embeddings:
            self.unembedding.weight = self.embedding.weight
        for name, parameter in self.named_parameters():
            if "o_proj.weight" in name or "w_down" in name:
                parameter.mul_((2 * self.config.n_layers) ** -0.5)

    def new_cache(self) -> KVCache:
        """Return an empty cache, to be handed to every call of one generation."""
        return KVCache(self.config.n_layers)

    def forward(self, token_ids: Int[Tensor, "B S"], cache: KVCache | None = None) -> ModelOutput:
        """Predict the next token at every position.

        Args:
            token_ids: a batch of sequences, or only their newest tokens when `cache` holds the
                earlier ones.
            cache: from `new_cache`; it grows by S tokens.

        Raises:
            ValueError: if a token id is outside the vocabulary or the text is too long.
        """
        self._check(token_ids, cache)
        x = self.embedding(token_ids)
        routings = []
        for layer, block in enumerate(self.blocks):
            x, routing = block(x, cache, layer, token_ids)
            if routing is not None:
                routings.append(routing)
        return ModelOutput(self.unembedding(self.norm(x)), tuple(routings))

    def _check(self, token_ids: Tensor, cache: KVCache | None) -> None:
        config = self.config
        n_tokens = token_ids.shape[-1] + (0 if cache is None else cache.n_tokens)
        refuse(
            token_ids.is_floating_point(),
            f"The model reads token ids, which are integers, but was given {token_ids.dtype}.",
        )
        refuse(
            n_tokens > config.max_seq_len,
            f"The text has {n_tokens} tokens, but the model was built for at most "
            f"{config.max_seq_len}: shorten the text or raise max_seq_len.",
        )
        if token_ids.numel():
            low, high = int(token_ids.min()), int(token_ids.max())
            refuse(
                low < 0 or high >= config.vocab_size,
                f"Token ids must lie between 0 and {config.vocab_size - 1}, but they reach from "
                f"{low} to {high}: is this the tokenizer the model was built for?",
            )


def _build_block(config: ModelConfig, has_experts: bool) -> Block:
    attention = Attention(config.d_model, config.attention, config.norm_eps)
    if has_experts:
        ffn = MoE.build(config.d_model, config.moe)
    else:
        ffn = FeedForward(config.d_model, config.d_ff_dense, config.activation)
    return Block(config.d_model, attention, ffn, config.norm_eps)
