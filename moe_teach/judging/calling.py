"""Calls a learner's answer for a check and notices what the check itself cannot see.

Parameters that differ from the stub's, a forgotten `return` and arguments that came back changed
would all surface later as something else: as a wrong number, or as an example nobody can repeat.
"""

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from moe_teach.judging import folding
from moe_teach.judging.compare import is_tensor, outlined, plain
from moe_teach.judging.elsewhere import told_of
from moe_teach.judging.exercise import Exercise, Stage, Words, WrongAnswer
from moe_teach.judging.guard import TookTooLong, within
from moe_teach.judging.traces import CHANGED, GRADIENT, MODE, SWITCHED

FORGOTTEN = "A path through it ends without a return statement."
Reference = Callable[[Exercise], Any]  # gives the course's own solution
_PLAIN = (bool, int, float, str, type(None))
_Fact = tuple[tuple[str, str, str], Any]
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

        A kernel is not called but launched, and the launch leaves them with the error.
        """
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
            self._inputs = {name: _copy(value) for name, value in given.items()}
            is_free = self.exercise.changes_inputs
            before = {} if is_free else {name: _facts(given[name], []) for name in given}
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
            now = _facts(given[name], [])
            told = CHANGED if len(then) != len(now) else None
            for (about, old), (_, new) in zip(then, now, strict=False):
                told = told or (None if _same(old, new) else about)
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
    return isinstance(value, _PLAIN) or is_tensor(value) or hasattr(value, "__dataclass_fields__")


def _big(who: str) -> str:
    return who[0].upper() + who[1:] if who.startswith("its") else who


def _spelt(called: str, signature: inspect.Signature) -> Words:
    return Words(f"{called}({', '.join(name for name in signature.parameters if name != 'self')})")


def _copy(value: Any) -> Any:
    """Copy what can be changed in place without a method of its own; keep the rest itself."""
    if _is_fixed(value):
        return value
    if is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_copy(member) for member in value)
    return value


def _facts(value: Any, found: list[_Fact]) -> list[_Fact]:
    """Add to `found` all that a call could change of a value, each with the words that say so."""
    if _is_fixed(value):
        found.append((CHANGED, value))
        return found
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    members: Any = ()
    if type(value) is list and all(map(_is_fixed, value)):
        found.append((CHANGED, [*value, *map(type, value)]))  # 1, 1.0 and True are equal
    elif is_tensor(value):
        has_grad = (value.is_leaf or value.retains_grad) and value.grad is not None
        found.append((CHANGED, value.detach().clone()))
        found.append((GRADIENT, value.grad.clone() if has_grad else None))
        found.append((SWITCHED, value.requires_grad))
    elif torch and isinstance(value, torch.nn.Module):
        found.append((MODE, [module.training for module in value.modules()]))
        members = [*value.parameters(), *value.buffers()]
    elif numpy and isinstance(value, numpy.ndarray):
        found.append((CHANGED, (value.shape, value.dtype.str, value.tobytes())))
    elif isinstance(value, dict):
        found.append((CHANGED, list(value)))
        members = value.values()
    elif isinstance(value, list | tuple):
        found.append((CHANGED, len(value)))
        members = value
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        members = [getattr(value, name) for name in value.__dataclass_fields__]
    else:
        found.append((CHANGED, set(value) if isinstance(value, set) else value))
    for member in members:
        _facts(member, found)
    return found


def _is_fixed(value: Any) -> bool:
    """Tell what nothing can change, in one look: a log has thousands of such values."""
    kind = type(value)
    return kind in _PLAIN or (kind is tuple and all(map(_is_fixed, value)))


def _same(before: Any, now: Any) -> bool:
    if is_tensor(before):
        if not is_tensor(now) or before.shape != now.shape or before.dtype != now.dtype:
            return False
        if before.equal(now):
            return True
        return bool(((before == now) | ((before != before) & (now != now))).all())
    # What a learner put there may claim to equal anything: only what is plain is asked.
    kinds = (*_PLAIN, list, tuple, set)
    return before is now or (type(before) is type(now) and type(before) in kinds and before == now)
