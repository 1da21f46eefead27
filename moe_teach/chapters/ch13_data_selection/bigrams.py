"""Chapter 13: a stream so small that a run with selection takes a fraction of a second.

Rows of letters from a chain in which each letter has a few likely successors, rows that repeat one
letter, and rows drawn evenly, which teach nothing. The model is a table: what follows a letter.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.data.batches import Batch
from moe_teach.seeding import mixed
from moe_teach.train.selector import Selector, row_losses, selected

LETTERS, REPEATED = 40, 8  # letters of the chain and of the junk; letters that are only repeated
LENGTH, CHOSEN, CANDIDATES, STEPS, RATE = 16, 8, 40, 80, 0.1
SHARES = (0.15, 0.25, 0.6)  # chain, repeated, junk
ASKED = (0.5, 0.5)  # what the reference learns from, and what a run is asked about
N_ASKED = 128


class Answer(NamedTuple):
    """What a model answers, by the name that the loop asks for."""

    logits: Float[Tensor, "B S V"]


class Bigrams(nn.Module):
    """Knows for each letter which follows; in training, dropout hides part of what it knows."""

    def __init__(self, seed: int, *, dropout: float = 0.0, spread: float = 0.0) -> None:
        super().__init__()
        n = LETTERS + REPEATED
        start = torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
        self.table = nn.Parameter(spread * start)
        self.hiding = nn.Dropout(dropout)

    def forward(self, inputs: Int[Tensor, "B S"]) -> Answer:
        """Return the logits of what follows each letter."""
        return Answer(self.hiding(F.embedding(inputs, self.table)))


@dataclass(frozen=True)
class Chain:
    """The world: of each letter, the probabilities of its successors; a pure function of a seed."""

    seed: int

    def rows(self, kinds: Int[Tensor, " n"], drawn: torch.Generator) -> Int[Tensor, "n length"]:
        """Draw a row of each kind: 0 from the chain, 1 repeated, 2 junk."""
        n = len(kinds)
        follows = torch.Generator().manual_seed(mixed(self.seed, 1))
        likely = torch.rand(LETTERS, LETTERS, generator=follows).argsort(1)[:, :3]
        chain = [torch.randint(LETTERS, (n,), generator=drawn)]
        junk = torch.randint(LETTERS, (n, LENGTH + 1), generator=drawn)
        turns = torch.randint(3, (n, LENGTH), generator=drawn)
        errs = torch.rand(n, LENGTH, generator=drawn) < 0.05
        for i in range(LENGTH):
            chain.append(torch.where(errs[:, i], junk[:, i], likely[chain[-1], turns[:, i]]))
        repeated = (LETTERS + junk[:, :1] % REPEATED).expand(-1, LENGTH + 1)
        return torch.stack([torch.stack(chain, 1), repeated, junk])[kinds, torch.arange(n)]

    def batch(self, n: int, *numbers: int, shares: tuple[float, ...] = SHARES) -> Batch:
        """Draw a batch, a pure function of the numbers."""
        drawn = torch.Generator().manual_seed(mixed(self.seed, *numbers))
        kinds = torch.multinomial(torch.tensor(shares), n, replacement=True, generator=drawn)
        rows = self.rows(kinds, drawn)
        return Batch(rows[:, :-1], rows[:, 1:], kinds)


@cache
def reference(seed: int) -> Bigrams:
    """Train the reference on clean rows of the same world; its rows are not the stream's."""
    model = Bigrams(mixed(seed, 2))
    chain = Chain(seed)
    _train(model, [chain.batch(CHOSEN, 3, step, shares=ASKED) for step in range(STEPS)])
    return model.eval()


def _train(model: Bigrams, batches: Any) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    with torch.enable_grad():
        for batch in batches:
            optimizer.zero_grad()
            logits = batch.through(model.train()).logits
            F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
            optimizer.step()


def loss_after(selector: Selector | None, seed: int) -> float:
    """Train a model on the chosen rows of the stream; return its loss on clean rows in nats.

    Without a selector, on the first rows of each step: all rows come in no order.
    """
    chain, model = Chain(seed), Bigrams(mixed(seed, 4))

    def chosen() -> Any:
        for step in range(STEPS):
            batch = chain.batch(CANDIDATES, 5, step)
            hidden = Batch(batch.inputs, batch.targets, torch.zeros_like(batch.domain_ids))
            if selector is None:
                yield hidden.map(lambda rows: rows[:CHOSEN])
            else:
                yield selected(selector, model, hidden, CHOSEN, step)

    _train(model, chosen())
    asked = chain.batch(N_ASKED, 6, shares=ASKED)
    return float(row_losses(model, asked).mean())
