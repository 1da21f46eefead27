"""One of two processes that call each other's functions, take turns, and share nothing.

Whoever asks waits for the answer, and serves what the other asks meanwhile: a stage calls the
learner's function, which calls the expert that the stage handed it. Gradients find their way back:
what came out of the other process is connected with what went in.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.course.grading.worker import after, errors, tensors
from moe_teach.course.grading.worker.values import Reader, Writer
from moe_teach.course.grading.worker.wire import Channel, HungUp, Nonsense
from moe_teach.judging.elsewhere import Gone

Serving = Callable[["Peer", str, list[Any]], Any]


class Peer:
    """One side of the line: what it has lent to the other, and what it has of the other's."""

    def __init__(self, channel: Channel, things: Any, serving: Serving, *, trusts: bool) -> None:
        self.channel = channel
        self.things = things  # how what is not plain is written and read
        self.trusts = trusts  # the other side
        self.answer_file = ""
        self._serving = serving
        self._graphs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self._graph = 0
        self._dropped: list[int] = []
        self._raised: dict[int, BaseException] = {}

    def ask(self, verb: str, *body: Any) -> Any:
        """Have the other side do something, and give what comes of it or raise its error."""
        packing = tensors.Packing()
        tree = Writer(packing, self._out(is_reply=False)).put(list(body))
        dropped, self._dropped = self._dropped, []
        modes = [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
        message = {"ask": verb, "body": tree, "modes": modes, "drop": dropped}
        message["news"] = self.things.flushed(Writer(packing, self._out(is_reply=False)))
        if not self.trusts:  # who draws without a generator draws what it would draw here
            message["luck"] = packing.blob(torch.get_rng_state().numpy().tobytes())
        self._send(message, packing)
        while True:
            message, blobs = self.channel.receive()
            if type(message) is not dict:
                raise Nonsense("an answer of an unknown form")
            if "ask" in message:
                self.serve(message, blobs)
                continue
            return self._answered(message, blobs, packing.given, list(body))

    def serve(self, message: dict[str, Any], blobs: list[bytearray]) -> None:
        """Do what the other side asked for, and send what came of it."""
        try:
            with_gradients, is_inference = map(bool, message["modes"])
            with torch.inference_mode(is_inference), torch.set_grad_enabled(with_gradients):
                self._serve(message, blobs)
        except (LookupError, TypeError, ValueError) as error:
            raise Nonsense(f"a question that cannot be ({type(error).__name__})") from error

    def _serve(self, message: dict[str, Any], blobs: list[bytearray]) -> None:
        for number in message["drop"]:
            self._graphs.pop(number, None)
        given = self._opened(message, blobs, None, takes_gradients=True)
        reader = Reader(given, None, blobs, self.things.read)
        self.things.heed(message["news"], reader)
        body = reader.get(message["body"])
        luck = self._lucky(message, blobs)
        then = after.Before(body, given)
        packing = tensors.Packing(given)
        try:
            value = self._done(str(message["ask"]), body)
            tree = {"give": Writer(packing, self._out(is_reply=True)).put(value)}
        except (HungUp, Gone):
            raise
        except BaseException as error:
            handle = next((n for n, one in self._raised.items() if one is error), None)
            own = getattr(error, "own_handle", None)
            if handle is None and own is None:
                handle = len(self._raised)
                self._raised[handle] = error
            told = errors.packed(error, self.answer_file, handle)
            tree = {"fail": told, "yours": own}
        tree["after"] = then.changes(Writer(packing, self._out(is_reply=True)))
        tree["news"] = self.things.flushed(Writer(packing, self._out(is_reply=True)))
        tree["drew"] = luck is not None and not torch.equal(luck, torch.get_rng_state())
        self._keep_graph(tree, packing, given)
        self._send(tree, packing)

    def _done(self, verb: str, body: list[Any]) -> Any:
        if verb == "grad":
            return self._gradients(*body)
        return self._serving(self, verb, body)

    def _lucky(self, message: dict[str, Any], blobs: list[bytearray]) -> Tensor | None:
        if not self.trusts or "luck" not in message:
            return None
        state = torch.frombuffer(blobs[message["luck"]], dtype=torch.uint8).clone()
        torch.set_rng_state(state)
        return state

    def _keep_graph(self, tree: dict[str, Any], packing: Any, given: Any) -> None:
        flowing = [t for t in packing.given.tensors if t.requires_grad]
        if flowing and torch.is_grad_enabled():
            self._graph += 1
            leaves = [leaf for leaf in given.leaves if leaf.requires_grad]
            self._graphs[self._graph] = flowing, leaves
            tree["graph"] = self._graph

    def _gradients(self, number: int, grads: list[Any]) -> list[Any]:
        outputs, leaves = self._graphs[number]
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None]
        if not pairs or not leaves:
            return [None] * len(leaves)
        found, pulls = zip(*pairs, strict=True)
        return list(torch.autograd.grad(found, leaves, pulls, allow_unused=True, retain_graph=True))

    def _answered(self, message: Any, blobs: Any, asked: Any, body: list[Any]) -> Any:
        given = self._opened(message, blobs, asked, takes_gradients=False)
        if "graph" in message:
            _connect(self, message["graph"], given, asked)
        reader = Reader(given, asked, blobs, self.things.read)
        if type(changed := message.get("after")) is not dict:
            raise Nonsense("an answer of an unknown form")
        after.apply(changed, reader, asked, body, self.things)
        try:
            self.things.heed(message["news"], reader)
        except (LookupError, TypeError, ValueError, RuntimeError) as problem:
            raise Nonsense("news of an unknown form") from problem
        if message.get("drew") is True:
            torch.rand(1)  # what follows is other luck, here as there
        if "give" in message:
            return reader.get(message["give"])
        try:
            error = self._own(message.get("yours")) or errors.opened(message["fail"])
            error.own_handle = message["fail"]["handle"]  # type: ignore[attr-defined]
        except (LookupError, TypeError, ValueError) as problem:
            raise Nonsense("an error of an unknown form") from problem
        raise error

    def _own(self, handle: Any) -> BaseException | None:
        return self._raised[handle] if type(handle) is int else None

    def _out(self, *, is_reply: bool) -> Callable[[Writer, Any, int], Any]:
        return lambda writer, value, depth: self.things.write(
            writer, value, depth, is_reply=is_reply
        )

    def _opened(self, message: Any, blobs: Any, asked: Any, *, takes_gradients: bool) -> Any:
        try:
            return tensors.opened(
                message["t"], message["m"], blobs, asked,
                is_trusted=self.trusts, takes_gradients=takes_gradients,
            )  # fmt: skip
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise Nonsense(f"tensors that cannot be ({type(error).__name__})") from error

    def _send(self, message: dict[str, Any], packing: Any) -> None:
        message |= {"t": packing.entries, "m": packing.memory}
        self.channel.send(message, packing.blobs)

    def forget(self, number: int) -> None:
        """Let the other side drop a graph, with the next question."""
        self._dropped.append(number)


