"""Exercise 5.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch import nn

from moe_teach.chapters.ch05_language_model.moe_block import EXERCISE


class _Block(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attention, self.moe = attention, moe


@EXERCISE.wrong(stage="a module", says="must call `super().__init__()`")
class NoModule:
    def __init__(self, d_model, attention, moe):
        self.norm1, self.norm2 = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attention, self.moe = attention, moe


@EXERCISE.wrong(stage="a module", says="does not know the parameters")
class HidesModulesInAList(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.parts = [attention, moe]


@EXERCISE.wrong(stage="a module", says="two norms with weights of their own")
class OneNorm(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm, self.attention, self.moe = nn.RMSNorm(d_model), attention, moe

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        y, routing = self.moe(self.norm(x))
        return x + y, routing


@EXERCISE.wrong(stage="a module", says="look like two LayerNorms")
class WithLayerNorms(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention, self.moe = attention, moe


@EXERCISE.wrong(stage="what comes back", says="changed its input `x` in place")
class AddsInPlace(_Block):
    def forward(self, x):
        x += self.attention(self.norm1(x)).detach()
        y, routing = self.moe(self.norm2(x))
        x += y.detach()
        return x, routing


@EXERCISE.wrong(stage="what comes back", says="cannot call forward as the stub")
class WantsARouting(_Block):
    def forward(self, x, routing):
        x = x + self.attention(self.norm1(x))
        return x + self.moe(self.norm2(x))[0], routing


@EXERCISE.wrong(stage="what comes back", says="returns two things")
class LosesTheRouting(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.moe(self.norm2(x))[0]


@EXERCISE.wrong(stage="what comes back", says="take it apart first")
class AddsNothingToThePair(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return self.moe(self.norm2(x)), x


@EXERCISE.wrong(stage="what comes back", says="the very routing")
class ReturnsTheStreamTwice(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.moe(self.norm2(x))[0], x


@EXERCISE.wrong(stage="values", says="residual of the MoE is missing")
class ForgetsTheSecondResidual(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return self.moe(self.norm2(x))


@EXERCISE.wrong(stage="values", says="residual around attention is missing")
class ForgetsTheFirstResidual(_Block):
    def forward(self, x):
        x = self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x + y, routing


@EXERCISE.wrong(stage="values", says="added twice")
class AddsTheOldStreamAgain(_Block):
    def forward(self, x):
        h = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(h))
        return x + h + y, routing


@EXERCISE.wrong(stage="values", says="lost on the way out")
class AddsToTheOldStream(_Block):
    def forward(self, x):
        h = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(h))
        return x + y, routing


@EXERCISE.wrong(stage="values", says="stand side by side")
class InParallel(_Block):
    def forward(self, x):
        y, routing = self.moe(self.norm2(x))
        return x + self.attention(self.norm1(x)) + y, routing


@EXERCISE.wrong(stage="values", says="The MoE reads the stream as it is")
class NormForgotten(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(x)
        return x + y, routing


@EXERCISE.wrong(stage="values", says="Attention reads x as it is")
class FirstNormForgotten(_Block):
    def forward(self, x):
        x = x + self.attention(x)
        y, routing = self.moe(self.norm2(x))
        return x + y, routing


@EXERCISE.wrong(stage="values", says="post-norm")
class PostNorm(_Block):
    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        y, routing = self.moe(x)
        return self.norm2(x + y), routing


@EXERCISE.wrong(stage="values", says="The stream was normalised")
class NormalisesTheStream(_Block):
    def forward(self, x):
        x = self.norm2(x + self.attention(self.norm1(x)))
        y, routing = self.moe(x)
        return x + y, routing


@EXERCISE.wrong(stage="values", says="The MoE runs before attention")
class WrongOrder(_Block):
    def forward(self, x):
        y, routing = self.moe(self.norm2(x))
        x = x + y
        return x + self.attention(self.norm1(x)), routing


@EXERCISE.wrong(stage="values", says="A branch is scaled")
class ScalesTheExperts(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x + 0.5 * y, routing


@EXERCISE.wrong(stage="a norm for each", says="One norm is used in both places")
class UsesOneNormTwice(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm1(x))
        return x + y, routing


@EXERCISE.wrong(stage="what comes back", says="called `moe` 2 times")
class AsksTheExpertsTwice(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.moe(self.norm2(x))[0], self.moe(self.norm2(x))[1]


@EXERCISE.wrong(stage="what comes back", says="`moe` was given another shape")
class FlattensForTheExperts(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x).flatten(0, 1)[None])
        return x + y.reshape(x.shape), routing


@EXERCISE.wrong(stage="dtype", says="another dtype than x")
class WidensTheStream(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x.double() + y, routing


@EXERCISE.wrong(stage="gradients", says="the gradient of `attention.weight`")
class CutsTheStream(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x.detach() + y, routing


@EXERCISE.wrong(stage="gradients", says="changed in place after a norm had read it")
class AddsIntoItsOwnStream(_Block):
    def forward(self, x):
        h = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(h))
        h += y
        return h, routing


@EXERCISE.wrong(stage="gradients", says="`moe.weight`")
class CutsTheExperts(_Block):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x))
        return x + y.detach() + 0 * self.norm2(x), routing


@EXERCISE.right
class WithOneSum(_Block):
    def forward(self, x):
        seen = self.attention(self.norm1(x))
        y, routing = self.moe(self.norm2(x + seen))
        return torch.stack([x, seen, y]).sum(dim=0), routing


@EXERCISE.right
class WithNormsInAModuleList(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(d_model) for _ in range(2))
        self.ffn, self.mixer = moe, attention

    def forward(self, x):
        first, second = self.norms
        x = torch.add(x, self.mixer(first(x)))
        y, record = self.ffn(second(x))
        return y.add(x), record
