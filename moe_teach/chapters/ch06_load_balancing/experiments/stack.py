"""Chapter 06: the toy of `kinds`, many runs at once, so that ten times the steps stay affordable.

A stack holds R runs, one for each seed. Data, first weights, batches and arithmetic are those of
`train_kinds`; only the order of some sums differs.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    D_FF,
    N_TEST,
    N_TRAIN,
    SHARED,
    Choose,
    Samples,
    Setting,
    Toy,
    tokens_of_kinds,
)
from moe_teach.seeding import seeded

N_EXPERTS = 8
KEEP = 0.99  # of a threshold, from one step to the next


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A setting of the toy with one thing more, or less, than `kinds.Setting` knows.

    `learners` says which experts learn from a token: the chosen one, all of them as if each were
    chosen, or none at all. `centred` takes the mean of the training tokens off what the router
    sees, or the experts, or both. With `told` the router's gradient compares the errors of all
    experts, and no longer sees the chosen one's alone. `noise` is the standard deviation of what
    is added to the logits in training. `router_speed` multiplies the router's learning rate.
    `narrow` computes the logits in bfloat16.
    """

    load_balance_coef: float = 0.0
    z_loss_coef: float = 0.0
    bias_update_rate: float = 0.0
    router: Choose = "learned"
    learners: Literal["chosen", "all", "none"] = "chosen"
    centred: Literal["nobody", "router", "experts", "both"] = "nobody"
    told: bool = False
    noise: float = 0.0
    router_speed: float = 1.0
    shared: float = SHARED
    narrow: bool = False


@dataclass
class Stack:
    """The parameters of R runs, and what is kept beside them."""

    trial: Trial
    router: Tensor  # (R, D, E)
    w_up: Tensor  # (R, D, E * F)
    w_down: Tensor  # (R, E * F, C)
    bias: Tensor  # (R, 1, E)
    threshold: Tensor  # (R, 1, E): the lowest probability with which an expert still took a token
    mean: Tensor  # (R, 1, D): of the training tokens

    @property
    def parameters(self) -> list[Tensor]:
        """What an optimiser moves."""
        return [self.router, *([] if self.trial.learners == "none" else [self.w_up, self.w_down])]

    def seen_by(self, who: str, x: Tensor) -> Tensor:
        """Return tokens (R, T, D) as the router or the experts see them."""
        return x - self.mean if self.trial.centred in (who, "both") else x

    def logits(self, x: Tensor, *, narrow: bool | None = None) -> Tensor:
        """Score every expert for every token: (R, T, E)."""
        x = self.seen_by("router", x)
        if self.trial.narrow if narrow is None else narrow:
            return (x.bfloat16() @ self.router.bfloat16()).float()
        return x @ self.router

    def hidden(self, x: Tensor) -> Tensor:
        """Return what all experts compute first: (R, T, E * F)."""
        return (self.seen_by("experts", x) @ self.w_up).relu()

    def answers(self, hidden: Tensor) -> Tensor:
        """Return every expert's own class logits: (R, T, E, C)."""
        parts = hidden.unflatten(-1, (N_EXPERTS, D_FF)).transpose(1, 2)
        return (parts @ self.w_down.unflatten(1, (N_EXPERTS, D_FF))).transpose(1, 2)


def begin(trial: Trial, seeds: tuple[int, ...]) -> tuple[Stack, Samples]:
    """Draw the data and the first weights of every seed."""
    drawn = [tokens_of_kinds(seed, N_TRAIN + N_TEST, trial.shared) for seed in seeds]
    toys = []
    for seed in seeds:
        with seeded(seed):
            toys.append(Toy(Setting()))
    x, label, kind = (
        torch.stack([getattr(one, name) for one in drawn]) for name in ("x", "label", "kind")
    )
    stack = Stack(
        trial,
        torch.stack([toy.router.proj.weight.detach().T for toy in toys]),
        torch.stack([toy.w_up.detach().transpose(0, 1).flatten(1) for toy in toys]),
        torch.stack([toy.w_down.detach().flatten(0, 1) for toy in toys]),
        torch.zeros(len(seeds), 1, N_EXPERTS),
        torch.zeros(len(seeds), 1, N_EXPERTS),
        x[:, :N_TRAIN].mean(dim=1, keepdim=True),
    )
    return stack, Samples(x, label, kind, torch.arange(x.shape[1]))


def choose(stack: Stack, samples: Samples, probs: Tensor, *, by: Choose) -> Tensor:
    """Return which expert takes which token, (R, T, E), as zeros and ones."""
    if by == "expert choice":
        best = probs.topk(probs.shape[1] // N_EXPERTS, dim=1)
        return torch.zeros_like(probs).scatter(1, best.indices, 1.0)
    if by == "learned":
        expert_ids = (probs + stack.bias).argmax(dim=-1)
    else:
        expert_ids = (samples.number if by == "by sample" else samples.kind) % N_EXPERTS
    return F.one_hot(expert_ids, N_EXPERTS).float()


def step_loss(
    stack: Stack, samples: Samples, noise: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of every run (R,), who took which token, and the probabilities."""
    trial, logits = stack.trial, stack.logits(samples.x)
    if trial.noise:
        logits = logits + trial.noise * torch.randn(logits.shape[1:], generator=noise)
    probs = logits.softmax(dim=-1)
    taken = choose(stack, samples, probs.detach(), by=trial.router)
    gates = taken * probs if trial.router in ("learned", "expert choice") else taken
    loss = task_loss(stack, samples, gates, probs)
    if trial.load_balance_coef:
        price = taken.mean(dim=1) * probs.mean(dim=1)
        loss = loss + trial.load_balance_coef * N_EXPERTS * price.sum(dim=-1)
    if trial.z_loss_coef:
        loss = loss + trial.z_loss_coef * logits.logsumexp(dim=-1).square().mean(dim=-1)
    return loss, taken, probs.detach()


def task_loss(stack: Stack, samples: Samples, gates: Tensor, probs: Tensor) -> Tensor:
    """Return the task's cross-entropy of every run, with the control that the trial asks for."""
    trial, hidden = stack.trial, stack.hidden(samples.x)
    loud = gates.detach().sum(dim=-1, keepdim=True)  # of the chosen expert
    if trial.told:
        own = errors(loud[..., None] * stack.answers(hidden), samples.label)
        return heard(stack, hidden, gates.detach(), samples) + (
            probs * (own - own.mean(dim=-1, keepdim=True)).detach()
        ).sum(dim=-1).mean(dim=-1)
    if trial.learners != "all":
        return heard(stack, hidden, gates, samples)
    # The router's gradient as ever; and everyone learns from every token, as if it were chosen.
    every = errors(loud[..., None] * stack.answers(hidden), samples.label)
    mute = Stack(trial, stack.router, stack.w_up.detach(), stack.w_down.detach(), *[stack.bias] * 3)
    return heard(mute, hidden.detach(), gates, samples) + every.sum(dim=-1).mean(dim=-1)


def heard(stack: Stack, hidden: Tensor, gates: Tensor, samples: Samples) -> Tensor:
    """Return the cross-entropy (R,) of the answers of the chosen, weighed by their gates."""
    logits = (hidden * gates.repeat_interleave(D_FF, dim=-1)) @ stack.w_down
    return errors(logits, samples.label).mean(dim=-1)


def errors(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy of logits (R, T, ..., C) with labels (R, T): (R, T, ...)."""
    label = label.view(*label.shape, *[1] * (logits.dim() - 3)).expand(logits.shape[:-1])
    return -logits.log_softmax(dim=-1).gather(-1, label[..., None])[..., 0]
