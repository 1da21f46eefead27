"""The things of a worker: it lends the learner's, and may be sent whatever the grader likes."""

import io
import pickle
from typing import Any

from moe_teach.course.grading.worker import objects
from moe_teach.course.grading.worker.things import Things, facts_of, is_function
from moe_teach.judging.compare import describe
from moe_teach.judging.exercise import MISSING


class PartsThere(Things):
    """What a worker lends: the learner's functions, classes and the objects these make."""

    def __init__(self) -> None:
        super().__init__()
        # A result must be plain; what is made in the place of a class need not be.
        self.lends_objects = False

    def begin(self) -> None:
        """Watch no longer what an earlier stage left, mirrors included."""
        super().begin()
        for mirror in self.mirrors.values():
            object.__setattr__(mirror, "told", None)

    def write_rest(self, writer: Any, value: Any, depth: int, *, is_reply: bool) -> Any:
        """Lend an object where one may be, else say what came instead of a value."""
        if not is_reply or self.lends_objects or isinstance(value, type):
            return ["O", self.lend(value), objects.facts_of(value)]
        return ["X", _kind(value), describe(value)[:2000]]

    def read_rest(self, reader: Any, tag: str, rest: list[Any]) -> Any:
        """Read what the grader sends."""
        if tag == "P":
            content = reader.blobs[rest[0]]
            copied = _Unpickler(io.BytesIO(content), reader).load()
            return copied if rest[1] is None else self.meet(copied, rest[1])
        if tag == "S":
            from moe_teach.judging.launching import kernel_from

            return kernel_from(*rest)
        return self.meet(objects.distant(self.peer, rest[0], rest[1]), rest[0])

    def as_answer(self, answer: Any) -> Any:
        """Tell what the learner handed in: enough to put a stand-in in its place."""
        if answer is MISSING or answer is Ellipsis:
            return {"kind": "missing"}
        told: dict[str, Any] = {"number": self.lend(answer), "type": _kind(answer)}
        if issubclass(type(answer), type):
            return told | {"kind": "class", **objects.class_facts(answer)}
        if type(answer).__module__.startswith("triton"):
            names = [str(name) for name in getattr(answer, "arg_names", ())]
            has_code = hasattr(answer, "fn") and hasattr(answer, "arg_names")
            return told | {"kind": "kernel", "names": names, "has_code": has_code}
        if is_function(answer):
            return told | {"kind": "function", **facts_of(answer)}
        if callable(answer):
            return told | {"kind": "function", **objects.call_facts(answer)}
        return told | {"kind": "thing", "text": describe(answer)[:2000]}


def _kind(value: Any) -> str:
    return str(type(value).__name__)


class _Unpickler(pickle.Unpickler):
    """Reads what the grader wrote; a worker trusts its grader, never the other way round."""

    def __init__(self, file: Any, reader: Any) -> None:
        super().__init__(file)
        self._reader = reader

    def persistent_load(self, tree: Any) -> Any:
        return self._reader.get(tree)
