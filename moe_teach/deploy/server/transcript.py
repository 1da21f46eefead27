"""Tokens become text as they come, and no text leaves that later tokens could take back.

Two things make a client wait. A token may hold a part of a character: a byte-level tokenizer cuts
UTF-8 anywhere, and the rest comes with the next token. And the text so far may be the beginning
of a stop, of which no letter may be shown if the rest follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moe_teach.data.tokenizer import AnyTokenizer
from moe_teach.deploy.engine.requests import Token

Ending = Literal["stop", "length"]
CUT = "\ufffd"  # what a decoder writes for a part of a character
_CONTEXT, _WINDOW = 8, 32  # tokens that a decoder sees again, and at which it forgets the others


class Detokenizer:
    """Decodes one token at a time; the pieces together are what decoding all at once gives.

    Only a few tokens are decoded anew each time: some tokenizers write a token differently at the
    beginning of a text than inside it, so it always has some before it.
    """

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._n_shown = 0  # letters of these tokens' text that have left

    def feed(self, token_id: int) -> str:
        """Take a token and return the text that is certain now."""
        self._ids.append(token_id)
        text, certain = self._decoded(self._ids)
        new = text[self._n_shown : certain]
        self._n_shown = max(self._n_shown, certain)
        if len(self._ids) > _WINDOW and certain == len(text):
            self._ids = self._ids[-_CONTEXT:]
            self._n_shown = len(self._tokenizer.decode(self._ids))
        return new

    def foresee(self, token_id: int) -> str:
        """Return the text that would be certain if this token came next."""
        text, certain = self._decoded([*self._ids, token_id])
        return text[self._n_shown : certain]

    def _decoded(self, ids: list[int]) -> tuple[str, int]:
        text = self._tokenizer.decode(ids)
        # A character that is not complete is a single mark at the end, however many bytes it has.
        return text, len(text) - text.endswith(CUT)

    def flush(self) -> str:
        """Return what was held back: the text ends here."""
        rest = self._tokenizer.decode(self._ids)[self._n_shown :]
        self._n_shown += len(rest)
        return rest


class StopSearch:
    """Lets text pass up to the first stop, and holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Take text; return what may leave, and whether a stop was met behind it."""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            free, self._held = self._held[: min(found)], ""
            return free, True
        keep = max((self._begun(stop) for stop in self._stops), default=0)
        free = self._held[: len(self._held) - keep]
        self._held = self._held[len(free) :]
        return free, False

    def flush(self) -> str:
        """Return what was held back: the text ends here, and no stop came."""
        rest, self._held = self._held, ""
        return rest

    def _begun(self, stop: str) -> int:
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A likely token in the place of another: the text it would have added."""

    text: str
    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Said:
    """One token of an answer: the text it added, the place of that, and what the engine said."""

    text: str
    place: int
    token: Token
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What may leave after one more token: text, the tokens it came from, perhaps the end."""

    text: str
    said: tuple[Said, ...]
    ending: Ending | None = None


class Transcript:
    """The text of one answer. A token leaves with the first letter of it that does."""

    def __init__(self, tokenizer: AnyTokenizer, stops: Sequence[str]) -> None:
        self._decoder, self._search = Detokenizer(tokenizer), StopSearch(stops)
        self._waiting: list[Said] = []
        self._n_decoded = 0
        self._n_left = 0
        self.n_tokens = 0
        self.versions: list[int] = []

    def feed(self, token: Token) -> Piece:
        """Take the next token of the engine."""
        self.n_tokens += 1
        if token.version not in self.versions:
            self.versions.append(token.version)
        likely = token.alternatives or ()
        foreseen = {one: self._decoder.foresee(one) for one, _ in likely}
        text = self._decoder.feed(token.token_id)
        if token.finish is not None:
            text += self._decoder.flush()
        foreseen[token.token_id] = text
        others = tuple(Alternative(foreseen[one], one, logprob) for one, logprob in likely)
        self._waiting.append(Said(text, self._n_decoded, token, others))
        self._n_decoded += len(text)
        free, is_stopped = self._search.feed(text)
        if is_stopped:
            return self._piece(free, "stop")
        if token.finish is None:
            return self._piece(free, None)
        return self._piece(
            free + self._search.flush(), "stop" if token.finish == "stop" else "length", is_all=True
        )

    def _piece(self, text: str, ending: Ending | None, is_all: bool = False) -> Piece:
        self._n_left += len(text)
        leaving = [one for one in self._waiting if is_all or one.place < self._n_left]
        del self._waiting[: len(leaving)]
        return Piece(text, tuple(leaving), ending)
