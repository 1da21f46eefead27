"""Our layer beside a published block with the same weights: outputs, gradients, experts chosen."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moe_teach.bench.blocks.case import BlockCase
from moe_teach.bench.blocks.cases import CASES
from moe_teach.checkpoint.blocks import moe_from, weights_from
from moe_teach.config import MoEConfig
from moe_teach.nn.moe import MoE

DTYPES = (torch.float64, torch.float32)


class BlockParity(NamedTuple):
    """How far the two are apart, each as a part of the largest number of the tensor compared."""

    case: BlockCase
    dtype: torch.dtype
    outputs: float
    gradients: Mapping[str, float]
    same_experts: bool

    @property
    def worst_gradient(self) -> float:
        """The largest of the gradients' differences, that of the input included."""
        return max(self.gradients.values())

    @property
    def limit(self) -> float:
        """What rounding explains, in the precision of the router that rounds more."""
        if self.dtype == torch.float64:
            return 2e-6 if self.case.rounds else 1e-12
        return 1e-5

    @property
    def is_equal(self) -> bool:
        """Whether the two are one block, to rounding."""
        return max(self.outputs, self.worst_gradient) <= self.limit and self.same_experts


class Run(NamedTuple):
    """What one of the two answered: output, gradients by our names and "x", and who was chosen."""

    y: Tensor
    gradients: dict[str, Tensor]
    chosen: Tensor


class Meeting:
    """A block, our layer's configuration for it, and an input for both."""

    def __init__(
        self, case: BlockCase, dtype: torch.dtype, shape: tuple[int, int], steepness: float
    ) -> None:
        self.case, self.layer = case, case.layer or 0
        self.config, block = case.build()
        with torch.no_grad():
            for name, weight in block.get_submodule(case.router).named_parameters():
                weight.mul_(1.0 if "bias" in name else steepness)
        self.block = block.to(dtype)
        self.moe = moe_from(self.config, self.layer)
        self.state = weights_from(block.state_dict(), self.config, self.layer)
        self.x = torch.randn(*shape, self.state["router.proj.weight"].shape[-1]).to(dtype)
        self.dy = torch.randn_like(self.x)
        size = self.moe.router.table_size
        self.ids = () if size is None else (torch.randint(size, shape),)

    def theirs(self) -> Run:
        """Run the published block forward and backward."""
        returned: list[Any] = []
        router = self.block.get_submodule(self.case.router)
        router.register_forward_hook(lambda module, inputs, output: returned.append(output))
        x = self.x.clone().requires_grad_()
        y = self.block(x, *self.ids)
        y = (y[0] if isinstance(y, tuple) else y).view_as(x)
        y.backward(self.dy)
        gradients = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in self.block.named_parameters()
        }
        gradients |= dict(self.block.named_buffers())  # have none, but belong to the block
        named = weights_from(gradients, self.config, self.layer)
        chosen = self.case.chosen(self.block, self.x, returned, self.moe.router.n_experts)
        return Run(y, named | {"x": x.grad}, chosen)

    def ours(self, moe: MoEConfig) -> Run:
        """Run our layer; where `moe` is not what the block is, tensors may be missing."""
        layer = MoE.build(self.x.shape[-1], moe).to(self.x.dtype).eval()
        layer.load_state_dict(self.state, strict=moe == self.moe)
        x = self.x.clone().requires_grad_()
        y, routing = layer(x, *self.ids)
        y.backward(self.dy)
        gradients = {name: weight.grad for name, weight in layer.named_parameters()}
        chosen = torch.zeros_like(routing.probs, dtype=torch.bool)
        kept = routing.chosen if routing.kept is None else routing.kept
        return Run(y, gradients | {"x": x.grad}, chosen.scatter(1, routing.expert_ids, kept))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Give the largest difference, as a part of the largest number that was expected."""
    largest = theirs.detach().abs().max().item()
    apart = (ours.detach() - theirs.detach()).abs().max().item()
    return apart / largest if largest else apart


def compare(
    case: BlockCase,
    dtype: torch.dtype = torch.float64,
    shape: tuple[int, int] = (3, 7),
    steepness: float = 1.0,
    change: Callable[[MoEConfig], MoEConfig] = lambda moe: moe,
) -> BlockParity:
    """Run both forward and backward on the same input, and say how far apart they are.

    Args:
        case: the block.
        dtype: what both are converted to.
        shape: sequences, and tokens in each.
        steepness: by how much the router's weights are multiplied.
        change: something else for our layer to be, to see the comparison fail.
    """
    both = Meeting(case, dtype, shape, steepness)
    theirs, ours = both.theirs(), both.ours(change(both.moe))
    gradients = {
        name: difference(gradient, theirs.gradients[name])
        for name, gradient in ours.gradients.items()
        if name in theirs.gradients
    }
    same = torch.equal(ours.chosen, theirs.chosen)
    return BlockParity(case, dtype, difference(ours.y, theirs.y), gradients, same)


def compare_all() -> Iterator[BlockParity]:
    """Compare every block in each dtype, all from one seed."""
    for case in CASES:
        for dtype in DTYPES:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                yield compare(case, dtype)
