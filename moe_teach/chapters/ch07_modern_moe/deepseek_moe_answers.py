"""Exercise 7.7: wrong answers with what they must be told, and other right ones."""

from dataclasses import replace

import torch
from torch import nn

from moe_teach.chapters.ch07_modern_moe.deepseek_moe import EXERCISE
from moe_teach.chapters.ch07_modern_moe.deepseek_parts import PARTS


class _Rule(nn.Module):
    def __init__(self, layer, n_groups=1, top_groups=1, gate_scale=2.5, **parts):
        super().__init__()
        self.layer, self.gate_scale = layer, gate_scale
        self.n_groups, self.top_groups = n_groups, top_groups
        self.rule, self.move = (parts.get(name) or PARTS[name] for name in ("rule", "move"))
        self.keep(torch.zeros(len(layer.router.weight)))
        self.take(layer)

    def keep(self, bias):
        self.register_buffer("expert_bias", bias)

    def take(self, layer):
        layer.route = self.route

    def route(self, logits, top_k, normalize_gates=True):
        groups = self.n_groups, self.top_groups
        return self.rule(logits, self.expert_bias, top_k, *groups, self.gate_scale)

    def forward(self, x, token_ids=None):
        y, routing = self.layer(x)
        return y, replace(routing, probs=routing.logits.float().sigmoid())

    @torch.no_grad()
    def update_bias(self, routing, rate):
        self.expert_bias.copy_(self.move(self.expert_bias, routing.expert_ids, rate))


@EXERCISE.wrong(stage="the bias is a buffer", says="the optimiser would train it")
class TrainsTheBias(_Rule):
    def keep(self, bias):
        self.expert_bias = nn.Parameter(bias)


@EXERCISE.wrong(stage="the bias is a buffer", says="a checkpoint would forget it")
class KeepsThePlainTensor(_Rule):
    def keep(self, bias):
        self.expert_bias = bias


@EXERCISE.wrong(stage="the bias is a buffer", says="has no favourites")
class BeginsWithARandomBias(_Rule):
    def keep(self, bias):
        self.register_buffer("expert_bias", torch.arange(len(bias)) / 100)


@EXERCISE.wrong(stage="the rule", says="returns two things")
class ReturnsTheMixtureAlone(_Rule):
    def forward(self, x, token_ids=None):
        return self.layer(x)[0]


@EXERCISE.wrong(stage="the rule", says="still asks its old route")
class LeavesTheOldRoute(_Rule):
    def take(self, layer):
        pass


@EXERCISE.wrong(stage="the rule", says="The groups have no say")
class ForgetsTheGroups(_Rule):
    def route(self, logits, top_k, normalize_gates=True):
        return self.rule(logits, self.expert_bias, top_k, gate_scale=self.gate_scale)


@EXERCISE.wrong(stage="the rule", says="The bias has no say")
class ForgetsTheBias(_Rule):
    def route(self, logits, top_k, normalize_gates=True):
        zero = torch.zeros_like(self.expert_bias)
        groups = self.n_groups, self.top_groups
        return self.rule(logits, zero, top_k, *groups, self.gate_scale)


@EXERCISE.wrong(stage="the rule", says="Is `gate_scale` handed on")
class ForgetsTheScale(_Rule):
    def route(self, logits, top_k, normalize_gates=True):
        return self.rule(logits, self.expert_bias, top_k, self.n_groups, self.top_groups)


@EXERCISE.wrong(stage="the record", says="writes a softmax there")
class LeavesTheSoftmax(_Rule):
    def forward(self, x, token_ids=None):
        return self.layer(x)


@EXERCISE.wrong(stage="bfloat16", says="the scores of the record are float32")
class ScoresInTheDtypeOfTheLogits(_Rule):
    def forward(self, x, token_ids=None):
        y, routing = self.layer(x)
        return y, replace(routing, probs=routing.logits.sigmoid())


@EXERCISE.wrong(stage="a step of the bias", says="A forward pass moved the bias")
class MovesInForward(_Rule):
    def forward(self, x, token_ids=None):
        y, routing = super().forward(x)
        self.update_bias(routing, 0.001)
        return y, routing


@EXERCISE.wrong(stage="a step of the bias", says="left the bias where it was")
class DropsTheNewBias(_Rule):
    def update_bias(self, routing, rate):
        self.move(self.expert_bias, routing.expert_ids, rate)


@EXERCISE.wrong(stage="a step of the bias", says="to another place")
class AddsTheNewBias(_Rule):
    def update_bias(self, routing, rate):
        self.expert_bias += self.move(self.expert_bias, routing.expert_ids, rate)


@EXERCISE.wrong(stage="a step of the bias", says="remembers a tensor of the beginning")
class RemembersTheFirstBias(_Rule):
    def take(self, layer):
        bias = self.expert_bias

        def route(logits, top_k, normalize_gates=True):
            groups = self.n_groups, self.top_groups
            return self.rule(logits, bias, top_k, *groups, self.gate_scale)

        layer.route = route

    def update_bias(self, routing, rate):
        self.expert_bias = self.move(self.expert_bias, routing.expert_ids, rate)


@EXERCISE.wrong(stage="a copy", says="remembers the `self`")
class RoutesByALambda(_Rule):
    def take(self, layer):
        layer.route = lambda logits, top_k, normalize_gates=True: self.route(logits, top_k)


@EXERCISE.wrong(stage="with your parts", says="With your own part `rule`, the answer to 7.5")
class BringsABrokenRule(_Rule):
    def __init__(self, *given, **parts):
        parts.setdefault("rule", lambda *args: PARTS["rule"](args[0], -args[1], *args[2:]))
        super().__init__(*given, **parts)


@EXERCISE.wrong(stage="with your parts", says="It raises ZeroDivisionError")
class BringsAMoveThatRaises(_Rule):
    def __init__(self, *given, **parts):
        parts.setdefault("move", lambda bias, ids, rate: bias + 1 / 0)
        super().__init__(*given, **parts)


@EXERCISE.wrong(stage="the laws", says='breaks the law "batch invariance"')
class CentresTheCrowd(_Rule):
    def forward(self, x, token_ids=None):
        y, routing = super().forward(x)
        is_crowd = len(x) > 20
        return (y - y.mean(dim=0) if is_crowd else y), routing


@EXERCISE.right
class WithANewBiasEachTime(_Rule):
    def update_bias(self, routing, rate):
        self.expert_bias = self.move(self.expert_bias, routing.expert_ids, rate).detach()


@EXERCISE.right
class WithAnObjectThatRoutes(_Rule):
    class Route:
        def __init__(self, moe):
            self.moe = moe

        def __call__(self, logits, top_k, normalize_gates=True):
            return self.moe.route(logits=logits, top_k=top_k)

    def take(self, layer):
        layer.route = self.Route(self)
