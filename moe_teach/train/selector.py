"""Selection as a part of the loop: of a super-batch, the examples that a step learns from.

    selector = ScoreSelector("learnability", n_candidates=80, reference=model_trained_before)
    train(model, Batches(ids, batch_size=80, seq_len=64), config, selector=selector)

The batches are then of `n_candidates` rows, and `config.batch_size` says how many are chosen. A
choice depends on the weights, the candidates, the seed and the step, and on nothing else: a run
that goes on after a stop chooses what it would have chosen.
"""

from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.checkpoint.digests import digest_of_tensors
from moe_teach.config import ModelConfig, refuse
from moe_teach.cost.compute import forward_flops
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.data.selection.choosing import choose_independently
from moe_teach.data.selection.scores import (
    easy_for_the_reference,
    hard_for_the_learner,
    learnability,
)
from moe_teach.nn.mode import in_evaluation
from moe_teach.seeding import mixed

Rule = Literal["even", "learnability", "easy", "hard"]
WITH_REFERENCE = ("learnability", "easy")


@runtime_checkable
class Selector(Protocol):
    """What the loop asks of a selector."""

    n_candidates: int

    @property
    def name(self) -> str:
        """All that a choice depends on, in a word: another name is another run."""
        ...

    def choose(
        self, model: nn.Module, candidates: Batch, n_chosen: int, step: int
    ) -> Int[Tensor, " n_chosen"]:
        """Return the rows that a step learns from."""
        ...


class ScoreSelector:
    """Draws rows by a score of each, as `moe_teach.data.selection` defines them.

    Args:
        rule: "learnability", "easy" for the reference, "hard" for the learner, or "even", which
            looks at nothing and is the control: as many candidates, drawn at random.
        n_candidates: rows that are looked at.
        reference: trained before on text known to be good; it is not trained here.
        scale: how sharply a score decides, per nat of a row's mean loss.
        seed: of the draws.

    Raises:
        ValueError: the rule needs a reference, and there is none.
    """

    def __init__(
        self,
        rule: Rule,
        n_candidates: int,
        reference: nn.Module | None = None,
        *,
        scale: float = 8.0,
        seed: int = 0,
    ) -> None:
        refuse(
            rule in WITH_REFERENCE and reference is None,
            f"The rule {rule!r} compares with a reference: give the model that was trained before.",
        )
        self.rule, self.n_candidates, self.reference = rule, n_candidates, reference
        self.scale, self.seed = scale, seed

    @property
    def name(self) -> str:
        """All that a choice depends on, beside the learner's weights and the candidates."""
        said = f"{self.rule}-{self.n_candidates}-{self.scale:g}-{self.seed}"
        if self.rule not in WITH_REFERENCE:
            return said
        # A run that went on with another reference would be neither run.
        return f"{said}-{digest_of_tensors(self.reference.state_dict().items())[:12]}"

    def choose(
        self, model: nn.Module, candidates: Batch, n_chosen: int, step: int
    ) -> Int[Tensor, " n_chosen"]:
        """Score all candidates and draw rows of them, on the device of the candidates."""
        scores = self._scores(model, candidates)
        drawn = torch.Generator().manual_seed(mixed(self.seed, step))
        chosen = choose_independently(scores, n_chosen, drawn, scale=self.scale)
        return chosen.to(candidates.inputs.device)

    def _scores(self, model: nn.Module, candidates: Batch) -> Float[Tensor, " n"]:
        if self.rule == "even":
            return torch.zeros(len(candidates.inputs))
        if self.rule == "hard":
            return hard_for_the_learner(row_losses(model, candidates))
        theirs = row_losses(self.reference, candidates)
        if self.rule == "easy":
            return easy_for_the_reference(theirs)
        return learnability(row_losses(model, candidates), theirs)


def scoring_flops(rule: Rule, learner: ModelConfig, reference: ModelConfig, seq_len: int) -> int:
    """Return the floating-point operations of scoring one candidate of `seq_len` tokens.

    Forward passes of whom the rule asks. That the reference was trained is not in it: add
    `training_flops` once.
    """
    asked = {
        "even": (),
        "hard": (learner,),
        "easy": (reference,),
        "learnability": (learner, reference),
    }[rule]
    return sum(forward_flops(config, seq_len // 2) for config in asked) * seq_len


@torch.no_grad()
def row_losses(model: nn.Module, batch: Batch) -> Float[Tensor, " B"]:
    """Return each row's mean loss in nats per token, over the targets that are asked for.

    In evaluation mode, so that a score is no lottery; the model's mode is left as it was. A row
    that asks for nothing has a loss of zero.
    """
    here = batch.to(next(model.parameters()).device)
    with in_evaluation(model):
        logits = here.through(model).logits.float()
    losses = F.cross_entropy(
        logits.transpose(1, 2), here.targets, ignore_index=NO_TARGET, reduction="none"
    )
    asked = (here.targets != NO_TARGET).sum(1)
    return (losses.sum(1) / asked.clamp(min=1)).cpu()


def selected(selector: Selector, model: nn.Module, candidates: Batch, n: int, step: int) -> Batch:
    """Return the chosen rows of a super-batch.

    Raises:
        ValueError: the batch has another number of rows than the selector looks at.
    """
    refuse(
        len(candidates.inputs) != selector.n_candidates,
        f"The selector looks at {selector.n_candidates} rows, and the batches have "
        f"{len(candidates.inputs)}: give both the same number.",
    )
    chosen = selector.choose(model, candidates, n, step)
    return candidates.map(lambda rows: rows[chosen])
