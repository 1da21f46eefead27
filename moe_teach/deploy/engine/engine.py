"""The engine: requests in, tokens out, one step at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moe_teach.config.refusal import refuse, refuse_non_positive
from moe_teach.deploy.engine.cache import Piece, SlotCache
from moe_teach.deploy.engine.forward import pass_through, serving
from moe_teach.deploy.engine.requests import FinishReason, Request, Token
from moe_teach.deploy.engine.sampling import choose, log_probs
from moe_teach.deploy.engine.scheduler import Scheduler, Text
from moe_teach.deploy.engine.stats import Stats, StepRecord
from moe_teach.deploy.engine.swap import ExpertSwap
from moe_teach.nn.model import Model
from moe_teach.types import ExpertWeights, Routing


class Engine:
    """Serve many requests with one model by continuous batching (Orca, Yu et al., OSDI 2022).

    A request gets a slot as soon as one is free, and leaves it with its last token: nobody waits
    for a batch to fill or to end. Greedy answers are those that `train.generate` gives to each
    request alone, whoever else is served, up to the rounding of sums in another order.

    The engine shares the model's weights and does not copy them; the model's mode and capacity
    stay as they are. No expert is ever full here: a capacity would let neighbours decide.

    Args:
        model: whose routers let tokens choose.
        n_slots: how many requests are worked on at once.
        max_waiting: how many more may wait; None for any number.
        prefill_chunk: how many tokens of prompts are read in one step at most.

    Raises:
        ValueError: a number below 1, or a model in which experts choose.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_slots: int = 8,
        max_waiting: int | None = None,
        prefill_chunk: int = 256,
    ) -> None:
        refuse_non_positive(n_slots=n_slots, prefill_chunk=prefill_chunk)
        refuse(
            max_waiting is not None and max_waiting < 0,
            f"max_waiting must not be negative, but it is {max_waiting}.",
        )
        self._model = serving(model)
        self._forward = pass_through(self._model)
        like = model.embedding.weight.detach()
        self._cache = SlotCache(model.config, n_slots, like)
        self._scheduler = Scheduler(
            n_slots=n_slots, max_waiting=max_waiting, prefill_chunk=prefill_chunk
        )
        self._swap = ExpertSwap(self._model)
        n_experts = model.config.moe.router.n_experts if model.config.moe else 0
        n_layers = sum(model.config.layer_has_experts)
        self.stats = Stats(tokens_per_expert=[[0] * n_experts for _ in range(n_layers)])

    @property
    def has_work(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._scheduler.waiting or self._scheduler.running)

    @property
    def n_waiting(self) -> int:
        """How many requests have no slot yet."""
        return len(self._scheduler.waiting)

    @property
    def n_running(self) -> int:
        """How many slots are taken."""
        return len(self._scheduler.running)

    @property
    def n_slots(self) -> int:
        """How many requests are worked on at once."""
        return self._scheduler.n_slots

    @property
    def version(self) -> int:
        """Which weights are served: 0 for the model as it was given, one more for each change."""
        return self._swap.version

    def submit(self, request: Request) -> None:
        """Queue a request; it gets a slot in a later step.

        Raises:
            ValueError: if it can never be answered, or its id is taken.
            EngineFull: if it could be answered, but not now.
        """
        longest, n_given = self._model.config.max_seq_len, len(request.prompt)
        n_tokens = request.sampling.max_tokens
        room = max(longest + 1 - n_given, 0)  # the last token is written and never read
        refuse(
            n_tokens > room,
            f"The prompt has {n_given} tokens and the model was built for at most {longest}, so "
            f"it can add {room}, not {n_tokens}: shorten the prompt or lower max_tokens.",
        )
        self._model.demand_ids(torch.tensor(request.prompt))
        refuse(
            self._scheduler.knows(request.id),
            f"A request with the id {request.id!r} waits or runs already: give each its own.",
        )
        self._scheduler.queue(request)

    def cancel(self, request_id: str) -> None:
        """End a request now and free its slot; one that has ended already is left in peace."""
        if self._scheduler.knows(request_id):
            self._end(request_id, "cancelled")

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """Admit who waits, read what is planned in one forward pass, and return the new tokens.

        At most one token for each running request. If the model fails, nothing counts as read and
        the requests stay where they are.
        """
        self._scheduler.admit()
        plan = self._scheduler.plan()
        if not plan:
            return []
        texts, pieces = zip(*plan, strict=True)
        try:
            logits, routings, rows = self._read(texts, pieces)
        except BaseException:
            for text in texts:
                self._cache.forget(text.slot, text.n_read)
            raise
        self._count(texts, pieces, routings)
        for text, piece in plan:
            text.n_read += piece.n_tokens
        return self._answers([text for text in texts if not text.n_unread], logits, routings, rows)

    def replace_expert(self, layer: int, expert: int, weights: ExpertWeights) -> int:
        """Put another expert into the model, from the next step on; return the new version.

        The matrices are copied into the model that the engine was given. What running requests
        have in their cache was computed with the old expert and stays.

        Args:
            layer: which MoE layer, counted from 0 without the dense ones, as in a trace.
            expert: which of its experts.
            weights: matrices of one expert, (1, F, D) and (1, D, F), in the model's dtype.

        Raises:
            ValueError: if there is no such expert, or shapes, dtypes or numbers do not serve;
                nothing was changed then.
        """
        return self._swap.replace(layer, expert, weights)

    def roll_back(self) -> int:
        """Undo the latest replacement that was not undone yet; return the new version.

        Raises:
            ValueError: if there is none.
        """
        return self._swap.roll_back()

    def _read(
        self, texts: Sequence[Text], pieces: Sequence[Piece]
    ) -> tuple[Tensor, list[Routing], list[int]]:
        ids: list[int] = []
        ends = []  # the rows that predict: the last token of every text that is read to its end
        for text, piece in zip(texts, pieces, strict=True):
            ids += text.tokens[text.n_read : text.n_read + piece.n_tokens]
            if piece.n_tokens == text.n_unread:
                ends.append(len(ids) - 1)
        device = self._cache.keys.device
        token_ids, wanted = (torch.tensor(numbers, device=device) for numbers in (ids, ends))
        reading = self._cache.reading(pieces)
        return *self._forward(token_ids, reading, wanted.long()), ends

    def _answers(
        self, texts: Sequence[Text], logits: Tensor, routings: list[Routing], rows: list[int]
    ) -> list[Token]:
        if not texts:
            return []
        wishes = [text.request.sampling for text in texts]
        chosen = choose(logits, wishes, [text.luck for text in texts])
        told = log_probs(logits, chosen, [text.request.n_alternatives for text in texts])
        tokens = []
        for text, token_id, likely, row in zip(texts, chosen, told, rows, strict=True):
            index = text.n_new
            text.tokens.append(token_id)
            finish = _reason_to_finish(text)
            traced = _trace(routings, row) if text.request.trace else (None, None)
            token = Token(
                request_id=text.request.id,
                index=index,
                token_id=token_id,
                logprob=likely[0],
                version=self.version,
                finish=finish,
                experts=traced[0],
                gates=traced[1],
                alternatives=likely[1],
            )
            tokens.append(token)
            if finish is not None:
                self._end(text.request.id, finish)
        return tokens

    def _end(self, request_id: str, reason: FinishReason) -> None:
        slot = self._scheduler.leave(request_id)
        if slot is not None:
            self._cache.forget(slot)
        self.stats.n_finished[reason] += 1

    def _count(
        self, texts: Sequence[Text], pieces: Sequence[Piece], routings: list[Routing]
    ) -> None:
        speaking = sum(text.n_new > 0 for text in texts)
        loads = [
            torch.bincount(r.expert_ids.flatten(), minlength=r.n_experts).tolist() for r in routings
        ]
        record = StepRecord(
            n_prefilled=sum(piece.n_tokens for piece in pieces) - speaking,
            n_decoded=speaking,
            n_running=self.n_running,
            n_waiting=self.n_waiting,
            distinct_experts=tuple(sum(n > 0 for n in load) for load in loads),
        )
        self.stats.add(record, loads)


def _reason_to_finish(text: Text) -> FinishReason | None:
    wish = text.request.sampling
    if text.tokens[-1] in wish.stop_ids:
        return "stop"
    return "length" if text.n_new == wish.max_tokens else None


def _trace(
    routings: list[Routing], row: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[float, ...], ...]]:
    """Name the experts and gates of one row, layer by layer."""
    experts = tuple(tuple(routing.expert_ids[row].tolist()) for routing in routings)
    return experts, tuple(tuple(routing.gates[row].tolist()) for routing in routings)
