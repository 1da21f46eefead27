"""Answers that live in a worker: what a stage holds in its hands instead of the learner's object.

A stage calls it, launches it or makes objects with it as always, and does not know the difference.
"""

from dataclasses import replace
from typing import Any

from moe_teach.course.grading import classes
from moe_teach.course.grading.ends import Ended
from moe_teach.course.grading.host import Worker
from moe_teach.course.grading.lending import Lending
from moe_teach.course.grading.worker import sparse
from moe_teach.course.grading.worker.peer import Peer
from moe_teach.course.grading.worker.wire import HungUp, Nonsense
from moe_teach.judging.elsewhere import told_of
from moe_teach.judging.exercise import MISSING, Exercise
from moe_teach.judging.guard import TookTooLong
from moe_teach.judging.outcome import Outcome

_STAND_INS = {
    "function": classes.function_for,
    "class": classes.class_for,
    "kernel": classes.kernel_for,
}


class Line:
    """A conversation with one worker about one exercise."""

    def __init__(self, worker: Worker, exercise: Exercise, parts: Any) -> None:
        self.worker, self.exercise = worker, exercise
        self.things = Lending()
        self.things.name = worker.name = exercise.name
        self.things.worker = worker
        self._parts = parts
        self.peer = self.things.peer = _Watched(
            worker.channel, self.things, self._serve, trusts=False
        )

    def ask(self, verb: str, *body: Any) -> Any:
        """Ask the worker, and say in a sentence what its silence or its nonsense comes to."""
        try:
            return self.peer.ask(verb, *body)
        except BaseException as error:
            if not told_of(error):
                raise
            why = f"{type(error).__name__}: {str(error)[:300]}"
            said = (
                f"What came back from {self.worker.name} is no result that can be judged ({why})."
            )
            raise Ended("invalid_result", said) from None

    def answer(self) -> Any:
        """Fetch what the learner handed in, as something that a stage can work with."""
        told = self.ask("take", self.exercise.name)
        try:
            kind = told["kind"]
            if kind == "missing":
                return MISSING
            if kind in _STAND_INS:
                return _STAND_INS[kind](self.things, told)
            return type(str(told["type"]), (), {"__repr__": lambda self: str(told["text"])})()
        except (LookupError, TypeError, ValueError) as error:
            raise Ended("invalid_result", "The answer came in a form that cannot be.") from error

    def outcome(self, seeds: list[int]) -> Outcome:
        """Have the stages run beside the answer, and believe what comes of it."""
        told = self.ask("take", self.exercise.name)
        try:
            text = self.ask("outcome", told["number"], self.exercise.id, seeds)
            outcome = Outcome.from_json(text)
            if outcome.item_id != self.exercise.id or outcome.earned not in (0, outcome.points):
                raise ValueError("the outcome of something else")
        except (LookupError, TypeError, ValueError) as error:
            raise Ended("invalid_result", "The verdict came in a form that cannot be.") from error
        return replace(outcome, points=self.exercise.points)

    def _serve(self, peer: Peer, verb: str, body: list[Any]) -> Any:
        """Do what the learner's code asks of what was lent to it."""
        if verb == "call":
            number, args, named = body
            return self.things.lent[number](*args, **named)
        if verb == "part":
            return self.things.do(*body)
        if verb == "mine":
            return self._parts(*body)
        raise Nonsense("a question of an unknown kind")


class _Watched(Peer):
    """A line on which the other side may be gone, or may say anything."""

    def ask(self, verb: str, *body: Any) -> Any:
        worker = self.things.worker
        worker.asked()
        if worker.is_over:
            raise Ended("crashed", f"The process of {worker.name} is over.")
        try:
            return super().ask(verb, *body)
        except HungUp:
            raise worker.death() from None
        except sparse.NotTold:  # ours, and no fault of the answer
            worker.end()
            said = f"This system does not tell which memory the check of {worker.name} has touched."
            raise Ended("ungraded", said) from None
        except Nonsense as nonsense:
            worker.end()
            raise Ended(
                "invalid_result",
                f"What came back from {worker.name} is no result that can be judged: {nonsense}.",
            ) from None
        except TookTooLong:  # of the engine's own clock: whatever still comes is too late
            worker.end()
            raise

    def serve(self, message: Any, blobs: Any) -> None:
        super().serve(message, blobs)
        self.things.worker.rested()
