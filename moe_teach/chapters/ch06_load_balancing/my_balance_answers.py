"""Exercise 6.8: rules that miss the goal or the bound, and others that reach it."""

from typing import ClassVar

import torch

from moe_teach.chapters.ch06_load_balancing.my_balance import EXERCISE


class _Rule:
    """Do nothing at all; the answers below say what they do otherwise."""

    strength, rate = 0.0, 0.0

    def __init__(self, n_experts, d_model, n_steps):
        self.n_experts, self.n_steps, self.n_seen = n_experts, n_steps, 0
        self.mean, self.moved = torch.zeros(d_model), torch.zeros(n_experts)

    def see(self, x, training):
        return x

    def loss(self, probs, expert_ids, step):
        load = torch.bincount(expert_ids.flatten(), minlength=self.n_experts) / expert_ids.numel()
        return self.strength * self.n_experts * (load * probs.mean(0)).sum()

    def bias(self, expert_ids, step):
        counts = torch.bincount(expert_ids.flatten(), minlength=self.n_experts).float()
        self.moved = self.moved + self.rate * torch.sign(counts.mean() - counts)
        return self.moved


class _Centred(_Rule):
    def see(self, x, training):
        if training:
            self.n_seen += 1
            self.mean = self.mean + (x.mean(0) - self.mean) / self.n_seen
        return x - self.mean


@EXERCISE.wrong(stage="goal", says="The goal is at least 77%")
class TheLessonsLoss(_Rule):
    strength = 0.1


@EXERCISE.wrong(stage="goal", says="times its fair share")
class NoBalancing(_Rule):
    pass


@EXERCISE.wrong(stage="goal", says="62.")
class TooMuchLoss(_Rule):
    strength = 10.0


@EXERCISE.wrong(stage="goal", says="68.5")
class TheLessonsBias(_Rule):
    rate = 0.01


@EXERCISE.wrong(stage="one token at a time", says="when others are beside it")
class CentredByItsBatch(_Rule):
    strength = 0.1

    def see(self, x, training):
        return x - x.mean(0)


@EXERCISE.wrong(stage="one token at a time", says="the second time")
class LearnsInTheTest(_Rule):
    rate = 0.01

    def see(self, x, training):
        self.n_seen += 1
        self.mean = self.mean + 1e-7 * self.n_seen
        return x - self.mean


@EXERCISE.wrong(stage="three methods", says="as many numbers for each token")
class SeesFewerFeatures(_Rule):
    def see(self, x, training):
        return x[:, 1:]


@EXERCISE.wrong(stage="three methods", says="changed the tokens themselves")
class CentresInPlace(_Rule):
    rate = 0.01

    def see(self, x, training):
        return x.sub_(x.mean())


@EXERCISE.wrong(stage="three methods", says="holds 8")
class LossOfEachExpert(_Rule):
    def loss(self, probs, expert_ids, step):
        return probs.mean(0)


@EXERCISE.wrong(stage="the same again", says="Two trainings with the same seed differ")
class RemembersTheLastTraining(_Centred):
    rate = 0.01
    kept: ClassVar[list] = []

    def __init__(self, n_experts, d_model, n_steps):
        super().__init__(n_experts, d_model, n_steps)
        self.moved = self.kept[-1] if self.kept else self.moved

    def bias(self, expert_ids, step):
        self.kept.append(super().bias(expert_ids, step))
        return self.kept[-1]


@EXERCISE.wrong(stage="the same again", says="side by side, differ")
class RemembersInTheClass(_Centred):
    rate = 0.01

    def __init__(self, n_experts, d_model, n_steps):
        super().__init__(n_experts, d_model, n_steps)
        type(self).shared = torch.zeros(n_experts)

    def bias(self, expert_ids, step):
        type(self).shared = self.shared + super().bias(expert_ids, step)
        return self.shared


@EXERCISE.wrong(stage="goal", says="71.96%")
class LearnsItsShift(_Rule):
    strength = 0.1

    def __init__(self, n_experts, d_model, n_steps):
        super().__init__(n_experts, d_model, n_steps)
        self.shift = torch.zeros(d_model, requires_grad=True)

    def see(self, x, training):
        return x - self.shift

    def bias(self, expert_ids, step):
        if self.shift.grad is not None:
            with torch.no_grad():
                self.shift -= 0.5 * self.shift.grad
            self.shift.grad = None
        return self.moved


@EXERCISE.right
class CentredWithTheLoss(_Centred):
    strength = 0.1


@EXERCISE.right
class CentredWithBoth(_Centred):
    rate, strength = 0.01, 0.03


@EXERCISE.right
class MeanOfEverySeenToken(_Rule):
    rate = 0.01

    def see(self, x, training):
        if training:
            self.mean = self.mean + x.detach().sum(0)
            self.n_seen += len(x)
        return x - self.mean / max(self.n_seen, 1)
