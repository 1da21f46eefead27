"""From a recipe to a trained model and the folder that tells about it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from moe_teach.cost import n_params_active, n_params_total
from moe_teach.data.batches import Batch, Batches, evaluation_batches
from moe_teach.data.corpus import build_corpus
from moe_teach.data.text import read_text
from moe_teach.data.tokenizer import BPETokenizer, ByteTokenizer, encode_domains, train_bpe
from moe_teach.files import expanded, write_atomically
from moe_teach.nn.model import Model
from moe_teach.train.evaluate import Evaluation, evaluate
from moe_teach.train.loop import TrainingStopped, train
from moe_teach.train.machine import facts
from moe_teach.train.ranks import Ranks
from moe_teach.train.recipe import DataConfig, Recipe
from moe_teach.train.record import History
from moe_teach.train.seeding import seeded_model
from moe_teach.train.shipped import TOKENIZER

REPORT = "report.json"


@dataclass(frozen=True)
class Prepared:
    """The data of a recipe, ready to train on; `digest` names the exact text, where known."""

    tokenizer: ByteTokenizer | BPETokenizer
    batches: Batches
    validation: list[Batch]
    digest: str | None


@dataclass(frozen=True)
class Outcome:
    """What a recipe made; weights and history also lie in the folder of the run."""

    model: Model
    tokenizer: ByteTokenizer | BPETokenizer
    history: History
    evaluation: Evaluation


def prepare(recipe: Recipe) -> Prepared:
    """Build the text, the tokenizer and the batches of a recipe."""
    data, config = recipe.data, recipe.train
    texts, held_back, digest = _texts(data)
    tokenizer: ByteTokenizer | BPETokenizer = ByteTokenizer()
    if data.tokenizer == "bpe":
        tokenizer = train_bpe(texts, data.vocab_size)
    sizes = (config.batch_size, config.seq_len)
    windows = evaluation_batches(
        encode_domains(held_back, tokenizer), *sizes, recipe.run.validation_windows
    )
    batches = Batches(encode_domains(texts, tokenizer), *sizes, config.seed, data.weights)
    return Prepared(tokenizer, batches, list(windows), digest)


def _say(text: str) -> None:
    print(text, flush=True)  # at once, so that it stands before what progress writes elsewhere


def run_recipe(
    recipe: Recipe,
    *,
    resume: bool = True,
    progress: bool = True,
    say: Callable[[str], object] = _say,
) -> Outcome:
    """Build data and model, train or go on training, evaluate, and write the folder of the run.

    The folder then holds the last two checkpoints, `history.json`, `tokenizer.json` and
    `report.json`: the recipe, the losses by domain, the seconds and the machine.
    """
    prepared, ranks = prepare(recipe), Ranks.here()
    folder = expanded(recipe.run.folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = seeded_model(recipe.model, recipe.train.seed).to(device)
    if ranks.is_first:
        say(_announced(recipe, prepared))
    with _with_tokenizer(prepared, folder, ranks):
        history = train(
            model,
            prepared.batches,
            recipe.train,
            evaluate_every=recipe.run.evaluate_every,
            validation=prepared.validation,
            checkpoint_dir=folder,
            resume=resume,
            progress=progress,
        )
    evaluation = evaluate(model, prepared.validation, prepared.batches.domains)
    outcome = Outcome(model, prepared.tokenizer, history, evaluation)
    if ranks.is_first:
        prepared.tokenizer.save(folder / TOKENIZER)
        report = json.dumps(_report(recipe, outcome, prepared.digest), indent=1) + "\n"
        write_atomically(folder / REPORT, report.encode())
        say(_told(outcome, folder))
    ranks.wait()
    return outcome


@contextmanager
def _with_tokenizer(prepared: Prepared, folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep the tokenizer of training that stops: its good checkpoint is of no use without."""
    try:
        yield
    except TrainingStopped:
        if ranks.is_first and folder.is_dir():
            prepared.tokenizer.save(folder / TOKENIZER)
        raise


def _texts(data: DataConfig) -> tuple[dict[str, str], dict[str, str], str | None]:
    if not data.files:
        corpus = build_corpus(data.domains, data.limit_bytes)
        return corpus.train, corpus.validation, corpus.digest
    texts, held_back = {}, {}
    for domain, name in data.files.items():
        corpus = read_text(name, domain)
        texts |= corpus.train
        held_back |= corpus.validation
    return texts, held_back, None


def _report(recipe: Recipe, outcome: Outcome, digest: str | None) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "validation_loss": outcome.evaluation.loss,
        "loss_per_domain": outcome.evaluation.loss_per_domain,
        "seconds": round(outcome.history.seconds, 1),
        "text": digest,
        "machine": facts("babel", "tokenizers"),
    }


def _announced(recipe: Recipe, prepared: Prepared) -> str:
    domains = prepared.batches.token_ids
    n_tokens, tokens = sum(map(len, domains.values())), recipe.train.tokens_per_step
    return (
        f"Text: {n_tokens:,} tokens of {', '.join(domains)}; vocabulary {recipe.model.vocab_size}."
        f"\nModel: {n_params_total(recipe.model):,} parameters, of which a token uses "
        f"{n_params_active(recipe.model):,}.\n"
        f"Training: {recipe.train.steps:,} steps of {tokens:,} tokens."
    )


def _told(outcome: Outcome, folder: Path) -> str:
    losses = {**outcome.evaluation.loss_per_domain, "all": outcome.evaluation.loss}
    lines = [f"{name:12} {loss:.3f} nats per token" for name, loss in losses.items()]
    return "\n".join([*lines, f"Weights, history and report are in {folder}."])
