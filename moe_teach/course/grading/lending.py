"""The things of the grader: it lends functions and modules, sends what it likes, believes little.

What comes from a worker is a number, a text, a tensor, or something of the learner's that stays
there. Everything else ends the exercise: nothing that a worker sends is ever run or unpacked here.
"""

import inspect
import io
import pickle
import sys
import weakref
from types import FunctionType
from typing import Any

import torch

from moe_teach.course.grading.ends import Ended
from moe_teach.course.grading.worker import objects
from moe_teach.course.grading.worker.things import Things, is_function
from moe_teach.course.grading.worker.wire import Nonsense

_OURS = "moe_teach."
_STAYS = ("moe_teach.chapters.", "moe_teach.judging.", "moe_teach.course.")
_WALKS = (type(iter([])), type(iter(())), type(iter({})), type(iter(range(0))), type(iter("")))


class Lending(Things):
    """What the grader lends to one worker."""

    def __init__(self) -> None:
        super().__init__()
        # Those of earlier stages are gone with them: nobody is to watch them at each message.
        self.mirrors = weakref.WeakValueDictionary()
        self.name = ""
        self.worker: Any = None

    def write_rest(self, writer: Any, value: Any, depth: int, *, is_reply: bool) -> Any:
        """Send a thing as it is where that says nothing about the check, else lend it."""
        if type(value).__module__.startswith("triton") and hasattr(value, "fn"):
            return ["S", writer.put(inspect.getsource(value.fn)), str(value.fn.__name__)]
        if not _stays(value):
            try:
                blob = writer.packing.blob(_pickled(self, writer, value))
                # A copy of an optimiser would move other parameters than the module's here.
                is_itself = isinstance(value, torch.optim.Optimizer)
                return ["P", blob, self.lend(value) if is_itself else None]
            except (pickle.PicklingError, TypeError, AttributeError):
                pass
        if not _may_be_lent(value):
            kind = type(value).__name__
            said = f"The check of {self.name} hands over a {kind}, which cannot travel."
            raise Ended("ungraded", said)
        return ["O", self.lend(value), objects.facts_of(value)]

    def read_rest(self, reader: Any, tag: str, rest: list[Any]) -> Any:
        """Read something of the learner's, if it may be one here."""
        if tag == "X":
            raise Ended(
                "invalid_result",
                f"{self.name} must give tensors, numbers, texts, or lists, tuples and dictionaries "
                f"of them: expected Tensor or a plain value, got {_word(*rest)}.",
            )
        if tag == "O":
            return self.meet(objects.distant(self.peer, rest[0], rest[1]), rest[0])
        raise Nonsense("a value of an unknown kind")


def _stays(value: Any) -> bool:
    """Tell what must not leave: what belongs to a check, and what has a life of its own."""
    kind = type(value)
    if kind in _WALKS or kind is slice:
        return False
    home = kind.__module__
    is_record = hasattr(kind, "__dataclass_fields__") or issubclass(kind, tuple)
    # One that stayed would step with the parameters here, while the learner's code trains theirs.
    steps = issubclass(kind, torch.optim.Optimizer)
    return home.startswith(_STAYS) and not is_record and not steps


def _may_be_lent(value: Any) -> bool:
    kind = type(value)
    return (
        kind.__module__.startswith(_OURS)
        or hasattr(value, "__next__")
        or "__main__" in kind.__module__
    )


def _word(kind: Any, text: Any) -> str:
    if str(kind).isidentifier():
        return str(kind)[:80]
    return str(text)[:200] if kind == "" else "something else"


def _pickled(things: Any, writer: Any, value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, writer, things).dump(value)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Packs what is handed to a worker; tensors, functions and modules go their own way."""

    def __init__(self, file: Any, writer: Any, things: Any) -> None:
        super().__init__(file, protocol=5)
        self._writer, self._things = writer, things

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            self._writer.names = self._things.name_of  # an optimiser moves parameters, no copies
            tree = self._writer.put(value)
            self._writer.names = None
            return tree
        if isinstance(value, torch.nn.Module | torch.Generator):
            return self._writer.put(value)
        if type(value) is FunctionType:
            known = getattr(sys.modules.get(value.__module__), value.__name__, None)
            if known is value and not value.__module__.startswith(_STAYS):
                return None
            return self._writer.put(value)
        if is_function(value) and not isinstance(getattr(value, "__self__", sys), type(sys)):
            return self._writer.put(value)  # a method keeps its object
        return None


def is_open(value: Any) -> bool:
    """Tell what a worker may be given of an object that was lent: nothing that leads elsewhere."""
    return not isinstance(value, type | type(sys))
