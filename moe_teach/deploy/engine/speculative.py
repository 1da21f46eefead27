"""Speculative decoding: a small model proposes, the large one reads all proposals in one pass.

The answer is the large model's own: the same tokens where it is greedy, the same distribution
where it draws (Leviathan et al. 2023, arXiv 2211.17192, algorithm 1). What it costs a mixture of
experts is seen by counting: a pass over B rows wakes more experts than one over a single row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from moe_teach.config import refuse
from moe_teach.deploy.engine.cache import Piece, SlotCache
from moe_teach.deploy.engine.forward import pass_through, serving
from moe_teach.deploy.engine.requests import Sampling
from moe_teach.deploy.engine.sampling import draw, next_probs
from moe_teach.nn.model import Model
from moe_teach.types import Routing


@dataclass(frozen=True, kw_only=True)
class Speculated:
    """An answer, and what it took.

    Args:
        token_ids: the new tokens.
        n_passes: passes of the large model after the prompt; plain decoding needs one a token.
        n_drafted: tokens proposed.
        n_accepted: proposals that the large model kept.
        rows: how many tokens each pass read.
        distinct_experts: for each pass and MoE layer of the large model, whom it woke.
    """

    token_ids: list[int]
    n_passes: int
    n_drafted: int
    n_accepted: int
    rows: tuple[int, ...]
    distinct_experts: tuple[tuple[int, ...], ...]


class Speculator:
    """A large model and a small one of the same vocabulary, for one text at a time.

    Args:
        model: whose answers are wanted.
        draft: proposes `n_draft` tokens at a time; the better it guesses, the fewer passes.
        n_draft: at least 1.

    Raises:
        ValueError: the vocabularies differ, or a model cannot be served.
    """

    def __init__(self, model: Model, draft: Model, *, n_draft: int = 4) -> None:
        large, small = model.config.vocab_size, draft.config.vocab_size
        refuse(n_draft < 1, f"n_draft must be at least 1, but it is {n_draft}.")
        refuse(
            large != small,
            f"The draft knows {small} tokens and the model {large}: both need one tokenizer.",
        )
        self.n_draft = n_draft
        self._model, self._draft = _Reader(model), _Reader(draft)
        self._longest = min(model.config.max_seq_len, draft.config.max_seq_len)

    @torch.inference_mode()
    def generate(self, prompt: Sequence[int], sampling: Sampling) -> Speculated:
        """Continue a text; `sampling` means what it means to the engine.

        Raises:
            ValueError: there is no prompt, it holds strange ids, or the text would grow too long.
        """
        text, luck = list(prompt), Generator().manual_seed(sampling.seed)
        self._demand_room(text, sampling)
        end, rows, distinct = len(text) + sampling.max_tokens, [], []
        n_drafted = n_accepted = 0
        for reader in (self._model, self._draft):
            reader.begin(text)
        while len(text) < end and not (len(text) > len(prompt) and text[-1] in sampling.stop_ids):
            n_wanted = min(self.n_draft, end - len(text) - 1)
            proposed, guessed = self._propose(text, n_wanted, sampling, luck)
            logits, routings = self._model.read(text + proposed, n_wanted + 1)
            probs = next_probs(logits, [sampling] * len(logits))
            kept = verified(probs, guessed, proposed, luck)
            n_drafted, n_accepted = n_drafted + n_wanted, n_accepted + len(kept) - 1
            rows.append(n_wanted + 1)
            distinct.append(tuple(r.expert_ids.unique().numel() for r in routings))
            text += _until_stop(kept, sampling)
            for reader in (self._model, self._draft):
                reader.keep(len(text) - 1)
        return Speculated(
            token_ids=text[len(prompt) :],
            n_passes=len(rows),
            n_drafted=n_drafted,
            n_accepted=n_accepted,
            rows=tuple(rows),
            distinct_experts=tuple(distinct),
        )

    def _propose(
        self, text: list[int], n_tokens: int, sampling: Sampling, luck: Generator
    ) -> tuple[list[int], list[Tensor]]:
        proposed: list[int] = []
        guessed: list[Tensor] = []
        for _ in range(n_tokens):
            logits, _ = self._draft.read(text + proposed, 1)
            guessed.append(next_probs(logits, [sampling])[0])
            proposed += draw(guessed[-1][None], [luck])
        return proposed, guessed

    def _demand_room(self, text: list[int], sampling: Sampling) -> None:
        refuse(not text, "There is nothing to continue: give at least one token.")
        room = max(self._longest + 1 - len(text), 0)
        refuse(
            sampling.max_tokens > room,
            f"The prompt has {len(text)} tokens and the models read at most {self._longest}, so "
            f"they can add {room}, not {sampling.max_tokens}.",
        )
        self._model.model.demand_ids(torch.tensor(text))


def verified(
    probs: Float[Tensor, "k1 V"],
    guessed: Sequence[Float[Tensor, " V"]],
    proposed: Sequence[int],
    luck: Generator,
) -> list[int]:
    """Keep proposals while the large model agrees, and add one token of its own.

    Proposal x is kept with probability min(1, p(x) / q(x)); the first that is not is replaced by a
    draw from what q has left of p, max(p - q, 0). So each token is distributed as p, whatever q.

    Args:
        probs: p at every proposal, and after the last one.
        guessed: q, from which each proposal was drawn.
        proposed: the proposals.
        luck: decides.
    """
    kept = []
    for p, q, token in zip(probs, guessed, proposed, strict=False):
        if float(torch.rand((), generator=luck, dtype=torch.float64)) * q[token] < p[token]:
            kept.append(token)
            continue
        rest = (p - q).clamp_min(0)
        return kept + draw(rest[None] / rest.sum(), [luck])
    return kept + draw(probs[-1:], [luck])


class _Reader:
    """One model and its cache of one slot."""

    def __init__(self, model: Model) -> None:
        self.model = serving(model)
        self.forward = pass_through(self.model)
        self.cache = SlotCache(model.config, 1, model.embedding.weight.detach())

    def begin(self, prompt: list[int]) -> None:
        """Read a prompt but for its last token."""
        self.cache.forget(0)
        if len(prompt) > 1:
            self.read(prompt[:-1], 1)

    def read(self, text: list[int], n_wanted: int) -> tuple[Tensor, list[Routing]]:
        """Read what is unread of a text; return logits of its last `n_wanted` tokens."""
        unread = torch.tensor(text[self.cache.n_read[0] :], device=self.cache.keys.device)
        wanted = torch.arange(len(unread) - n_wanted, len(unread), device=unread.device)
        return self.forward(unread, self.cache.reading([Piece(0, len(unread))]), wanted)

    def keep(self, n_tokens: int) -> None:
        """Forget what was read beyond the first `n_tokens`."""
        self.cache.forget(0, min(n_tokens, self.cache.n_read[0]))


def _until_stop(kept: list[int], sampling: Sampling) -> list[int]:
    for place, token in enumerate(kept):
        if token in sampling.stop_ids:
            return kept[: place + 1]
    return kept
