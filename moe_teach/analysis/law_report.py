"""What came out when a layer was held against the laws, as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal

Outcome = Literal["holds", "broken", "raised", "cannot hold", "not tested"]

_SIGNS = {"holds": "✓", "broken": "✗", "raised": "✗", "cannot hold": "○", "not tested": "–"}


@dataclass(frozen=True)
class LawResult:
    """How one law came out.

    "cannot hold" means that mathematics forbids it for this layer, "not tested" that the law
    needs something this layer did not offer; `seen` says what, in a sentence.
    """

    name: str
    sentence: str
    outcome: Outcome
    seen: str = ""


@dataclass(frozen=True)
class LawReport:
    """All results in order. True where no law was broken; `report["gates sum"]` is one result."""

    results: tuple[LawResult, ...]

    def __bool__(self) -> bool:
        return not self.broken

    def __iter__(self) -> Iterator[LawResult]:
        return iter(self.results)

    def __getitem__(self, name: str) -> LawResult:
        for result in self.results:
            if result.name == name:
                return result
        known = ", ".join(repr(result.name) for result in self.results)
        raise KeyError(f"There is no law called {name!r}; there are {known}.")

    @property
    def broken(self) -> tuple[LawResult, ...]:
        """The laws that the layer breaks, or in which it raised an error."""
        return tuple(result for result in self.results if result.outcome in ("broken", "raised"))

    def __str__(self) -> str:
        width = max((len(result.name) for result in self.results), default=0)
        return "\n".join(
            f"{_SIGNS[result.outcome]} {result.name:<{width}}  {result.outcome:<11}  "
            f"{result.seen or result.sentence}"
            for result in self.results
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_SIGNS[result.outcome]} {result.outcome}</td>"
            f'<td style="text-align:left"><b>{escape(result.name)}</b><br>'
            f"{escape(result.sentence)}{_seen(result)}</td></tr>"
            for result in self.results
        )
        head = "<tr><th>outcome</th><th>law</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _seen(result: LawResult) -> str:
    """Write what was seen under the law: a column of its own would be empty where laws hold."""
    said = "seen: " if result.outcome in ("broken", "raised") else ""
    return f"<br><i>{said}{escape(result.seen)}</i>" if result.seen else ""
