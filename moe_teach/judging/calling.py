"""Calls a learner's answer for a check and notices what the check itself cannot see.

Parameters that differ from the stub's, a forgotten `return` and arguments that came back changed
would all surface later as something else: as a wrong number, or as an example nobody can repeat.
"""

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from moe_teach.judging import folding
from moe_teach.judging.compare import is_tensor, outlined, plain
from moe_teach.judging.elsewhere import told_of
from moe_teach.judging.exercise import Exercise, Stage, Words, WrongAnswer
from moe_teach.judging.guard import TookTooLong, within
from moe_teach.judging.traces import CHANGED, PLAIN, copied, facts_of, is_same

FORGOTTEN = "A path through it ends without a return statement."
Reference = Callable[[Exercise], Any]  # gives the course's own solution
_ONE_CLASS = threading.RLock()  # two checks of one class would give back each other's watchers


class Trial:
    """One answer to one exercise: watches its calls, and knows whose fault it is when one breaks.

    `answer` stands in for what the learner handed in. What can be called (functions, methods,
    partials, objects) is replaced by a function that watches; a class stays itself, and its
    methods are watched inside `watching`; a Triton kernel is launched, not called, and stays bare.
    """

    def __init__(self, exercise: Exercise, answer: Any, reference: Reference | None) -> None:
        self.exercise = exercise
        self._given = answer
        self._reference = reference
        self._inputs: dict[str, Any] = {}
        self._is_inside = False
        self._signatures: dict[int, inspect.Signature] = {}
        self._is_class = issubclass(type(answer), type)
        is_bare = self._is_class or type(answer).__module__.startswith("triton")
        self.answer = answer if is_bare else self._watched(answer)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the methods of a class that was handed in; it is given back as it was."""
        if not self._is_class:
            yield
            return
        with _ONE_CLASS:
            methods = list(self._methods())
            for owner, name, method in methods:
                setattr(owner, name, self._watched(method, name))
            try:
                yield
            finally:
                for owner, name, method in methods:
                    setattr(owner, name, method)

    def example(self, error: BaseException) -> dict[str, Any]:
        """Give the arguments of the latest call, as they were before it.

        A kernel is not called but launched, and the launch leaves them with the error; so do calls
        that were made together elsewhere.
        """
        if (told := told_of(error)) and told.given:
            return readable(told.given)
        return readable(self._inputs) or getattr(error, "example", {})

    def learner_frames(self, error: BaseException, stage: Stage) -> list[Any]:
        """Give the learner's own frames of an error; none means that the check's code raised."""
        if told := told_of(error):
            return list(told.frames)
        file = folding.file_of(self._given)
        return folding.learner_frames(error.__traceback__, file, stage.run.__code__)

    def course_passes(self, stage: Stage, seed: int) -> bool:
        """Say whether the course's own solution survives the same stage and seed."""
        if self._reference is None:
            return False
        try:
            within(self.exercise.limit, lambda: stage.run(self._own(), seed))
        except (Exception, TookTooLong):
            return False
        return True

    def _own(self, method: str = "") -> Any:
        own = self._reference(self.exercise) if self._reference else None
        return getattr(own, method, None) if method else own

    def _methods(self) -> Iterator[tuple[type, str, FunctionType]]:
        """Name the methods that the learner wrote and a check may call, base classes included."""
        file = folding.file_of(self._given)
        for owner in type.mro(self._given):
            for name, method in vars(owner).items():
                is_open = not name.startswith("_") or name in ("__init__", "__call__")
                if is_open and type(method) is FunctionType and folding.is_learners(method, file):
                    yield owner, name, method

    def _watched(self, answer: Any, method: str = "") -> Callable[..., Any]:
        """Watch the calls that come from the check, not those that the answer makes of its own."""
        who = self.exercise.name if method in ("", "__init__") else f"its `{method}`"

        @functools.wraps(answer, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return answer(*args, **kwargs)
            args, kwargs, given = self._bound(answer, method, args, kwargs)
            given = dict(list(given.items())[bool(method) :])  # without self
            self._inputs = {name: copied(value) for name, value in given.items()}
            is_free = self.exercise.changes_inputs
            before = {} if is_free else {name: facts_of(given[name], []) for name in given}
            self._is_inside = True
            try:
                result = answer(*args, **kwargs)
            finally:
                self._is_inside = False
            if result is None and method in ("", "__call__", "forward"):
                raise WrongAnswer(
                    f"{_big(who)} returned None.",
                    cause=FORGOTTEN,
                    cure="End every path in `return`, followed by the result.",
                )
            self._demand_no_traces(who, before, given)
            return plain(result) if is_tensor(result) else result

        return call

    def _demand_no_traces(self, who: str, before: dict[str, Any], given: dict[str, Any]) -> None:
        for name, then in before.items():
            now = facts_of(given[name], [])
            told = CHANGED if len(then) != len(now) else None
            for (about, old), (_, new) in zip(then, now, strict=False):
                told = told or (None if is_same(old, new) else about)
            if told:
                example = readable(self._inputs)
                raise WrongAnswer(
                    told[0].format(who=_big(who), name=name),
                    cause=told[1],
                    cure=told[2],
                    example=example if told == CHANGED else outlined(example),
                )

    def _signature(self, answer: Any) -> inspect.Signature:
        """Look at the parameters once: a check may call thousands of times."""
        if id(answer) not in self._signatures:  # who is watched is held, so the id stays its own
            # A module takes anything, and hands it on to its `forward`.
            self._signatures[id(answer)] = inspect.signature(getattr(answer, "forward", answer))
        return self._signatures[id(answer)]

    def _bound(
        self, answer: Any, method: str, args: Any, kwargs: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Give the arguments to call with, and by name; parameters may have other names."""
        try:
            signature = self._signature(answer)
        except (TypeError, ValueError):  # written in C, it says nothing about itself
            return args, kwargs, {f"argument {i}": x for i, x in enumerate(args)} | kwargs
        try:
            return args, kwargs, dict(signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            mismatch = error
        asked = inspect.signature(self._own(method) or answer)
        try:
            whole = asked.bind(*args, **kwargs)
            whole.apply_defaults()
            return whole.args, {}, dict(signature.bind(*whole.args).arguments)
        except TypeError:
            called = self.exercise.name if method in ("", "__init__") else method
            raise WrongAnswer(
                f"The check cannot call {called} as the stub was written: {mismatch}.",
                cause="Its parameters are not those of the stub.",
                cure="Keep the stub's parameters and their order.",
                expected=_spelt(called, asked),
                got=_spelt(called, signature),
            ) from None


def readable(inputs: dict[str, Any]) -> dict[str, Any]:
    """Keep the inputs that can be written down: no functions, modules or generators."""
    return {name: value for name, value in inputs.items() if _is_readable(value)}


def _is_readable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_readable(member) for member in value.values())
    if isinstance(value, list | tuple | set):
        return all(_is_readable(member) for member in value)
    return isinstance(value, PLAIN) or is_tensor(value) or hasattr(value, "__dataclass_fields__")


def _big(who: str) -> str:
    return who[0].upper() + who[1:] if who.startswith("its") else who


def _spelt(called: str, signature: inspect.Signature) -> Words:
    return Words(f"{called}({', '.join(name for name in signature.parameters if name != 'self')})")
