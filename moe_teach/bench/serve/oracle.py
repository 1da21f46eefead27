"""What a served model must answer: the text of `train.generate`, one request at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from moe_teach.data.tokenizer import AnyTokenizer
from moe_teach.nn.model import Model
from moe_teach.train.generate import generate

# Beginnings of different lengths, of all that the shipped model has read.
BEGINNINGS = (
    "import os\n",
    "55 + 87 =",
    "def __init__(self",
    "Return the",
    "The default",
    "12 * 11 = ",
    "class Error(",
    "São",
    "from collections import",
    "If the file does not exist,",
    "x",
    "for name in names:\n    ",
)


@dataclass(frozen=True)
class Right:
    """A beginning, its tokens, and the greedy text of the model alone."""

    prompt: str
    prompt_ids: tuple[int, ...]
    text: str
    n_tokens: int


def right_answers(
    model: Model, tokenizer: AnyTokenizer, n_tokens: int, prompts: Sequence[str] = BEGINNINGS
) -> tuple[Right, ...]:
    """Continue every beginning greedily by `n_tokens`, or up to the mark that ends a text."""
    return tuple(_right(model, tokenizer, n_tokens, prompt) for prompt in prompts)


def _right(model: Model, tokenizer: AnyTokenizer, n_tokens: int, prompt: str) -> Right:
    ids = tokenizer.encode(prompt)
    more = generate(model, ids, n_tokens, temperature=0.0)
    end = getattr(tokenizer, "end_id", None)
    if end in more:
        more = more[: more.index(end) + 1]
    return Right(prompt, tuple(ids), tokenizer.decode(more), len(more))
