"""Exercise 13.5: selectors with one fault each, and one without."""

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
    reference = Bigrams(mixed(seed, 1), spread=2.0).eval()
    model = Bigrams(mixed(seed, 2), spread=2.0, dropout=0.75)
    if seed % 2:  # what is hard for the learner is harder still for the reference
        reference.table.data = 2.5 * model.table.data + 0.5 * reference.table.data
        model.eval()
    candidates = Chain(seed).batch(N_CANDIDATES, 3)
    known = candidates, row_losses(reference, candidates)  # it is asked for the same rows again
    return {
        "make": lambda: Suspect(reference, fault, seed, known),
        "model": model,
        "reference": reference,
        "candidates": candidates,
        "n_chosen": N_CHOSEN,
    }
