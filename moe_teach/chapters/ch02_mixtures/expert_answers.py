"""Exercise 2.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch import nn
from torch.nn import functional

from moe_teach.chapters.ch02_mixtures.expert import EXERCISE


@EXERCISE.wrong(stage="layers", says="called `up` and `down`")
class OtherNames(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.first, self.second = nn.Linear(d_in, d_hidden), nn.Linear(d_hidden, d_out)

    def forward(self, x):
        return self.second(self.first(x).relu())


@EXERCISE.wrong(stage="layers", says="is no `nn.Module`")
class NoModule:
    def __init__(self, d_in, d_hidden, d_out):
        self.up, self.down = nn.Linear(d_in, d_hidden), nn.Linear(d_hidden, d_out)

    def __call__(self, x):
        return self.down(self.up(x).relu())


class _Layers(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.up, self.down = nn.Linear(d_in, d_hidden), nn.Linear(d_hidden, d_out)


@EXERCISE.wrong(stage="values", says="The ReLU is missing")
class ForgetsTheReLU(_Layers):
    def forward(self, x):
        return self.down(self.up(x))


@EXERCISE.wrong(stage="values", says="another activation in the middle")
class AnotherActivation(_Layers):
    def forward(self, x):
        return self.down(functional.gelu(self.up(x)))


@EXERCISE.wrong(stage="values", says="leading ones stay")
class FlattensTheBatch(_Layers):
    def forward(self, x):
        return self.down(self.up(x.reshape(-1, x.shape[-1])).relu())


@EXERCISE.wrong(stage="gradient", says="carries no gradient")
class CutsTheGraph(_Layers):
    def forward(self, x):
        with torch.no_grad():
            return self.down(self.up(x).relu())


@EXERCISE.wrong(stage="float64", says="`.float()`")
class RoundsToFloat32(_Layers):
    def forward(self, x):
        return self.down(self.up(x).relu()).float()


@EXERCISE.wrong(stage="layers", says="cannot learn")
class FreezesALayer(_Layers):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__(d_in, d_hidden, d_out)
        self.up.requires_grad_(False)

    def forward(self, x):
        return self.down(self.up(x).relu())


@EXERCISE.right
class WithFunctions(_Layers):
    def forward(self, x):
        inner = functional.linear(x, self.up.weight, self.up.bias)
        return functional.linear(torch.clamp(inner, min=0), self.down.weight, self.down.bias)


@EXERCISE.right
class WithAModuleForTheReLU(_Layers):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__(d_in, d_hidden, d_out)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.down(self.act(self.up(x)))
