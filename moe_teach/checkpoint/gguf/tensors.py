"""The tensors of a model under the names that llama.cpp looks for, one by one."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from moe_teach.checkpoint.gguf.architectures import Architecture
from moe_teach.checkpoint.layouts.changes import interleaved
from moe_teach.nn.attention import Attention
from moe_teach.nn.feed_forward import FeedForward, GatedFeedForward
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


class Named(NamedTuple):
    """A tensor as the model holds it, and its name in the file.

    `of_experts` marks the matrices of routed experts, `turned_by` the width of the heads whose
    rows are reordered on their way into the file.
    """

    name: str
    tensor: Tensor
    of_experts: bool = False
    turned_by: int | None = None

    def content(self) -> Tensor:
        """Return what the file holds, on the CPU."""
        tensor = self.tensor.detach().cpu()
        return tensor if self.turned_by is None else interleaved(tensor, self.turned_by)


def named_tensors(model: Model, architecture: Architecture) -> Iterator[Named]:
    """Give every tensor of the file in its order; none is copied before it is asked for."""
    yield Named("token_embd.weight", model.embedding.weight)
    yield Named("output_norm.weight", model.norm.weight)
    if not model.config.tie_embeddings or architecture.repeats_embedding:
        yield Named("output.weight", model.unembedding.weight)
    before_ffn = "post_attention_norm" if architecture.post_norm_name else "ffn_norm"
    for layer, block in enumerate(model.blocks):
        prefix = f"blk.{layer}."
        yield Named(f"{prefix}attn_norm.weight", block.attention_norm.weight)
        yield Named(f"{prefix}{before_ffn}.weight", block.ffn_norm.weight)
        yield from _attention(prefix, block.attention, architecture)
        if isinstance(block.ffn, MoE):
            yield from _moe(prefix, block.ffn, architecture)
        else:
            yield from _feed_forward(prefix, block.ffn, "")


def _attention(prefix: str, attention: Attention, architecture: Architecture) -> Iterator[Named]:
    d_head = attention.config.d_head
    for name, turned in (("q", True), ("k", True), ("v", False)):
        for leaf, tensor in attention.get_submodule(f"{name}_proj").named_parameters():
            turned_by = d_head if turned and architecture.turns_neighbours else None
            yield Named(f"{prefix}attn_{name}.{leaf}", tensor, turned_by=turned_by)
    yield Named(f"{prefix}attn_output.weight", attention.o_proj.weight)
    for name in ("q_norm", "k_norm"):
        norm = getattr(attention, name)
        if norm is not None:
            yield Named(f"{prefix}attn_{name}.weight", norm.weight)


def _moe(prefix: str, ffn: MoE, architecture: Architecture) -> Iterator[Named]:
    yield Named(f"{prefix}ffn_gate_inp.weight", ffn.router.proj.weight)
    if architecture.selection_bias:
        yield Named(f"{prefix}exp_probs_b.bias", ffn.router.expert_bias)
    for name in ("gate", "up", "down"):
        matrices = getattr(ffn.experts, f"w_{name}")
        yield Named(f"{prefix}ffn_{name}_exps.weight", matrices, of_experts=True)
    if ffn.shared_expert is not None:
        yield from _feed_forward(prefix, ffn.shared_expert, "_shexp")
        if isinstance(ffn.shared_expert, GatedFeedForward):
            by_token = ffn.shared_expert.w_token.weight.squeeze(0)
            yield Named(f"{prefix}ffn_gate_inp_shexp.weight", by_token)


def _feed_forward(prefix: str, ffn: FeedForward, suffix: str) -> Iterator[Named]:
    for name in ("gate", "up", "down"):
        yield Named(f"{prefix}ffn_{name}{suffix}.weight", getattr(ffn, f"w_{name}").weight)
