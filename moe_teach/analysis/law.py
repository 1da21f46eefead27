"""One law, and the book that laws are entered in."""

from collections.abc import Callable
from dataclasses import dataclass

from moe_teach.analysis.subject import Subject


@dataclass(frozen=True)
class Law:
    """One law: its name, what it says, what it needs to know, and its test.

    `test(subject)` returns if the law holds, raises `LawBroken` if it does not and `CannotHold`
    where it could not.
    """

    name: str
    sentence: str
    needs: tuple[str, ...]
    test: Callable[[Subject], None]


class LawBook(list[Law]):
    """Laws in the order in which they were entered."""

    def law(self, name: str, sentence: str, *needs: str) -> Callable:
        """Enter the decorated test; `needs` names what a `Subject` may lack (see there)."""

        def enter(test: Callable[[Subject], None]) -> Callable[[Subject], None]:
            self.append(Law(name, sentence, needs, test))
            return test

        return enter
