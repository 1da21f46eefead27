"""Gradients across two processes: each side keeps its part of the graph, and they are joined here.

What came from the other side depends on what was sent there; on what this side computed meanwhile,
when the other one asked for it; and on other results that came along. Each result is a node of its
own, so that a gradient can also be taken of one result with respect to another. What a result is
made of may also be a tensor of that side's own, which `backward()` here reaches like any.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from moe_teach.course.grading.worker.wire import Nonsense


class Graphs:
    """The graphs that one side keeps for the other."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.is_backward: bool | None = None  # of the other side's, while its question is served
        self._count = 0
        self.lent: list[tuple[int, list[Tensor]]] = []  # since the running question was asked
        self.pulled: dict[int, list[Tensor | None]] = {}

    def keep(self, flowing: list[Tensor], leaves: list[Tensor]) -> tuple[int, list[list[int]]]:
        """Keep the graph behind results; give its number and which result depends on which."""
        self._count += 1
        self._kept[self._count] = flowing, leaves
        self.lent.append((self._count, flowing))
        return self._count, _dependencies(flowing)

    def in_advance(
        self, number: int, dependencies: list[list[int]]
    ) -> list[list[Tensor | None] | None]:
        """Give for each result that is one number what arrives at the leaves if it is pulled by 1.

        None for a larger one, and where a question is needed: by then others may have pulled, too,
        and what is this side's own is to be reached.
        """
        outputs, leaves = self._kept[number]
        found: list[list[Tensor | None] | None] = []
        for at, output in enumerate(outputs):
            is_simple = output.numel() == 1 and not dependencies[at]
            if not leaves or not is_simple or self._own_leaves(number, at):
                found.append(None)
                continue
            arrived = torch.autograd.grad(output, leaves, allow_unused=True, retain_graph=True)
            found.append(list(arrived))
        return found

    def drop(self, numbers: list[int]) -> None:
        """Forget graphs that nobody needs any more."""
        for number in numbers:
            self._kept.pop(number, None)

    def gradients(
        self, number: int, at: int, grad: Tensor, others: list[int], is_backward: bool
    ) -> list[Any]:
        """Pull at one result; give what arrives at the leaves, and at other results.

        `backward()` there leaves gradients at what this side has of its own, `autograd.grad` none.
        """
        outputs, leaves = self._kept[number]
        own = []
        if number in self.pulled:  # what is this side's own is reached from here
            before = self.pulled[number][at]
            self.pulled[number][at] = grad if before is None else before + grad
        elif is_backward:
            own = self._own_leaves(number, at)
        wanted = [*leaves, *(outputs[i] for i in others)]
        if not wanted and not own:
            return []
        before_it, self.is_backward = self.is_backward, is_backward
        try:
            found = torch.autograd.grad(
                outputs[at], [*wanted, *own], grad, allow_unused=True, retain_graph=True
            )
        finally:
            self.is_backward = before_it
        for leaf, arrived in zip(own, found[len(wanted) :], strict=True):
            if arrived is not None:
                leaf.grad = arrived if leaf.grad is None else leaf.grad + arrived
        return list(found[: len(wanted)])

    def _own_leaves(self, number: int, at: int) -> list[Tensor]:
        """List the leaves behind a result that did not come with the question."""
        outputs, leaves = self._kept[number]
        node = get_gradient_edge(outputs[at]).node
        found = [one.variable for one in (node, *_below(node)) if hasattr(one, "variable")]
        theirs = {id(leaf) for leaf in leaves}
        return [one for one in found if id(one) not in theirs]

    def is_backward_here(self, leaf: Tensor) -> bool:
        """Tell, inside a backward pass, whether gradients are left at leaves such as this one."""
        if self.is_backward is not None:
            return self.is_backward
        return torch._C._will_engine_execute_node(get_gradient_edge(leaf).node)


def _dependencies(outputs: list[Tensor]) -> list[list[int]]:
    """List for each result the others that it is made of."""
    nodes = [output.grad_fn for output in outputs]
    if len(outputs) < 2:
        return [[] for _ in outputs]
    below = [_below(node) for node in nodes]
    return [
        [j for j, other in enumerate(nodes) if other is not None and j != i and other in seen]
        for i, seen in enumerate(below)
    ]


def _below(node: Any) -> set[Any]:
    seen: set[Any] = set()
    waiting = [node] if node is not None else []
    while waiting:
        for following, _ in waiting.pop().next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return seen


