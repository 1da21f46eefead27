"""How far our models answer from those of the libraries they leave for: one table of differences.

    moe-teach bench parity

A case is a function that gives rows; `CASES` lists them.
"""

import importlib.util
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.bench.blocks.parity import compare_all
from moe_teach.bench.gguf_parity import measure_all
from moe_teach.bench.parity_models import TINY, tiny
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.layouts import layout_named
from moe_teach.nn.model import Model
from moe_teach.train.shipped import load_shipped

LIMIT = 1e-4
BACKENDS = ("eager", "batched_mm", "grouped_mm")
HEADER = ("architecture", "level", "back-end", "outputs", "gradients", "limit", "verdict")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The largest differences between two implementations with the same weights."""

    architecture: str
    level: str
    backend: str
    outputs: float
    gradients: float | None = None
    limit: float = LIMIT

    @property
    def is_equal(self) -> bool:
        """Whether both are within the limit; no number is within none."""
        return all(not_more(d, self.limit) for d in (self.outputs, self.gradients))

    def cells(self) -> list[str]:
        """Give the row's texts for a table."""
        gradients = "-" if self.gradients is None else f"{self.gradients:.1e}"
        verdict = "equal" if self.is_equal else "DIFFERENT"
        texts = [self.architecture, self.level, self.backend, f"{self.outputs:.1e}", gradients]
        return [*texts, f"{self.limit:.0e}", verdict]


Case = Callable[[], Iterator[Row]]


def not_more(difference: float | None, limit: float) -> bool:
    """Tell whether a difference, if there is one, is a number within the limit."""
    return difference is None or difference <= limit


def quiet_transformers() -> Any:
    """Import transformers without bars of progress and advice."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def opened_by_transformers(folder: Path, **options: Any) -> nn.Module:
    """Load a folder as their users do."""
    automatic = quiet_transformers().AutoModelForCausalLM
    return automatic.from_pretrained(folder, local_files_only=True, **options).eval()


@torch.no_grad()
def difference(ours: Model, theirs: nn.Module, token_ids: Tensor) -> float:
    """Return the largest difference of the logits (B, S, V)."""
    return float((ours(token_ids).logits - theirs(token_ids).logits).abs().max())


def some_text(model: Model) -> Tensor:
    """Return random ids (3, S), which fill most of the model's context."""
    longest = min(model.config.max_seq_len, 70)
    source = torch.Generator().manual_seed(1)
    return torch.randint(model.config.vocab_size, (3, longest), generator=source)


def exported(model: Model, layout: str, architecture: str) -> Iterator[Row]:
    """Compare a model with what transformers opens of it, and with what comes back from there."""
    text = some_text(model)
    with tempfile.TemporaryDirectory() as home:
        export_hf(model, Path(home) / "ours", layout)
        theirs = opened_by_transformers(Path(home) / "ours")
        for backend in BACKENDS:
            theirs.set_experts_implementation(backend)
            far = difference(model, theirs, text)
            yield Row(
                architecture=architecture, level="model, exported", backend=backend, outputs=far
            )
        theirs.save_pretrained(Path(home) / "theirs")
        back = import_hf(Path(home) / "theirs").model
        far = difference(back, theirs, text)
        yield Row(architecture=architecture, level="model, imported", backend=backend, outputs=far)


def full_model(layout: str) -> Case:
    """Make the case of a tiny model in a published layout."""
    return lambda: exported(tiny(layout), layout, layout_named(layout).title)


def shipped() -> Iterator[Row]:
    """Compare the model that comes with the package."""
    yield from exported(load_shipped().model, "ernie4_5_moe", "the shipped model, ERNIE-4.5-MoE")


def blocks() -> Iterator[Row]:
    """Compare our layer with the MoE block of every architecture, forward and backward.

    Differences are parts of the largest number of the tensor compared; the worst gradient counts.
    """
    for found in compare_all():
        yield Row(
            architecture=found.case.name,
            level="block",
            backend=str(found.dtype).removeprefix("torch."),
            outputs=found.outputs if found.same_experts else math.inf,
            gradients=found.worst_gradient,
            limit=found.limit,
        )


def gguf() -> Iterator[Row]:
    """Compare models written as GGUF with llama.cpp on the files, greedy continuations included.

    Differences are of log-probabilities over the whole vocabulary, in nats.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        print("llama.cpp is not here (xllamacpp): its rows are missing.", file=sys.stderr)
        return
    for found in measure_all():
        yield Row(
            architecture=f"{found.case}: {found.architecture}",
            level="model, GGUF",
            backend="llama.cpp",
            outputs=found.largest if found.same_tokens == found.n_tokens else math.inf,
        )


CASES: tuple[Case, ...] = (*(full_model(layout) for layout in TINY), shipped, gguf, blocks)
