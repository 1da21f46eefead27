"""Chapter 13: a stream so small that a run with selection takes a fraction of a second.

Rows of letters from a chain in which each letter has a few likely successors, rows that repeat one
letter, and rows drawn evenly, which teach nothing. The model is a table: what follows a letter.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.data.batches import Batch
from moe_teach.seeding import mixed
from moe_teach.train.selector import Selector, row_losses, selected

LETTERS, REPEATED = 40, 8  # letters of the chain and of the junk; letters that are only repeated
LENGTH, CHOSEN, CANDIDATES, STEPS, RATE = 16, 8, 40, 80, 30.0
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
        likely = _successors(self.seed)
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
def _successors(seed: int) -> Int[Tensor, "letters 3"]:
    follows = torch.Generator().manual_seed(mixed(seed, 1))
    return torch.rand(LETTERS, LETTERS, generator=follows).argsort(1)[:, :3]


@cache
def reference(seed: int) -> Bigrams:
    """Make the reference of clean rows of the same world; its rows are not the stream's.

    A table of bigrams need not be trained, it can count: that is its maximum of likelihood.
    """
    model = Bigrams(mixed(seed, 2))
    batch = Chain(seed).batch(CHOSEN * STEPS, 3, shares=ASKED)
    n = len(model.table)
    counts = torch.bincount((n * batch.inputs + batch.targets).flatten(), minlength=n * n)
    model.table.data = (counts.view(n, n) + 0.1).log()
    return model.eval()


@cache
def _stream(seed: int) -> tuple[Batch, ...]:
    """Draw all super-batches of a run at once, without the kinds of their rows."""
    rows = Chain(seed).batch(CANDIDATES * STEPS, 5)
    parts = zip(rows.inputs.split(CANDIDATES), rows.targets.split(CANDIDATES), strict=True)
    return tuple(Batch(*part, torch.zeros(CANDIDATES, dtype=torch.int64)) for part in parts)


def loss_after(selector: Selector | None, seed: int) -> float:
    """Train a model on the chosen rows of the stream; return its loss on clean rows in nats.

    Without a selector, on the first rows of each step: all rows come in no order. By plain
    gradient descent: the first optimiser of torch.optim in a process imports a compiler.
    """
    model = Bigrams(mixed(seed, 4))
    for step, batch in enumerate(_stream(seed)):
        candidates = batch.map(torch.clone)  # a selector may write where it should not
        if selector is None:
            chosen = candidates.map(lambda rows: rows[:CHOSEN])
        else:
            chosen = selected(selector, model, candidates, CHOSEN, step)
        with torch.enable_grad():
            logits = chosen.through(model.train()).logits
            loss = F.cross_entropy(logits.flatten(0, 1), chosen.targets.flatten())
        (pull,) = torch.autograd.grad(loss, [model.table])
        model.table.data.sub_(pull, alpha=RATE)
    asked = Chain(seed).batch(N_ASKED, 6, shares=ASKED)
    return float(row_losses(model, asked).mean())
