"""Questions with one right answer: facts to remember, and sums to work out for comparison.

A fact such as `de:FR=Frankreich` can only be known by heart, so the loss on the answers says how
much a model has stored; with sums of unseen numbers it says how well a rule was learned. Both are
read byte by byte, and judged by the nats per byte of the answer.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.data.arithmetic import family
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.data.corpus import build_domain
from moe_teach.data.facts_source import LOCALES, TERRITORIES
from moe_teach.data.pieces import Side, place, side_of

EQUALS, NEWLINE = ord("="), ord("\n")


@dataclass(frozen=True, repr=False)
class FactCorpus:
    """Lines `question=answer`.

    `lines` are taught. `questions` are asked: the same lines where only memory helps, others
    where there is a rule to find.
    """

    lines: tuple[str, ...]
    questions: tuple[str, ...]
    _differences: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"FactCorpus({len(self.lines)} lines such as {self.lines[0]!r})"

    def differences(self) -> tuple[str, ...]:
        """Return, in sentences, how the facts differ from the recorded ones."""
        return self._differences

    def token_ids(self, epochs: int = 8, seed: int = 0) -> dict[str, Int[Tensor, " _"]]:
        """Return the bytes of all lines `epochs` times over, for `Batches`.

        Each time in another order: otherwise a model would learn which line follows which.
        """
        rng = random.Random(seed)
        orders = (rng.sample(self.lines, len(self.lines)) for _ in range(epochs))
        text = "".join(f"{line}\n" for order in orders for line in order)
        return {"facts": torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int32))}

    def evaluation_batches(
        self, batch_size: int, seq_len: int, n_questions: int = 512, seed: int = 0
    ) -> list[Batch]:
        """Ask `n_questions`, the same every time, each exactly once.

        A row holds as many whole lines as fit. Targets are the bytes of the answers; everything
        else is -100, so that torch's cross-entropy is the nats per answer byte.

        Raises:
            ValueError: a line does not fit into a row.
        """
        n_asked = min(n_questions, len(self.questions))
        asked = random.Random(f"questions {seed}").sample(self.questions, n_asked)
        rows = list(_packed(asked, seq_len))
        return [
            _asking(rows[first : first + batch_size]) for first in range(0, len(rows), batch_size)
        ]


def build_facts(n_locales: int = len(LOCALES), n_territories: int = TERRITORIES) -> FactCorpus:
    """Build the names of countries in several languages: `de:FR=Frankreich`.

    Names that changed between versions of Babel are left out, so that the facts are the same on
    every machine.

    Args:
        n_locales: how many of the 28 languages.
        n_territories: how many countries in each, a few less where names are left out.

    Raises:
        ValueError: a number is out of range.
    """
    refuse(
        not 1 <= n_locales <= len(LOCALES),
        f"n_locales must lie between 1 and {len(LOCALES)}, but it is {n_locales}.",
    )
    refuse(n_territories < 1, f"n_territories must be at least 1, but it is {n_territories}.")
    built = build_domain("facts")
    facts = {tuple(line.split("=")[0].split(":")): line for line in built["train"].split("\n\n")}
    facts.pop(("",), None)
    codes = sorted({code for _, code in facts}, key=place)[:n_territories]
    wanted = [(locale, code) for locale in LOCALES[:n_locales] for code in codes]
    lines = tuple(facts[key] for key in wanted if key in facts)
    return FactCorpus(lines, lines, tuple(built["differences"]))


def build_sums(n_digits: int = 3, n_lines: int = 20_000, seed: int = 0) -> FactCorpus:
    """Build sums of two numbers of up to `n_digits` digits: `417+86=503`.

    One pair of numbers in ten, in either order, is never taught and only asked for.

    Raises:
        ValueError: a number is out of range.
    """
    refuse(not 1 <= n_digits <= 9, f"n_digits must lie between 1 and 9, but it is {n_digits}.")
    refuse(n_lines < 10, f"n_lines must be at least 10, but it is {n_lines}.")
    n_questions = max(1, n_lines // 10)
    sums = {
        side: tuple(_sums(f"{side} {seed}", side, n_digits, count))
        for side, count in (("train", n_lines), ("validation", n_questions))
    }
    return FactCorpus(sums["train"], sums["validation"])


def answer_mask(token_ids: Int[Tensor, "B S"]) -> Bool[Tensor, "B S"]:
    """Say which bytes belong to an answer: between an equals sign and the end of its line.

    An answer whose question lies before the row is not counted: its line has no equals sign here.
    """
    place_in_row = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
    nowhere = torch.full_like(place_in_row, -1)
    last_equals = place_in_row.where(token_ids == EQUALS, nowhere).cummax(dim=1).values
    last_newline = place_in_row.where(token_ids == NEWLINE, nowhere).cummax(dim=1).values
    return (last_equals > last_newline) & (token_ids != EQUALS)


def _asking(rows: list[list[int]]) -> Batch:
    tokens = torch.tensor(rows)
    targets = tokens.masked_fill(~answer_mask(tokens), NO_TARGET)
    domain_ids = torch.zeros(len(tokens), dtype=torch.long)
    return Batch(tokens[:, :-1].contiguous(), targets[:, 1:].contiguous(), domain_ids)


def _packed(lines: list[str], seq_len: int) -> Iterator[list[int]]:
    """Give rows of seq_len + 1 bytes: a line end, then whole lines, then line ends."""
    row = [NEWLINE]
    for line in lines:
        encoded = [*line.encode(), NEWLINE]
        refuse(
            len(encoded) > seq_len,
            f"The line {line!r} has {len(encoded)} bytes and does not fit into {seq_len} tokens: "
            "raise seq_len.",
        )
        if len(row) + len(encoded) > seq_len + 1:
            yield row + [NEWLINE] * (seq_len + 1 - len(row))
            row = [NEWLINE]
        row += encoded
    if len(row) > 1:
        yield row + [NEWLINE] * (seq_len + 1 - len(row))


def _sums(seed: str, side: Side, n_digits: int, count: int) -> Iterator[str]:
    rng = random.Random(seed)
    while count:
        b, c = rng.randrange(10**n_digits), rng.randrange(10**n_digits)
        if side_of(family(b, c, "+")) == side:
            yield f"{b}+{c}={b + c}"
            count -= 1
