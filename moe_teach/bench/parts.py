"""Where the time of a training step goes: every part timed alone, at the step's own sizes.

A part is done forward and backward, with fresh inputs of the right shapes, and multiplied by the
number of layers that do it. Beside it stand its matrix multiplications alone, so that what a part
adds to them can be read off. What the parts leave of the whole step is records, losses of the
routers, residual additions and Python.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_teach.bench.timing import in_turn
from moe_teach.bench.train import CLIP, Size, our_step, random_batch
from moe_teach.nn.attention import Attention
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.train.losses import task_loss
from moe_teach.train.optimizer import build_optimizer

WHOLE = "whole step"
MATMULS = ": matmuls alone"
Run = Callable[[], object]


@dataclass(frozen=True)
class Part:
    """One part of a step, as shares of the whole: with everything, and its matmuls alone."""

    name: str
    share: float
    matmuls: float

    @property
    def outside(self) -> float:
        """What the part costs beyond its matrix multiplications."""
        return self.share - self.matmuls


def breakdown(size: Size, budget_s: float) -> Iterator[Part]:
    """Give the parts of a step of the library's model, the rest last."""
    torch.manual_seed(0)
    parts = list(_parts(size))
    runs = {WHOLE: our_step(size.model, size, random_batch(size))}
    for name, _, run, matmuls in parts:
        runs[name] = run
        if matmuls is not None:
            runs[name + MATMULS] = matmuls
    times = in_turn(runs, WHOLE, budget_s=budget_s)
    left = Part("the rest", 1.0, 0.0)
    for name, n_times, _, matmuls in parts:
        alone = times[name + MATMULS].ratio if matmuls is not None else 0.0
        part = Part(name, n_times * times[name].ratio, n_times * alone)
        left = Part(left.name, left.share - part.share, 0.0)
        yield part
    yield left


def _parts(size: Size) -> Iterator[tuple[str, int, Run, Run | None]]:
    """Give name, how often per step, the part, and its matrix multiplications."""
    config, n_tokens = size.model, size.n_tokens
    d, v, layers = config.d_model, config.vocab_size, config.n_layers
    assert config.moe is not None
    x = torch.randn(size.batch_size, size.seq_len, d)
    attention = Attention(d, config.attention)
    shapes = [(n_tokens, *proj.weight.shape) for proj in attention.children() if _is_linear(proj)]
    yield "attention", layers, _both_ways(attention, x), _matmuls(shapes)
    norm = nn.RMSNorm(d)
    yield "norms", 2 * layers + 1, _both_ways(norm, x), None

    moe = MoE.build(d, config.moe)
    flat = x.flatten(0, 1)
    routing = moe.router(flat)
    rows, dispatched = dispatch(flat, routing)
    rows, counts = rows.detach(), dispatched.tokens_per_expert.tolist()
    f = config.moe.d_ff
    shapes = [(n, *shape) for n in counts for shape in ((f, d), (f, d), (d, f)) if n]
    compute = _Call(lambda r: moe.experts(r, dispatched.expert_offsets), moe.experts)
    yield "experts", layers, _both_ways(compute, rows), _matmuls(shapes)
    choose = _Call(lambda t: moe.router(t).gates, moe.router)
    shapes = [(n_tokens, *moe.router.proj.weight.shape)]
    yield "router", layers, _both_ways(choose, flat), _matmuls(shapes)
    send = _Call(lambda t: combine(dispatch(t, routing)[0], routing.gates.detach(), dispatched))
    yield "dispatch and combine", layers, _both_ways(send, flat), None

    head = nn.Linear(d, v, bias=False)
    targets = torch.randint(0, v, (size.batch_size, size.seq_len))
    guess = _Call(lambda t: task_loss(head(t), targets), head)
    yield "unembedding and loss", 1, _both_ways(guess, x), _matmuls([(n_tokens, v, d)])
    yield "optimiser and clipping", 1, _update(Model(config)), None


class _Call(nn.Module):
    """A function of one tensor, with the module whose parameters get gradients."""

    def __init__(self, function: Callable[[Tensor], Tensor], owner: nn.Module | None = None):
        super().__init__()
        self.function, self.owner = function, owner

    def forward(self, x: Tensor) -> Tensor:
        """Call it."""
        return self.function(x)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def _both_ways(module: nn.Module, x: Tensor) -> Run:
    x = x.detach().requires_grad_()
    leaves = [x, *(p for p in module.parameters() if p.requires_grad)]
    gradient = torch.randn_like(module(x).detach())
    return lambda: torch.autograd.grad(module(x), leaves, gradient)


def _matmuls(shapes: list[tuple[int, ...]]) -> Run:
    """Multiply (rows, inner) by (outer, inner): forward, and both gradients."""
    operands = [
        (torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(rows, outer))
        for rows, outer, inner in shapes
    ]

    def run() -> None:
        for x, w, dy in operands:
            _ = x @ w.T, dy @ w, dy.T @ x

    return run


def _update(model: nn.Module) -> Run:
    optimizer = build_optimizer(model, lr=1e-6, weight_decay=0.01)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)

    def run() -> None:
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()

    return run
