"""Makes an audit of a model and a text; nothing is drawn at random that a seed does not fix."""

import hashlib
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer

from moe_teach.analysis.audit.crowds import crowds, frequent
from moe_teach.analysis.audit.layers import layer_views
from moe_teach.analysis.audit.reading import Reading, read
from moe_teach.analysis.audit.report import AuditReport, Closed, LayerView
from moe_teach.analysis.audit.subjects import Own, Subject
from moe_teach.analysis.audit.without import closings
from moe_teach.analysis.interventions.answers import Answers, answers_of
from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.config import refuse
from moe_teach.nn.model import Model

SHOWN = 240  # tokens that the page prints, one by one


def gather(
    model: Model | Subject,
    tokenizer_json: str,
    text: str,
    *,
    model_name: str,
    text_name: str,
    shown: int = SHOWN,
) -> AuditReport:
    """Read a text with a model and say what its routers did, and what would have been.

    At most 64 windows of 128 tokens are read, from its beginning; `shown` tokens are kept to print.
    The names are those that a page calls model and text by. A model of transformers is handed over
    as `moe_teach.analysis.audit.subjects.Hooked(model)`.

    Raises:
        ValueError: no experts, experts that choose, a tokenizer of another model, or no text.
    """
    subject = Own(model) if isinstance(model, Model) else model
    refuse(shown < 1, f"At least one token must be shown, not {shown}.")
    tokenizer, digest = Tokenizer.from_str(tokenizer_json), hashlib.sha256(text.encode())
    reading = read(text, tokenizer, subject.longest)
    subject.demand_ids(reading.inputs)
    batches = reading.batches()
    record, before = subject.record(batches), answers_of(subject.answering, batches)
    layers = layer_views(record, reading.pieces, shown)
    closed, not_closed = _closed(subject, reading, layers, before, _namer(tokenizer))
    found, not_capped = crowds(subject, reading.inputs)
    return AuditReport(
        *(model_name, record.weights_digest, text_name, digest.hexdigest()),
        **_figures(record, reading, before),
        tokens=tuple(reading.pieces[: min(shown, len(record))]),
        layers=layers,
        closed=closed,
        not_closed=not_closed,
        crowds=found,
        flood_word=tokenizer.decode([frequent(reading.inputs)]),
        not_capped=not_capped,
        read_by=subject.read_by,
    )


def _figures(record: RouteRecord, reading: Reading, before: Answers) -> dict[str, Any]:
    return {
        "loss": round(float(before.losses.double().mean()), 4),
        "drops": record.kept is not None,
        "n_experts": record.n_experts,
        "top_k": record.top_k,
        "n_tokens": len(record),
        "n_windows": len(reading.inputs),
        "window": reading.inputs.shape[1],
        "n_left_out": reading.n_left_out,
    }


def _closed(
    subject: Subject,
    reading: Reading,
    layers: tuple[LayerView, ...],
    before: Answers,
    name_of: Callable[[int], str],
) -> tuple[tuple[Closed, ...], str]:
    """Close experts; where that cannot be done, give the reason instead."""
    try:
        return closings(subject, reading, [view.load for view in layers], before, name_of), ""
    except ValueError as reason:
        return (), str(reason)


def _namer(tokenizer: Tokenizer) -> Callable[[int], str]:
    """Give a function from a token's id to what it would write; half a character has no writing."""

    def name(token: int) -> str:
        written = tokenizer.decode([token], skip_special_tokens=False)
        return written if "\ufffd" not in written else f"[token {token}]"

    return name