class _Graph:
    """A graph that lives in the other process; dropped there when nobody needs it here."""

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer, self.number = peer, number

    def __del__(self) -> None:
        self.peer.forget(self.number)


class _Distant(torch.autograd.Function):
    """Connects what came from the other process with what was sent there."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, outputs: list[Tensor], *inputs: Tensor) -> Any:
        ctx.graph, ctx.n_inputs = graph, len(inputs)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        if all(grad is None for grad in grads):
            return (None,) * (ctx.n_inputs + 2)
        found = ctx.graph.peer.ask("grad", ctx.graph.number, list(grads))
        if type(found) is not list or len(found) != ctx.n_inputs - 1:
            raise Nonsense("gradients of another number than was asked for")
        return (None, None, None, *found)


def _connect(peer: Peer, number: Any, given: Any, asked: Any) -> None:
    """Make the tensors of an answer that need gradients depend on those of the question."""
    flowing = [i for i, tensor in enumerate(given.tensors) if tensor.requires_grad]
    if type(number) is not int or not flowing:
        raise Nonsense("a graph of an unknown form")
    inputs = [tensor for tensor in asked.tensors if tensor.requires_grad]
    start = torch.empty(0, requires_grad=True)  # what depends on nothing sent needs one, too
    raw = [given.tensors[i].detach() for i in flowing]
    with torch.enable_grad():
        outputs = _Distant.apply(_Graph(peer, number), raw, start, *inputs)
    for i, output in zip(flowing, outputs, strict=True):
        given.tensors[i] = output
