"""What a worker does: loads the learner's cells, and answers what the grader asks of them."""

import builtins
import contextlib
import sys
import types
from typing import Any

import torch

from moe_teach.course.grading.worker import errors, stand_ins, watched
from moe_teach.course.grading.worker.parts_there import PartsThere
from moe_teach.course.grading.worker.peer import Peer
from moe_teach.course.grading.worker.wire import Channel
from moe_teach.judging import folding, guard
from moe_teach.judging.elsewhere import repeated
from moe_teach.judging.exercise import MISSING
from moe_teach.judging.filing import file_source


class Session:
    """The learner's names, and the state that one stage leaves to the next: none."""

    def __init__(self, channel: Channel) -> None:
        things = PartsThere()
        self.peer = things.peer = Peer(channel, things, self.do, trusts=True)
        self.main = types.ModuleType("__main__")
        self.main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = self.main
        self._fresh = contextlib.ExitStack()
        self._maker: int | None = None
        stand_ins.put_up(self.peer, self.main)

    def run(self) -> None:
        """Answer questions until the grader hangs up."""
        while True:
            message, blobs = self.peer.channel.receive()
            self.peer.serve(message, blobs)

    def do(self, peer: Peer, verb: str, body: list[Any]) -> Any:
        """Do what one question asks for."""
        self.peer.things.lends_objects = False
        return getattr(self, f"do_{verb}")(*body)

    def do_load(self, source: str, label: str) -> Any:
        """Run one cell; give nothing, or what it raised."""
        file = file_source(source, label)
        try:
            exec(compile(source, file, "exec", dont_inherit=True), self.main.__dict__)
        except BaseException as error:
            return errors.packed(error, file, None)
        return None

    def do_take(self, name: str) -> Any:
        """Give what the cells call by this name."""
        answer = self.main.__dict__.get(name, MISSING)
        self.peer.answer_file = folding.file_of(answer) if answer is not MISSING else ""
        told = self.peer.things.as_answer(answer)
        # Where a class is asked for, a function that makes its objects is as good.
        is_maker = told["kind"] == "function" and name[:1].isupper()
        self._maker = told["number"] if is_maker else None
        return told

    def do_begin(self) -> None:
        """Make the session as fresh as the first, whatever the last stage left."""
        self._fresh.close()
        self.peer.things.begin()
        self._printed = self._fresh.enter_context(guard.fresh_session())

    def do_printed(self) -> str:
        """Give what was printed since the stage began, in so far as it is worth reading."""
        return self._printed.text()

    def do_call(self, number: int, args: list[Any], named: dict[str, Any]) -> Any:
        """Call a function that was lent."""
        things = self.peer.things
        value = things.lent[number](*args, **named)
        things.lends_objects = number == self._maker
        return value

    def do_repeated(self, number: int, times: int, args: list[Any]) -> list[Any]:
        """Call a function many times with the same arguments."""
        return repeated(self.peer.things.lent[number], times, *args)

    def do_mapped(self, number: int, args: Any, in_dims: list[Any], randomness: str) -> Any:
        """Call a function under `torch.vmap`."""
        function = self.peer.things.lent[number]
        return torch.vmap(function, tuple(in_dims), randomness=randomness)(*args)

    def do_launch(self, number: int, grid: list[int], args: Any, named: Any) -> None:
        """Launch a kernel, unwatched."""
        self.peer.things.lent[number][tuple(grid)](*args, **named)

    def do_watched(
        self, number: int, grid: Any, args: Any, named: Any, tensors: Any, how: list[bool]
    ) -> Any:
        """Launch a kernel, or call what launches some, under the watcher."""
        thing = self.peer.things.lent[number]
        thing = thing if grid is None else thing[tuple(grid)]
        return watched.launched(lambda: thing(*args, **named), tensors, *how)

    def do_kept(self, number: int, given: dict[str, Any], at_least: int) -> Any:
        """Say what a function leaves behind in memory."""
        from moe_teach.chapters.ch04_dispatch.kept_memory import still_alive

        return still_alive(self.peer.things.lent[number], given, at_least)

    def do_outcome(self, number: int, item_id: str, seeds: list[int]) -> str:
        """Run the stages here, of an exercise that cannot be judged apart."""
        from moe_teach.course import registry
        from moe_teach.judging.engine import run_exercise

        exercise = registry.find_exercise(item_id)
        return run_exercise(exercise, self.peer.things.lent[number], seeds=seeds).to_json()

    def do_part(self, what: str, *body: Any) -> Any:
        """Do something with a part of a class or a module."""
        return self.peer.things.do(what, *body)
