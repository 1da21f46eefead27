"""Objects that stay with their owner: what their stand-ins ask for, and what an owner tells."""

import contextlib
import inspect
from collections.abc import Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any

from moe_teach.course.grading.worker.things import dressed
from moe_teach.course.grading.worker.things import facts_of as function_facts
from moe_teach.judging import folding
from moe_teach.judging.elsewhere import told_of
from moe_teach.judging.traces import copied


def facts_of(value: Any) -> dict[str, Any]:
    """Tell what a stand-in of an object needs to know."""
    return {"type": str(type(value).__name__)}


def call_facts(value: Any) -> dict[str, Any]:
    """Tell the parameters of an object that can be called."""
    return function_facts(getattr(value, "forward", value)) | {"name": str(type(value).__name__)}


def class_facts(kind: type) -> dict[str, Any]:
    """Tell of a class the methods that the learner wrote and a check may call."""
    file = folding.file_of(kind)
    methods: dict[str, Any] = {}
    for owner in type.mro(kind):
        for name, method in vars(owner).items():
            is_open = not name.startswith("_") or name in ("__init__", "__call__")
            if is_open and type(method) is FunctionType and folding.is_learners(method, file):
                methods.setdefault(name, function_facts(method) | {"name": name})
    bases = [base.__name__ for base in type.mro(kind) if base.__module__.startswith("torch.")]
    return {
        "name": kind.__name__,
        "methods": list(methods.values()),
        "is_module": "Module" in bases,
        "parameters": _init_parameters(kind),
    }


def _init_parameters(kind: type) -> Any:
    try:
        signature = inspect.signature(kind)
    except (TypeError, ValueError):
        return None
    return [[p.name, int(p.kind), p.default is not p.empty] for p in signature.parameters.values()]


class Distant:
    """An object of the other side's: whatever is asked of it, is asked there."""

    def __init__(self, peer: Any, number: int) -> None:
        object.__setattr__(self, "_line", (peer, number))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._ask("invoke", list(args), named)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __bool__(self) -> bool:
        return True

    def __deepcopy__(self, memo: Any) -> "Distant":
        return self  # who owns the object copies it, and puts the copy in this one's place

    def __len__(self) -> int:
        return self._ask("length")

    def __iter__(self) -> "Distant":
        return self._ask("iter")

    def __next__(self) -> Any:
        found, value = self._ask("next")
        if not found:
            raise StopIteration
        return value

    @staticmethod
    def elsewhere_together(questions: list[tuple[Any, ...]], tell: str, ask: str) -> Any:
        """Have many calls of two methods of several objects made in one go (see `ability`).

        A question is the object, the subjects that are new to it, what to tell it (each a subject
        and more) and the subjects to ask about; subjects go by the order in which they came.
        """
        return questions[0][0]._ask("together", questions, tell, ask)

    @staticmethod
    def elsewhere_in_turn(calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Have methods of several objects called in one go (see `in_turn`)."""
        before = [copied(args) for _, _, *args in calls]
        try:
            return calls[0][0]._ask("in_turn", [list(call) for call in calls])
        except BaseException as error:
            told = told_of(error)
            if told and type(told.call) is int and 0 <= told.call < len(calls):
                given = _by_name(*calls[told.call][:2], before[told.call])
                error.elsewhere = replace(told, given=given)  # type: ignore[attr-defined]
            raise

    def _ask(self, what: str, *body: Any) -> Any:
        peer, number = object.__getattribute__(self, "_line")
        return peer.ask("part", what, number, *body)


def _by_name(thing: Any, name: str, args: list[Any]) -> dict[str, Any]:
    """Give arguments under the names of the parameters, if those are told."""
    with contextlib.suppress(TypeError, ValueError):
        return dict(inspect.signature(getattr(thing, name)).bind(*args).arguments)
    return {}


def distant(peer: Any, number: int, facts: Any) -> Any:
    """Make the stand-in of an object, under the name of its kind."""
    return type(str(facts["type"]), (Distant,), {})(peer, number)


def do(things: Any, what: str, number: int, *body: Any) -> Any:
    """Do what the stand-in of an object was asked for."""
    thing = things.lent[number]
    if what == "do":
        return getattr(thing, open_name(body[0]))(*body[1], **body[2])
    if what == "get":
        return getattr(thing, open_name(body[0]))
    if what == "set":
        return setattr(thing, open_name(body[0]), body[1])
    if what == "invoke":
        return thing(*body[0], **body[1])
    if what == "item":
        return thing[body[0]]
    if what == "length":
        return len(thing)
    if what == "iter":
        return iter(thing)
    if what == "next":
        return _next(thing)
    if what == "together":
        return _together(things, *body)
    if what == "in_turn":
        return _in_turn(*body)
    raise LookupError(what)


def _together(things: Any, questions: Any, tell: Any, ask: Any) -> list[list[Any]]:
    """Tell objects several things, then ask each about some of the subjects that it knows."""
    answers = []
    for thing, new, told, asked in questions:
        subjects = things.subjects.setdefault(things.lend(thing), [])
        subjects += new
        telling, asking = getattr(thing, open_name(tell)), getattr(thing, open_name(ask))
        for number, *rest in told:
            telling(subjects[number], *rest)
        answers.append([asking(subjects[number]) for number in asked])
    return answers


def _in_turn(calls: Any) -> list[Any]:
    """Call methods of several objects, and let an error say which call it was."""
    found: list[Any] = []
    try:
        for thing, name, *args in calls:
            found.append(getattr(thing, open_name(name))(*args))
    except BaseException as error:
        error.call_in_turn = len(found)  # type: ignore[attr-defined]
        raise
    return found


def _next(thing: Any) -> tuple[bool, Any]:
    try:
        return True, next(thing)
    except StopIteration:
        return False, None


def open_name(name: Any) -> str:
    """Let names through that lead to what is meant to be seen."""
    if type(name) is not str or name.startswith("_") or not name.isidentifier():
        raise AttributeError(name)
    return name


__all__ = ["Distant", "call_facts", "class_facts", "distant", "do", "dressed", "facts_of"]
