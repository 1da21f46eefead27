"""Chapter 02: plausible wrong answers, each with what it must be told, and other right ones."""

import torch
from torch import nn
from torch.nn import functional

from moe_teach.course.answers._ch02_slips import (  # noqa: F401 - found by name
    blend_as_an_array,
    forgets_the_square,
    logits_as_logarithms,
    loss_as_a_number,
    mean_over_everything,
    squares_the_variance,
    sum_over_everything,
    weighs_the_callers_outputs,
)
from moe_teach.course.answers._ch02_sparse import (  # noqa: F401 - found by name
    by_a_dense_one_hot,
    by_comparing_with_the_kth,
    by_looping_over_tokens,
    by_masked_softmax_and_slices,
    by_python_sorting,
    calls_everyone_with_everything,
    calls_idle_experts,
    gives_positions,
    keeps_the_last_answer,
    marks_over_the_tokens,
    one_by_one_in_float64,
    picks_the_smallest,
    softmax_over_everyone,
    sums_without_gates,
    trusts_topk_with_ties,
)
from moe_teach.judging.exercise import right, wrong

# --- 2.1 Expert ---------------------------------------------------------------------------------


@wrong("2.1", stage="layers", says="called `up` and `down`")
class OtherNames(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.first, self.second = nn.Linear(d_in, d_hidden), nn.Linear(d_hidden, d_out)

    def forward(self, x):
        return self.second(self.first(x).relu())


@wrong("2.1", stage="layers", says="must be an `nn.Module`")
class NoModule:
    def __init__(self, d_in, d_hidden, d_out):
        self.up, self.down = nn.Linear(d_in, d_hidden), nn.Linear(d_hidden, d_out)

    def __call__(self, x):
        return self.down(self.up(x).relu())


class _Layers(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.up, self.down = nn.Linear(d_in, d_hidden), nn.Linear(d_hidden, d_out)


@wrong("2.1", stage="values", says="The ReLU is missing")
class ForgetsTheReLU(_Layers):
    def forward(self, x):
        return self.down(self.up(x))


@wrong("2.1", stage="values", says="another activation in the middle")
class AnotherActivation(_Layers):
    def forward(self, x):
        return self.down(functional.gelu(self.up(x)))


@wrong("2.1", stage="values", says="leading ones stay")
class FlattensTheBatch(_Layers):
    def forward(self, x):
        return self.down(self.up(x.reshape(-1, x.shape[-1])).relu())


@right("2.1")
class WithFunctions(_Layers):
    def forward(self, x):
        inner = functional.linear(x, self.up.weight, self.up.bias)
        return functional.linear(torch.clamp(inner, min=0), self.down.weight, self.down.bias)


@right("2.1")
class WithAModuleForTheReLU(_Layers):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__(d_in, d_hidden, d_out)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.down(self.act(self.up(x)))


# --- 2.2 soft_mixture ---------------------------------------------------------------------------


@wrong("2.2", stage="shape", says="one vector per token")
def sums_over_the_outputs(outputs, logits):
    return (logits.softmax(-1)[..., None] * outputs).sum(-1)


@wrong("2.2", stage="values", says="were used as gates")
def logits_as_gates(outputs, logits):
    return (logits[..., None] * outputs).sum(1)


@wrong("2.2", stage="values", says="do not take the mean")
def mean_over_the_experts(outputs, logits):
    return (logits.softmax(-1)[..., None] * outputs).mean(1)


@wrong("2.2", stage="values", says="the *last* dimension")
def softmax_over_the_tokens(outputs, logits):
    return (logits.softmax(0)[..., None] * outputs).sum(1)


@right("2.2")
def by_batched_matmul(outputs, logits):
    return (logits.softmax(-1)[:, None, :] @ outputs)[:, 0]


@right("2.2")
def expert_by_expert_in_float64(outputs, logits):
    powers = logits.double().exp()
    total = sum(powers[:, e, None] * outputs[:, e] for e in range(logits.shape[1]))
    return total / powers.sum(-1, keepdim=True)


# --- 2.3 competitive_loss -----------------------------------------------------------------------


def _errors(outputs, targets):
    return (targets.unsqueeze(1) - outputs).square().sum(-1)


@wrong("2.3", stage="shape", says="mean over the tokens at the end")
def one_number_per_token(outputs, logits, targets):
    return (logits.softmax(-1) * _errors(outputs, targets)).sum(-1)


@wrong("2.3", stage="values", says="cooperative error (1.1)")
def compares_the_blend(outputs, logits, targets):
    blend = (logits.softmax(-1)[..., None] * outputs).sum(1)
    return (targets - blend).square().sum(-1).mean()


@wrong("2.3", stage="values", says="not a mean")
def means_over_the_outputs(outputs, logits, targets):
    errors = (targets.unsqueeze(1) - outputs).square().mean(-1)
    return (logits.softmax(-1) * errors).sum(-1).mean()


@wrong("2.3", stage="values", says="Check the three sums")
def sums_over_the_tokens(outputs, logits, targets):
    return (logits.softmax(-1) * _errors(outputs, targets)).sum() * 1.0000001 + 0.001


@wrong("2.3", stage="gradient", says="must reach both")
def gates_without_gradient(outputs, logits, targets):
    return (logits.detach().softmax(-1) * _errors(outputs, targets)).sum(-1).mean()


@right("2.3")
def expanded_square(outputs, logits, targets):
    errors = targets.square().sum(-1, keepdim=True) + outputs.square().sum(-1)
    errors = errors - 2 * (outputs @ targets[..., None])[..., 0]
    return (logits.softmax(-1) * errors).sum() / len(targets)


@right("2.3")
def token_by_token(outputs, logits, targets):
    losses = [
        (gates.softmax(-1) * (target - own).square().sum(-1)).sum()
        for own, gates, target in zip(outputs, logits, targets, strict=True)
    ]
    return torch.stack(losses).mean()


# --- 2.4 mixture_nll ----------------------------------------------------------------------------


def _naive(outputs, logits, targets, variance):
    return (logits.softmax(-1) * (-_errors(outputs, targets) / (2 * variance)).exp()).sum(-1)


@wrong("2.4", stage="shape", says="one number")
def likelihood_per_token(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance).log()


@wrong("2.4", stage="values", says="The sign is turned")
def forgets_the_minus(outputs, logits, targets, variance):
    return _naive(outputs, logits, targets, variance).log().mean()


@wrong("2.4", stage="values", says="twice the variance")
def forgets_the_two(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance / 2).log().mean()


@wrong("2.4", stage="values", says="inside the logarithm")
def averages_before_the_logarithm(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance).mean().log()


@wrong("2.4", stage="values", says="The likelihood is off")
def forgets_the_gates(outputs, logits, targets, variance):
    return -(-_errors(outputs, targets) / (2 * variance)).logsumexp(-1).mean() + 0 * logits.sum()


@wrong("2.4", stage="far off", says="Stay in logarithms")
def takes_the_logarithm_last(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance).log().mean()


@wrong("2.4", stage="far off", says="needs no such help")
def adds_a_little_inside(outputs, logits, targets, variance):
    return -(_naive(outputs, logits, targets, variance) + 1e-35).log().mean()


@right("2.4")
def by_subtracting_the_largest(outputs, logits, targets, variance):
    terms = logits.log_softmax(-1) - _errors(outputs, targets) / (2 * variance)
    peak = terms.max(-1, keepdim=True).values
    return -(peak[:, 0] + (terms - peak).exp().sum(-1).log()).mean()


@right("2.4")
def in_double_precision(outputs, logits, targets, variance):
    terms = logits.double() - _errors(outputs.double(), targets.double()) / (2 * variance)
    return (logits.double().logsumexp(-1) - terms.logsumexp(-1)).mean()
