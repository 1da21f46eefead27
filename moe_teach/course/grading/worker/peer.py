"""One of two processes that call each other's functions, take turns, and share nothing.

Whoever asks waits for the answer, and serves what the other asks meanwhile: a stage calls the
learner's function, which calls the expert that the stage handed it. Gradients find their way back:
what came out of the other process is connected with what went in.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.course.grading.worker import after, errors, graphs, lives, tensors
from moe_teach.course.grading.worker.values import Reader, Writer
from moe_teach.course.grading.worker.wire import Channel, HungUp, Nonsense
from moe_teach.judging.elsewhere import Gone

_UNREADABLE = (LookupError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError)
Serving = Callable[["Peer", str, list[Any]], Any]


class Peer:
    """One side of the line: what it has lent to the other, and what it has of the other's."""

    def __init__(self, channel: Channel, things: Any, serving: Serving, *, trusts: bool) -> None:
        self.channel = channel
        self.things = things  # how what is not plain is written and read
        self.trusts = trusts  # the other side
        self.answer_file = ""
        self._serving = serving
        self.graphs = graphs.Graphs()
        self._held, self._taken = lives.Held(), lives.Taken()
        self._dropped: list[int] = []
        self._raised: dict[int, BaseException] = {}

    def ask(self, verb: str, *body: Any) -> Any:
        """Have the other side do something, and give what comes of it or raise its error."""
        packing = tensors.Packing(takes_grads=not self.trusts)
        tree = Writer(packing, self._out(is_reply=False)).put(list(body))
        dropped, self._dropped = self._dropped, []
        modes = [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
        message = {"ask": verb, "body": tree, "modes": modes, "drop": dropped}
        message["news"] = self.things.flushed(Writer(packing, self._out(is_reply=False)))
        message["gone"] = self._taken.gone()
        if not self.trusts:  # who draws without a generator draws what it would draw here
            message["luck"] = packing.blob(torch.get_rng_state().numpy().tobytes())
        self._send(message, packing)
        before, self.graphs.lent = self.graphs.lent, []
        try:
            return self._heard(packing.given, list(body))
        finally:
            self.graphs.lent = before

    def _heard(self, asked: Any, body: list[Any]) -> Any:
        """Serve the other side until its answer is there."""
        while True:
            message, blobs = self.channel.receive()
            if type(message) is not dict:
                raise Nonsense("an answer of an unknown form")
            if "ask" in message:
                self.serve(message, blobs)
                continue
            return self._answered(message, blobs, asked, body)

    def serve(self, message: dict[str, Any], blobs: list[bytearray]) -> None:
        """Do what the other side asked for, and send what came of it."""
        try:
            with_gradients, is_inference = map(bool, message["modes"])
            with torch.inference_mode(is_inference), torch.set_grad_enabled(with_gradients):
                self._serve(message, blobs)
        except _UNREADABLE as error:
            raise Nonsense(f"a question that cannot be ({type(error).__name__})") from error

    def _serve(self, message: dict[str, Any], blobs: list[bytearray]) -> None:
        self.graphs.drop(message["drop"])
        self._held.drop(message["gone"])
        given = self._opened(message, blobs, None, takes_gradients=True)
        reader = Reader(given, None, blobs, self.things.read)
        self.things.heed(message["news"], reader)
        body = reader.get(message["body"])
        luck = self._lucky(message, blobs)
        then = after.Before(body, given)
        packing = tensors.Packing(given)
        if self.trusts:
            packing.earlier = self.things.remembered.name_of
        try:
            tree = {"give": self._written(packing, self._done(str(message["ask"]), body))}
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
        if self.trusts:
            writer = Writer(packing, self._out(is_reply=True))
            tree["later"] = self.things.remembered.changes(writer)
            tree["remembered"] = self.things.remembered.note(then)
        tree["news"] = self.things.flushed(Writer(packing, self._out(is_reply=True)))
        tree["drew"] = luck is not None and not torch.equal(luck, torch.get_rng_state())
        is_in_turn = message["ask"] == "part" and body[0] == "in_turn"
        self._keep_graph(tree, packing, given, in_advance=is_in_turn)
        if not self.trusts:
            self._held.give(packing.given.tensors)
        self._send(tree, packing)

    def _written(self, packing: Any, value: Any) -> Any:
        try:
            return Writer(packing, self._out(is_reply=True)).put(value)
        except Nonsense as nonsense:  # what cannot be sent is no value; its sentence is sent
            return ["X", "", str(nonsense)]

    def _done(self, verb: str, body: list[Any]) -> Any:
        if verb == "grad":
            return self.graphs.gradients(*body)
        return self._serving(self, verb, body)

    def _lucky(self, message: dict[str, Any], blobs: list[bytearray]) -> Tensor | None:
        if not self.trusts or "luck" not in message:
            return None
        state = torch.frombuffer(blobs[message["luck"]], dtype=torch.uint8).clone()
        torch.set_rng_state(state)
        return state

    def _keep_graph(
        self, tree: dict[str, Any], packing: Any, given: Any, *, in_advance: bool
    ) -> None:
        flowing = [t for t in packing.given.tensors if t.requires_grad]
        if flowing and torch.is_grad_enabled():
            leaves = [leaf for leaf in given.leaves if leaf.requires_grad]
            number, dependencies = self.graphs.keep(flowing, leaves)
            tree["graph"] = number, dependencies
            if in_advance:
                writer = Writer(packing, self._out(is_reply=True))
                tree["in advance"] = writer.put(self.graphs.in_advance(number, dependencies))

    def _answered(self, message: Any, blobs: Any, asked: Any, body: list[Any]) -> Any:
        try:
            is_error, value = self._understood(message, blobs, asked, body)
        except _UNREADABLE as error:
            raise Nonsense(f"an answer that cannot be ({type(error).__name__})") from error
        if is_error:
            raise value
        return value

    def _understood(
        self, message: Any, blobs: Any, asked: Any, body: list[Any]
    ) -> tuple[bool, Any]:
        given = self._opened(message, blobs, asked, takes_gradients=False)
        if self.trusts:
            self._taken.take(given.tensors)
        reader = Reader(given, asked, blobs, self.things.read)
        if "graph" in message:
            in_advance = reader.get(message.get("in advance", ["l", []]))
            graphs.connect(self, message["graph"], given, asked, self.graphs.lent, in_advance)
        for number, changed in message.get("later", ()):
            after.apply(changed, reader, *self.things.remembered.call(number), self.things)
        after.apply(message["after"], reader, asked, body, self.things)
        if type(number := message.get("remembered")) is int:
            self.things.remembered.keep(number, (asked, body))
        self.things.heed(message["news"], reader)
        if message.get("drew") is True:
            torch.rand(1)  # what follows is other luck, here as there
        if "give" in message:
            return False, reader.get(message["give"])
        error = self._own(message.get("yours")) or errors.opened(message["fail"])
        error.own_handle = message["fail"]["handle"]  # type: ignore[attr-defined]
        return True, error

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
