"""Exercise 13.5: selectors with one fault each, and one without."""

from functools import lru_cache
from itertools import chain, count
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.chapters.ch13_data_selection.bigrams import Bigrams, Chain
from moe_teach.data.batches import Batch
from moe_teach.data.selection.choosing import choose_independently
from moe_teach.data.selection.scores import learnability
from moe_teach.seeding import mixed
from moe_teach.train.selector import row_losses

FAULTS = ("left asleep", "twice", "awake", "history", "no step", "sign")
N_CANDIDATES, N_CHOSEN, SCALE = 40, 8, 3.0
N_STEPS = 6  # in which luck is to be seen
Known = tuple[Batch, Float[Tensor, " B"]]  # candidates and the reference's losses of them


class Suspect:
    """Draws rows by their learnability, with a fault or with none."""

    def __init__(self, reference: nn.Module, fault: str, seed: int, known: Known) -> None:
        self.reference, self.fault, self.seed, self.known = reference, fault, seed, known
        self.drawn = torch.Generator().manual_seed(seed)

    def choose(
        self, model: nn.Module, candidates: Batch, n_chosen: int, step: int
    ) -> Int[Tensor, " n_chosen"]:
        """Score all candidates and draw rows of them."""
        if self.fault == "left asleep":
            model.eval()
        losses = _losses_as_it_is if self.fault == "awake" else row_losses
        rows, theirs = self.known
        if candidates is not rows:
            theirs = row_losses(self.reference, candidates)
        scores = learnability(losses(model, candidates), theirs)
        if self.fault == "sign":
            scores = -scores
        if self.fault == "no step":
            self.drawn.manual_seed(self.seed)
        elif self.fault != "history":
            self.drawn.manual_seed(mixed(self.seed, step))
        if self.fault == "twice":
            odds = (SCALE * scores).softmax(0)
            return torch.multinomial(odds, n_chosen, replacement=True, generator=self.drawn)
        return choose_independently(scores, n_chosen, self.drawn, scale=SCALE)


@torch.no_grad()
def _losses_as_it_is(model: nn.Module, batch: Batch) -> Float[Tensor, " B"]:
    logits = batch.through(model).logits
    return F.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none").mean(1)


def case(fault: str, seed: int) -> dict[str, Any]:
    """Make a suspect, a learner that hides most of what it knows in training, and candidates."""
    number = _telling(seed)
    model, reference, candidates, theirs = _parts(number, seed % 2 == 1)
    return {
        "make": lambda: Suspect(reference, fault, number, (candidates, theirs)),
        "model": model,
        "reference": reference,
        "candidates": candidates,
        "n_chosen": N_CHOSEN,
    }


def _parts(number: int, is_upside_down: bool) -> tuple[Bigrams, Bigrams, Batch, Tensor]:
    """Give learner, reference, candidates, and the reference's losses of these."""
    reference = Bigrams(mixed(number, 1), spread=2.0).eval()
    model = Bigrams(mixed(number, 2), spread=2.0, dropout=0.75)
    if is_upside_down:  # what is hard for the learner is harder still for the reference
        reference.table.data = 2.5 * model.table.data + 0.5 * reference.table.data
        model.eval()
    candidates = Chain(number).batch(N_CANDIDATES, 3)
    return model, reference, candidates, row_losses(reference, candidates)


@lru_cache(maxsize=256)
def _telling(seed: int) -> int:
    """Give the seed, or the first number drawn from it whose suspects can be told apart."""
    numbers = chain([seed], (mixed(seed, attempt) for attempt in count(1)))
    return next(number for number in numbers if _shows_luck(number, seed % 2 == 1))


def _shows_luck(number: int, is_upside_down: bool) -> bool:
    """Tell whether steps take other rows, and a draw that puts rows back takes some twice.

    With some numbers eight rows stand out so far that every step takes them; with others eight
    that were put back are different ones by chance.
    """
    model, reference, candidates, theirs = _parts(number, is_upside_down)

    def taken(fault: str) -> list[frozenset[int]]:
        suspect = Suspect(reference, fault, number, (candidates, theirs))
        choices = (suspect.choose(model, candidates, N_CHOSEN, step) for step in range(N_STEPS))
        return [frozenset(rows.tolist()) for rows in choices]

    changes = all(len(set(taken(fault))) > N_STEPS // 2 for fault in ("", "sign"))
    return changes and all(len(rows) < N_CHOSEN for rows in taken("twice"))