class Held:
    """A graph of the other side's, dropped there when nobody needs it here."""

    def __init__(self, peer: Any, number: int, in_advance: list[Any]) -> None:
        self.peer, self.number, self._in_advance = peer, number, in_advance
        self._passed: dict[int, tuple[int, Tensor]] = {}

    def __del__(self) -> None:
        self.peer.forget(self.number)

    def pass_on(self, at: int, grad: Tensor) -> None:
        """Note what one result hands to another in this pass: the worker has it already."""
        task = torch._C._current_graph_task_id()
        known = self._passed.get(at)
        self._passed[at] = task, grad + known[1] if known and known[0] == task else grad

    def known(self, at: int, grad: Tensor) -> list[Any] | None:
        """Give what came in advance, if this is the gradient it is for."""
        found = self._in_advance[at] if self._in_advance else None
        return found if found is not None and grad.numel() == 1 and float(grad) == 1 else None

    def own(self, at: int, grad: Tensor) -> Tensor | None:
        """Give of a gradient what did not come from other results."""
        task, passed = self._passed.pop(at, (None, None))
        if passed is None or task != torch._C._current_graph_task_id():
            return grad
        rest = grad - passed
        return rest if bool(rest.any()) else None


class _Distant(torch.autograd.Function):
    """One result of the other side's, with all that it depends on here."""

    @staticmethod
    def forward(ctx: Any, about: Any, output: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.about, ctx.start, ctx.n_inputs = about, inputs[0], len(inputs)
        return output[0]  # as an input it would come out as a view, which none may change in place

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        held, at, n_sent, lent, others = ctx.about
        nothing = (None,) * (ctx.n_inputs + 2)
        rest = held.own(at, grad)
        if rest is None:
            return nothing
        if not lent and not others and (known := held.known(at, rest)):
            return (None, None, None, *known)
        graphs = held.peer.graphs
        is_backward = graphs.is_backward_here(ctx.start)
        before, graphs.pulled = graphs.pulled, {n: [None] * len(some) for n, some in lent}
        try:
            found = held.peer.ask("grad", held.number, at, rest, others, is_backward)
            pulled = [pull for n, _ in lent for pull in graphs.pulled[n]]
        finally:
            graphs.pulled = before
        if type(found) is not list or len(found) != n_sent + len(others):
            raise Nonsense("gradients of another number than was asked for")
        for other, one in zip(others, found[n_sent:], strict=True):
            if one is not None:
                held.pass_on(other, one)
        return (None, None, None, *found[:n_sent], *pulled, *found[n_sent:])


def connect(
    peer: Any, told: Any, given: Any, asked: Any, lent: list[Any], in_advance: list[Any]
) -> None:
    """Make the tensors of an answer that need gradients depend on what they were made of."""
    number, dependencies = told
    flowing = [i for i, tensor in enumerate(given.tensors) if tensor.requires_grad]
    if type(number) is not int or len(dependencies) != len(flowing):
        raise Nonsense("a graph of an unknown form")
    sent = [tensor for tensor in asked.tensors if tensor.requires_grad]
    _demand_gradients_of(sent, in_advance, len(flowing))
    captured = [tensor for _, some in lent for tensor in some]
    held, start, made = Held(peer, number, in_advance), torch.empty(0, requires_grad=True), {}
    for at in sorted(range(len(flowing)), key=lambda i: len(dependencies[i])):
        others = [j for j in dependencies[at] if j in made]
        about = held, at, len(sent), lent, others
        inputs = (start, *sent, *captured, *(made[j] for j in others))
        with torch.enable_grad():
            output = [given.tensors[flowing[at]].detach()]
            made[at] = _Distant.apply(about, output, *inputs)
    for at, index in enumerate(flowing):
        given.tensors[index] = made[at]


def _demand_gradients_of(sent: list[Tensor], in_advance: list[Any], n_results: int) -> None:
    """Believe no gradients in advance that are of something else."""
    for found in in_advance:
        for grad, leaf in zip(found or (), sent, strict=bool(found)):
            if grad is not None and (grad.shape, grad.dtype) != (leaf.shape, leaf.dtype):
                raise Nonsense("gradients of another shape than what they are of")
    if in_advance and len(in_advance) != n_results:
        raise Nonsense("gradients in advance of other results")
