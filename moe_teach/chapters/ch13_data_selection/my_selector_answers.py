"""Exercise 13.6: selectors that miss the goal or disturb a run, and others that reach it."""

import math

import torch

from moe_teach.chapters.ch13_data_selection.my_selector import EXERCISE
from moe_teach.data.selection.choosing import choose_independently
from moe_teach.seeding import mixed
from moe_teach.train.selector import ScoreSelector, row_losses


class _Selector:
    """Draws by learnability, each part of which may be another."""

    scale = 8.0

    def __init__(self, n_candidates, reference, seed):
        self.n_candidates, self.reference, self.seed = n_candidates, reference, seed

    @property
    def name(self):
        return f"mine-{self.n_candidates}-{self.seed}"

    def scores(self, model, candidates):
        return row_losses(model, candidates) - row_losses(self.reference, candidates)

    def drawn(self, step):
        return torch.Generator().manual_seed(mixed(self.seed, step))

    def choose(self, model, candidates, n_chosen, step):
        scores = self.scores(model, candidates)
        return choose_independently(scores, n_chosen, self.drawn(step), scale=self.scale)


@EXERCISE.wrong(stage="what the loop asks for", says="has no `name`")
class Nameless:
    def __init__(self, n_candidates, reference, seed):
        self.n_candidates = n_candidates

    def choose(self, model, candidates, n_chosen, step):
        return torch.arange(n_chosen)


@EXERCISE.wrong(stage="what the loop asks for", says="two that choose differently")
class AllOfOneName(_Selector):
    name = "mine"


@EXERCISE.wrong(stage="what the loop asks for", says="that the selector was made with")
class AlwaysLooksAt40(_Selector):
    def __init__(self, n_candidates, reference, seed):
        super().__init__(40, reference, seed)


@EXERCISE.wrong(stage="what the loop asks for", says="the places of 5 different rows")
class AlwaysChooses8(_Selector):
    def choose(self, model, candidates, n_chosen, step):
        return super().choose(model, candidates, 8, step)


@EXERCISE.wrong(stage="what the loop asks for", says="all rows, or a row twice")
class GivesTheScores(_Selector):
    def choose(self, model, candidates, n_chosen, step):
        return self.scores(model, candidates).topk(n_chosen).values


@EXERCISE.wrong(stage="the learner", says="was not taken back")
class LeavesItAsleep(_Selector):
    def choose(self, model, candidates, n_chosen, step):
        return super().choose(model.eval(), candidates, n_chosen, step)


@EXERCISE.wrong(stage="the learner", says="with dropout at work")
class ScoresItAwake(_Selector):
    @torch.no_grad()
    def scores(self, model, candidates):
        logits = model(candidates.inputs).logits.transpose(1, 2)
        losses = torch.nn.functional.cross_entropy(logits, candidates.targets, reduction="none")
        return losses.mean(1) - row_losses(self.reference, candidates)


@EXERCISE.wrong(stage="the learner", says="it came in evaluation mode")
class WakesItAlways(_Selector):
    def choose(self, model, candidates, n_chosen, step):
        chosen = super().choose(model, candidates, n_chosen, step)
        model.train()
        return chosen


@EXERCISE.wrong(stage="the learner", says="was called on a score")
class LearnsFromScores(_Selector):
    def scores(self, model, candidates):
        found = super().scores(model, candidates)
        with torch.enable_grad():
            model(candidates.inputs).logits.sum().backward()
        return found


@EXERCISE.wrong(stage="resumed", says="a resumed run would be another")
class KeepsItsGenerator(_Selector):
    def __init__(self, *given):
        super().__init__(*given)
        self.kept = torch.Generator().manual_seed(self.seed)

    def drawn(self, step):
        return self.kept


@EXERCISE.wrong(stage="chance", says="dropout in the training step draws from it")
class SeedsTheCommonGenerator(_Selector):
    def drawn(self, step):
        return torch.default_generator.manual_seed(mixed(self.seed, step))


@EXERCISE.wrong(stage="chance", says="made of the seed alone")
class ForgetsTheStep(_Selector):
    def drawn(self, step):
        return torch.Generator().manual_seed(self.seed)


@EXERCISE.wrong(stage="chance", says="made of the step alone")
class ForgetsTheSeed(_Selector):
    def drawn(self, step):
        return torch.Generator().manual_seed(step)


@EXERCISE.wrong(stage="goal", says="1.3")
class TakesWhatComes(_Selector):
    def choose(self, model, candidates, n_chosen, step):
        return torch.arange(n_chosen)


@EXERCISE.wrong(stage="goal", says="2.106 nats")
class TakesWhatIsHard(_Selector):
    def scores(self, model, candidates):
        return row_losses(model, candidates)


@EXERCISE.wrong(stage="goal", says="1.528 nats")
class TakesWhatIsEasy(_Selector):
    def scores(self, model, candidates):
        return -row_losses(self.reference, candidates)


@EXERCISE.wrong(stage="goal", says="at 1 the draw is nearly even")
class HardlyLooks(_Selector):
    scale = 1.0


@EXERCISE.right
class DrawsSharply(_Selector):
    pass


@EXERCISE.right
class DrawsLessSharply(_Selector):
    scale = 5.0


@EXERCISE.right
class TakesTheHighest(_Selector):
    scale = math.inf


@EXERCISE.right
def the_courses_own(n_candidates, reference, seed):
    return ScoreSelector("learnability", n_candidates, reference, seed=seed)
