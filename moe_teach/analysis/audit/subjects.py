"""Whom an audit asks: a model of the library, or one of transformers with its routers watched.

Both are asked the same things; `answering` is called with token ids and gives something that has
`.logits`.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.analysis.interventions.answers import moe_layers
from moe_teach.analysis.interventions.capacity import drop_share_by_group, with_capacity
from moe_teach.analysis.interventions.knock_out import demand_left, without, without_expert
from moe_teach.analysis.routes.hooks import blocks_of, record_hf_routes
from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.analysis.routes.rerouting import demand_reroutable, rerouted
from moe_teach.config import refuse
from moe_teach.data.batches import Batch
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.ops.capacity import apply_capacity, capacity_of
from moe_teach.types import Routing


class Own:
    """A model of the library, which returns its routings.

    Raises:
        ValueError: it has no layer with experts.
    """

    read_by = ""

    def __init__(self, model: Model) -> None:
        moe_layers(model)
        self.answering, self.longest = model, model.config.max_seq_len

    def demand_ids(self, ids: Int[Tensor, "..."]) -> None:
        """Refuse ids of another vocabulary."""
        self.answering.demand_ids(ids)

    def record(self, batches: Iterable[Batch]) -> RouteRecord:
        """Record every token's route."""
        return record_routes(self.answering, batches)

    def without(self, layer: int, expert: int) -> AbstractContextManager[None]:
        """Close an expert for a while."""
        return without_expert(self.answering, layer, expert)

    def with_capacity(self, factor: float) -> AbstractContextManager["Own"]:
        """Give the model of the same weights whose experts take only so many rows."""
        return nullcontext(Own(with_capacity(self.answering, factor)))

    def dropped(self, texts: Int[Tensor, "B S"], beside: Int[Tensor, "N S"]) -> float:
        """Return the share of the texts' choices that find an expert full, behind others."""
        rows = torch.cat([beside, texts])
        is_text = (torch.arange(len(rows)) >= len(beside)).long()
        record = record_routes(self.answering, [Batch(rows, rows, is_text)], ("beside", "text"))
        return float(drop_share_by_group(record).overall[1])


class _Answer(NamedTuple):
    logits: Float[Tensor, "B S V"]


class _Answering(nn.Module):
    """Calls a model of transformers as ours are called."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Int[Tensor, "B S"]) -> _Answer:
        return _Answer(self.model(input_ids=token_ids, use_cache=False).logits)


class Hooked:
    """A model of transformers; its routers are watched, and told otherwise, by hooks.

    Args:
        model: a causal language model whose routers `moe_teach.analysis.routes.hooks` knows.
        read_by: what computes it, for the page.

    Raises:
        ValueError: they are not known, or there are none.
    """

    def __init__(self, model: nn.Module, read_by: str = "transformers") -> None:
        self.blocks, self.answering, self.read_by = blocks_of(model), _Answering(model), read_by
        self._kept: dict[str, Bool[Tensor, "T K"]] = {}
        config = model.config.get_text_config()
        self.longest = getattr(config, "max_position_embeddings", None) or 1 << 30

    def demand_ids(self, ids: Int[Tensor, "..."]) -> None:
        """Refuse ids of another vocabulary."""
        size = self.answering.model.get_input_embeddings().num_embeddings
        largest = int(ids.max())
        refuse(
            largest >= size,
            f"The tokenizer gives id {largest}, and the model knows {size}: they are not of one "
            "model.",
        )

    def record(self, batches: Iterable[Batch]) -> RouteRecord:
        """Record every token's route; layers have the numbers that the model gives them."""
        record = record_hf_routes(self.answering.model, batches)
        short = tuple(f"layer {at.number}" for at in self.blocks)
        return replace(record, layers=short) if len(set(short)) == len(short) else record

    @contextmanager
    def without(self, layer: int, expert: int) -> Iterator[None]:
        """Close an expert for a while."""
        at = self.blocks[layer]
        demand_reroutable(at)
        demand_left(at.moe.router, expert, at.name)
        bias = at.bias()

        def closed(routing: Routing) -> Routing:
            none = torch.zeros(routing.n_experts, device=routing.logits.device)
            return without(routing, expert, at.moe.router, none if bias is None else bias)

        with rerouted(at, closed):
            yield

    @contextmanager
    def with_capacity(self, factor: float) -> Iterator["Hooked"]:
        """Let experts take only so many rows of a batch, first come, first served, for a while."""
        with ExitStack() as stack:
            for at in self.blocks:

                def limited(routing: Routing, name: str = at.name) -> Routing:
                    sizes = len(routing.expert_ids), routing.n_experts, routing.top_k
                    other = apply_capacity(routing, capacity_of(*sizes, factor), "first_come")
                    self._kept[name] = other.kept
                    return other

                stack.enter_context(rerouted(at, limited))
            stack.callback(self._kept.clear)
            yield self

    @torch.no_grad()
    def dropped(self, texts: Int[Tensor, "B S"], beside: Int[Tensor, "N S"]) -> float:
        """Return the share of the texts' choices that find an expert full, behind others."""
        device = next(self.answering.parameters()).device
        with in_evaluation(self.answering):
            self.answering(torch.cat([beside, texts]).to(device))
        mine = [kept[beside.numel() :] for kept in self._kept.values()]
        return float((~torch.cat(mine)).double().mean()) if mine else 0.0


Subject = Own | Hooked
