"""Exercise 14.6: policies that miss the goal or cheat, and others that reach it."""

import random
from typing import ClassVar

from moe_teach.chapters.ch14_memory.my_policy import EXERCISE


class _Policy:
    """A score that halves, and a discount for layers that are far from being asked."""

    per_layer, half_life, discount = False, 20.0, 0.5

    def __init__(self, n_layers, n_experts):
        self.n_layers, self.score, self.step, self.layer = n_layers, {}, 0, 0

    def use(self, key, step):
        self.step, self.layer = step, key.layer
        rest, then = self.score.get(key, (0.0, step))
        self.score[key] = rest * 2 ** ((then - step) / self.half_life) + 1, step

    def worth(self, key):
        if key not in self.score:
            return -1.0
        rest, then = self.score[key]
        ahead = (key.layer - self.layer - 1) % self.n_layers
        now = rest * 2 ** ((then - self.step) / self.half_life)
        return now * (1 - self.discount * ahead / self.n_layers)


@EXERCISE.wrong(stage="goal", says="40.31%. The goal is at least 49%")
class LeastRecentlyUsed(_Policy):
    def __init__(self, n_layers, n_experts):
        super().__init__(n_layers, n_experts)
        self.clock = 0

    def use(self, key, step):
        self.clock += 1
        self.score[key] = self.clock

    def worth(self, key):
        return self.score.get(key, 0)


@EXERCISE.wrong(stage="goal", says="LFU never forgets")
class LeastFrequentlyUsed(_Policy):
    half_life, discount = 1e6, 0.0


@EXERCISE.wrong(stage="goal", says="48.")
class OnlyForgets(_Policy):
    half_life, discount = 32.0, 0.0


@EXERCISE.wrong(stage="goal", says="The goal is at least")
class DiscountsTheWrongLayers(_Policy):
    def worth(self, key):
        ahead = (key.layer - self.layer - 1) % self.n_layers
        return super().worth(key) * (1 + ahead)


@EXERCISE.wrong(stage="three names", says="cannot be sorted")
class GivesNothingForTheUnknown(_Policy):
    def worth(self, key):
        return super().worth(key) if key in self.score else None


@EXERCISE.wrong(stage="three names", says="has no `per_layer`")
class SaysNothingAboutTheBudget:
    def __init__(self, n_layers, n_experts):
        pass

    def use(self, key, step):
        pass

    def worth(self, key):
        return 0


@EXERCISE.wrong(stage="the same again", says="Chance is at work")
class DrawsLots(_Policy):
    def worth(self, key):
        return random.random()


@EXERCISE.wrong(stage="the same again", says="left something to the next")
class RemembersTheLastRun(_Policy):
    kept: ClassVar[dict] = {}

    def __init__(self, n_layers, n_experts):
        super().__init__(n_layers, n_experts)
        self.score = self.kept


@EXERCISE.right
class WithADiscount(_Policy):
    pass


@EXERCISE.right
class TwoHalfLives(_Policy):
    def __init__(self, n_layers, n_experts):
        self.parts = [_Policy(n_layers, n_experts) for _ in range(2)]
        for part, half_life in zip(self.parts, (12.0, 100.0), strict=True):
            part.half_life, part.discount = half_life, 0.7

    def use(self, key, step):
        for part in self.parts:
            part.use(key, step)

    def worth(self, key):
        fast, slow = (part.worth(key) / part.half_life for part in self.parts)
        return 0.6 * fast + 0.4 * slow


@EXERCISE.right
class EachLayerForItself(_Policy):
    per_layer, half_life, discount = True, 32.0, 0.0
