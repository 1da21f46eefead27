"""What a module changes: the model it was made of, with it and without it, text by text."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from tokenizers import Tokenizer

from moe_teach.checkpoint.opened import Opened
from moe_teach.compose.modules.installed import put_in
from moe_teach.compose.modules.manifest import Measured
from moe_teach.compose.modules.packing import pack
from moe_teach.config import refuse
from moe_teach.data.batches import evaluation_batches
from moe_teach.data.text import read_text
from moe_teach.data.tokenizer import BPETokenizer, encode_domains
from moe_teach.nn.model import Model
from moe_teach.train.evaluate import evaluate

ROWS, WINDOW, WINDOWS = 16, 128, 64  # of a batch; tokens; of a text, spread over all of it


def effect(
    said: Sequence[str], base: Opened, trained: Model, places: Sequence[tuple[int, int]]
) -> tuple[Measured, ...]:
    """Compare a base with itself after a module was put in, on texts `NAME=FILE`.

    Nats per token over at most 64 windows of 128 tokens of each text, spread over it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a text is named twice, is too short, or the base cannot read text.
    """
    text = base.tokenizer_json
    refuse(text is None, "The base has no tokenizer, and without one no text can be measured.")
    window = min(WINDOW, base.model.config.max_seq_len)
    ids = encode_domains(_texts(said), BPETokenizer(Tokenizer.from_str(text)))
    short = [name for name, one in ids.items() if len(one) <= window]
    refuse(bool(short), f"These texts have fewer than {window + 1} tokens: {', '.join(short)}.")
    changed = deepcopy(base.model)
    put_in(changed, pack(trained, places, "measured"))
    measured = []
    for name, one in ids.items():
        batches = evaluation_batches({name: one}, ROWS, window, WINDOWS)
        n_tokens = sum(batch.targets.numel() for batch in batches)
        before, after = (round(evaluate(m, batches).loss, 4) for m in (base.model, changed))
        measured.append(Measured(name, before, after, n_tokens))
    return tuple(measured)


def _texts(said: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for word in said:
        name, equals, file = word.partition("=")
        refuse(not (name and equals and file), f"A text is named as NAME=FILE, not {word!r}.")
        refuse(name in texts, f"Two texts are called {name}: give each a name of its own.")
        corpus = read_text(Path(file), name)
        texts[name] = corpus.train[name] + corpus.validation[name]
    return texts
