"""Modules that stay with their owner, with their parameters mirrored where they are asked."""

from typing import Any

from moe_teach.course.grading.worker import objects


class Modules:
    """What both sides do with modules and objects that were lent."""

    def do(self, what: str, *body: Any) -> Any:
        """Do something with a part of what was lent."""
        return objects.do(self, what, *body)

    def write_module(self, writer: Any, value: Any, depth: int, *, is_reply: bool) -> Any:
        """Write a module."""
        return self.write_rest(writer, value, depth, is_reply=is_reply)

    def read_module(self, reader: Any, rest: list[Any]) -> Any:
        """Read a module."""
        return None
