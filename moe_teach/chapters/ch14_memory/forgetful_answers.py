"""Exercise 14.2: policies that forget otherwise than they should, and others that do it right."""

import math
from fractions import Fraction
from typing import ClassVar

from moe_teach.chapters.ch14_memory.forgetful import EXERCISE


class _Policy:
    """Right: log2 of the sum of 2 ** (step / half_life) over the uses."""

    per_layer = False

    def __init__(self, half_life):
        self.half_life, self.score = half_life, {}

    def use(self, key, step):
        now = step / self.half_life
        before = self.score.get(key, -math.inf)
        high = max(now, before)
        self.score[key] = high + math.log2(2 ** (now - high) + 2 ** (before - high))

    def worth(self, key):
        return self.score.get(key, -math.inf)


@EXERCISE.wrong(stage="two methods", says="has no `per_layer`")
class ForgetsToSayWhoseBudget:
    def __init__(self, half_life):
        self.score = {}

    def use(self, key, step):
        self.score[key] = step

    def worth(self, key):
        return self.score.get(key, -1)


@EXERCISE.wrong(stage="two methods", says="Asking must not fail")
class TakesTheUnknownForTheBest(_Policy):
    def worth(self, key):
        return self.score.get(key, math.inf)


@EXERCISE.wrong(stage="two methods", says="used once, in step 0")
class TakesTheUnknownForZero(_Policy):
    """As good as used once in step 0, whose logarithm is 0."""

    def worth(self, key):
        return self.score.get(key, 0.0)


@EXERCISE.wrong(stage="recent uses", says="the same however old it is")
class OnlyCounts(_Policy):
    def use(self, key, step):
        self.score[key] = self.score.get(key, 0) + 1


@EXERCISE.wrong(stage="recent uses", says="Old uses count more than new ones")
class TurnsTheExponentRound(_Policy):
    def use(self, key, step):
        self.score[key] = max(self.score.get(key, -math.inf), -step / self.half_life)


@EXERCISE.wrong(stage="many uses", says="that is LRU")
class KeepsTheLastUseOnly(_Policy):
    def use(self, key, step):
        self.score[key] = step


@EXERCISE.wrong(stage="many uses", says="that is LFU")
class CountsAndBreaksTiesByTime(_Policy):
    def use(self, key, step):
        n_uses, _ = self.score.get(key, (0, 0))
        self.score[key] = n_uses + 1, step

    def worth(self, key):
        return self.score.get(key, (0, -1))


@EXERCISE.wrong(stage="half-life", says="e instead of 2")
class ShrinksByE(_Policy):
    def use(self, key, step):
        now = step / self.half_life
        before = self.score.get(key, -math.inf)
        high = max(now, before)
        self.score[key] = high + math.log(math.exp(now - high) + math.exp(before - high))


@EXERCISE.wrong(stage="half-life", says="another factor")
class TakesTwiceTheHalfLife(_Policy):
    def __init__(self, half_life):
        super().__init__(2 * half_life)


@EXERCISE.wrong(stage="many experts", says="brought up to date")
class ForgetsTheTimeSinceTheLastUse(_Policy):
    """Shrinks a score when its expert is used, and compares scores of different ages."""

    def use(self, key, step):
        old, then = self.score.get(key, (0.0, step))
        self.score[key] = old * 2 ** ((then - step) / self.half_life) + 1, step
        self.now = step

    def worth(self, key):
        score, then = self.score.get(key, (0.0, 0))
        age = self.now - then
        return score if score > 1.9 and age < 3 else score * 2 ** (-age / self.half_life)


@EXERCISE.wrong(stage="a long run", says="After a million steps")
class OverflowsAfterAWhile(_Policy):
    def use(self, key, step):
        self.score[key] = self.score.get(key, 0.0) + 2 ** (step / self.half_life)


@EXERCISE.wrong(stage="a long run", says="all become 0")
class ShrinksDownToZero(_Policy):
    def use(self, key, step):
        old, then = self.score.get(key, (0.0, step))
        self.score[key] = old * 2 ** ((then - step) / self.half_life) + 1, step
        self.now = step

    def worth(self, key):
        score, then = self.score.get(key, (0.0, 0))
        return score * 2 ** ((then - self.now) / self.half_life) if score else -1.0


@EXERCISE.wrong(stage="looking changes nothing", says="`worth` changes what is remembered")
class LooksAndForgets(_Policy):
    def worth(self, key):
        if key in self.score:
            self.score[key] -= 1e-9
        return super().worth(key)


@EXERCISE.wrong(stage="in the simulator", says="share their memory")
class SharesItsMemory(_Policy):
    uses: ClassVar[dict] = {}

    def __init__(self, half_life):
        super().__init__(half_life)
        if half_life == 3.3 and self.uses:
            self.score = self.uses
        elif half_life == 3.3:
            self.uses.update({(0, 0): 1e3})
            self.score = self.uses


@EXERCISE.right
class ShrinksInExactNumbers:
    """Halves by whole half-lives are exact; the rest is a float, and all are compared as pairs."""

    per_layer = False

    def __init__(self, half_life):
        self.half_life, self.uses = half_life, {}

    def use(self, key, step):
        self.uses.setdefault(key, []).append(step)

    def worth(self, key):
        own = self.uses.get(key)
        if not own:
            return -math.inf
        last = own[-1]
        rest = sum(2.0 ** ((step - last) / self.half_life) for step in own)
        return last / self.half_life + math.log2(rest)


@EXERCISE.right
class KeepsMantissaAndExponent(_Policy):
    def use(self, key, step):
        whole, rest = divmod(step / self.half_life, 1)
        exponent, mantissa = self.score.get(key, (whole, 0.0))
        gap = min(whole - exponent, 1000)
        self.score[key] = whole, mantissa * 2.0**-gap + 2.0**rest

    def worth(self, key):
        if key not in self.score:
            return Fraction(-1), -math.inf
        exponent, mantissa = self.score[key]
        return Fraction(0), exponent + math.log2(mantissa)


@EXERCISE.right
class WithPartsOfNumpy(_Policy):
    def use(self, key, step):
        import numpy as np

        old = self.score.get(key, -np.inf)
        self.score[key] = np.logaddexp2(old, step / self.half_life)
