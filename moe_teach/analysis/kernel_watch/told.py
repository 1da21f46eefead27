"""What a learner reads about a kernel, in the three steps in which a check tells it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Told:
    """A finding in words; as text, all of them in a row.

    `symptom` says what was seen and in which line, `cause` what it most likely comes from, and
    `cure` what to do. Where nothing is known about one of the last two, it is empty.
    """

    symptom: str
    cause: str = ""
    cure: str = ""

    def __str__(self) -> str:
        return joined(self.symptom, self.cause, self.cure)


class _InWords(Protocol):
    @property
    def told(self) -> Told: ...


class Telling:
    """What has its words in `told`."""

    @property
    def sentence(self: _InWords) -> str:
        """All that is told, in a row."""
        return str(self.told)


def joined(*parts: object) -> str:
    """Put sentences behind one another, and leave empty ones out."""
    return " ".join(text for text in (str(part).strip() for part in parts) if text)
