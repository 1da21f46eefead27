"""Exercise 7.3: wrong answers with what they must be told, and other right ones."""

import torch
from torch import nn

from moe_teach.chapters.ch07_modern_moe.shared_expert_moe import EXERCISE
from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.ops.routed_ffn import routed_ffn


class _Layer(nn.Module):
    """A right answer, whose pieces the wrong ones replace."""

    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__()
        n_routed, places = n_experts - n_shared, top_k - n_shared
        config = RouterConfig(n_experts=n_routed, top_k=places, normalize_gates=places > 1)
        self.router = Router(d_model, config)
        self.experts = Experts(n_routed, d_model, d_ff)
        self.shared_expert = FeedForward(d_model, n_shared * d_ff)

    def routed(self, tokens):
        routing = self.router(tokens)
        rows, way = dispatch(tokens, routing)
        return combine(self.experts(rows, way.expert_offsets), routing.gates, way), routing

    def mixed(self, tokens, routed, routing):
        return routed + self.shared_expert(tokens)

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        routed, routing = self.routed(tokens)
        return self.mixed(tokens, routed, routing).view_as(x), routing


@EXERCISE.wrong(stage="parts", says="Give the router and `Experts` n_experts - n_shared")
class RoutesToEverybody(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        self.router = Router(d_model, RouterConfig(n_experts=n_experts, top_k=top_k - n_shared))
        self.experts = Experts(n_experts, d_model, d_ff)


@EXERCISE.wrong(stage="parts", says="The router fills the rest")
class KeepsAllPlaces(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        n_routed = n_experts - n_shared
        self.router = Router(d_model, RouterConfig(n_experts=n_routed, top_k=min(top_k, n_routed)))


@EXERCISE.wrong(stage="parts", says="Make it n_shared * d_ff wide")
class OneWidthForAll(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        self.shared_expert = FeedForward(d_model, d_ff)


@EXERCISE.wrong(stage="parts", says="has no part called `shared_expert`")
class SharedInAList(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        self.shared = [self.shared_expert]
        del self.shared_expert


@EXERCISE.wrong(stage="parts", says="side by side are one expert")
class OneModuleForEach(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        self.shared_expert = nn.ModuleList(FeedForward(d_model, d_ff) for _ in range(n_shared))


@EXERCISE.wrong(stage="form", says="does not return y and a `Routing`")
class ReturnsTheOutputOnly(_Layer):
    def forward(self, x):
        return super().forward(x)[0]


@EXERCISE.wrong(stage="form", says="y has another shape than x")
class StaysFlat(_Layer):
    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        routed, routing = self.routed(tokens)
        return self.mixed(tokens, routed, routing), routing


@EXERCISE.wrong(stage="sum", says="is missing from y")
class ForgetsTheShared(_Layer):
    def mixed(self, tokens, routed, routing):
        return routed


@EXERCISE.wrong(stage="sum", says="x was added as well")
class AddsTheResidual(_Layer):
    def mixed(self, tokens, routed, routing):
        return tokens + routed + self.shared_expert(tokens)


@EXERCISE.wrong(stage="sum", says="were averaged")
class Averages(_Layer):
    def mixed(self, tokens, routed, routing):
        return (routed + self.shared_expert(tokens)) / 2


@EXERCISE.wrong(stage="sum", says="read the output of the routed ones")
class InARow(_Layer):
    def mixed(self, tokens, routed, routing):
        return self.shared_expert(routed)


@EXERCISE.wrong(stage="sum", says="without their gates")
class ForgetsTheGates(_Layer):
    def routed(self, tokens):
        routing = self.router(tokens)
        rows, way = dispatch(tokens, routing)
        ones = torch.ones_like(routing.gates)
        return combine(self.experts(rows, way.expert_offsets), ones, way), routing


@EXERCISE.wrong(stage="gradient", says="does not reach every parameter")
class DetachesTheShared(_Layer):
    def mixed(self, tokens, routed, routing):
        return routed + self.shared_expert(tokens).detach()


@EXERCISE.wrong(stage="gradient", says="One of the ways from it to y is cut off")
class DetachesTheInputOfTheShared(_Layer):
    def mixed(self, tokens, routed, routing):
        return routed + self.shared_expert(tokens.detach())


@EXERCISE.wrong(stage="form", says="cannot be flattened by `view`")
class ViewsTheInput(_Layer):
    def forward(self, x):
        return super().forward(x.view(-1, x.shape[-1]))[0].view(x.shape), self.router(
            x.view(-1, x.shape[-1])
        )


@EXERCISE.wrong(stage="form", says="changed its input `x` in place")
class WritesIntoTheInput(_Layer):
    def forward(self, x):
        y, routing = super().forward(x)
        return x.copy_(y), routing


@EXERCISE.wrong(stage="defaults", says="An expert is no SwiGLU")
class SharesAnotherKind(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        self.shared_expert = FeedForward(d_model, n_shared * d_ff, "gelu")


@EXERCISE.wrong(stage="sum", says="otherwise in evaluation than in training")
class DropsOutInTraining(_Layer):
    def mixed(self, tokens, routed, routing):
        return nn.functional.dropout(routed + self.shared_expert(tokens), 0.1, self.training)


@EXERCISE.wrong(stage="one place", says="the constant 1")
class NormalisesALoneGate(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        self.router = Router(
            d_model, RouterConfig(n_experts=n_experts - n_shared, top_k=top_k - n_shared)
        )


@EXERCISE.right
class NeverNormalises(_Layer):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        super().__init__(d_model, n_experts, top_k, d_ff, n_shared)
        config = {"n_experts": n_experts - n_shared, "top_k": top_k - n_shared}
        self.router = Router(d_model, RouterConfig(**config, normalize_gates=False))


@EXERCISE.right
class FromTheLibrary(MoE):
    def __init__(self, d_model, n_experts, top_k, d_ff, n_shared=1):
        places = top_k - n_shared
        router = RouterConfig(
            n_experts=n_experts - n_shared, top_k=places, normalize_gates=places > 1
        )
        built = MoE.build(d_model, MoEConfig(router=router, d_ff=d_ff, n_shared_experts=n_shared))
        super().__init__(built.router, built.experts, built.shared_expert)


@EXERCISE.right
class WithTheWholeComputation(_Layer):
    def routed(self, tokens):
        routing = self.router(tokens)
        return routed_ffn(tokens, routing, self.experts.weights, "swiglu"), routing


@EXERCISE.right
class SharedFirst(_Layer):
    def forward(self, x):
        y, routing = self.routed(x.flatten(0, -2))
        return self.shared_expert(x) + y.reshape(x.shape), routing
