"""Few bits in the trained model that comes with the package: size, divergence, and whom it hurts.

Four tables, all of one run over the same validation text:

- kinds: all routed experts in one kind; the size of the file that llama.cpp opens, and the rise of
  loss and KL with 95 % intervals over windows;
- llama.cpp: the answers of llama.cpp on those files beside those of our model with the same
  rounded weights, and with the experts' inputs rounded too;
- parts: one part rounded, everything else exact;
- equal bytes: several ways to spend the same bytes, compared window by window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from moe_teach.bench.gguf_parity import log_probs
from moe_teach.bench.llama_cpp import LlamaCpp
from moe_teach.checkpoint.gguf.export import export_gguf
from moe_teach.data.batches import evaluation_batches
from moe_teach.data.corpus import build_corpus
from moe_teach.data.tokenizer import encode_domains
from moe_teach.deploy.quantise.activations import with_rounded_inputs
from moe_teach.deploy.quantise.divergence import (
    Reference,
    diverge,
    estimate,
    hot_and_cold,
    reference,
)
from moe_teach.deploy.quantise.plans import MATRICES, Plan, expert_plan, n_bytes, rounded
from moe_teach.deploy.quantise.sensitivity import sensitivity
from moe_teach.nn.model import Model
from moe_teach.ops.quantise import KINDS
from moe_teach.train.shipped import load_shipped

SEQ_LEN = 128
BATCH = 32
N_PROMPTS = 16
N_RANDOM = 8
SENSITIVE_TO = ("Q8_0", "Q4_0")


@dataclass(frozen=True)
class Subject:
    """The model, what it answers, and the names of the domains."""

    model: Model
    original: Reference
    domains: tuple[str, ...]


def subject(n_windows: int) -> Subject:
    """Load the shipped model and let it read so many windows of every domain."""
    shipped = load_shipped()
    corpus = build_corpus()
    token_ids = encode_domains(corpus.validation, shipped.tokenizer)
    batches = evaluation_batches(token_ids, BATCH, SEQ_LEN, n_windows)
    return Subject(shipped.model, reference(shipped.model, batches), tuple(token_ids))


def about(what: Subject) -> str:
    """Say what is measured on, in a sentence or two."""
    loads = what.original.counts / what.original.counts.sum(dim=-1, keepdim=True)
    half = loads.sort(dim=-1, descending=True).values[:, : loads.shape[-1] // 2].sum(dim=-1)
    losses = (f"{d} {what.original.loss(i):.3f}" for i, d in enumerate(what.domains))
    return (
        f"The shipped model on {what.original.n_windows} windows of {SEQ_LEN} tokens, loss "
        f"{what.original.loss():.4f} nats ({', '.join(losses)}); the hot half of the experts has "
        f"{100 * half.min():.0f} to {100 * half.max():.0f} % of a layer's choices."
    )


def tables(what: Subject) -> Iterator[tuple[str, Sequence[str], Iterator[list[str]]]]:
    """Give every table: its title, its header and its rows, which are measured as they are read."""
    yield "All routed experts in one kind:", kinds_header(what), kinds_table(what)
    yield "Largest difference of a log-probability (median):", PEER_HEADER, peer_table(what)
    yield "One part rounded, the rest exact:", PARTS_HEADER, parts_table(what)
    yield "The same bytes, spent in several ways:", EQUAL_HEADER, equal_bytes_table(what)


def kinds_table(what: Subject) -> Iterator[list[str]]:
    """Give a row for every kind, under `kinds_header`."""
    model = what.model
    for name, kind in KINDS.items():
        plan = expert_plan(model, kind)
        found = diverge(rounded(model, plan), what.original)
        size = n_bytes(model, plan)
        rises = [found.of("rise", domain).mean for domain in range(len(what.domains))]
        yield [
            name,
            f"{kind.bits:g}",
            f"{size / 1e6:.2f}",
            f"{found.of('kl'):.5f}",
            f"{found.of('rise'):+.5f}",
            *(f"{rise:+.4f}" for rise in rises),
            f"{100 * found.of('agrees').mean:.1f}",
        ]


def kinds_header(what: Subject) -> list[str]:
    """Return the header of `kinds_table`."""
    rises = [f"loss of {domain}" for domain in what.domains]
    return ["experts in", "bits", "MB", "KL (nats)", "rise of the loss", *rises, "same token %"]


PEER_HEADER = [
    "experts in",
    "original to ours",
    "ours to llama.cpp",
    "ours with inputs rounded, to llama.cpp",
]


def peer_table(what: Subject) -> Iterator[list[str]]:
    """Give a row for every kind: the median of the largest difference of a log-probability.

    Medians over prompts, because once in a while a number lies so near the border between two
    codes, or two experts' scores so near each other, that the last bit of a sum decides.
    """
    prompts = [row for batch in what.original.batches for row in batch.inputs][:N_PROMPTS]
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # llama.cpp holds the files
        for name in KINDS:
            file = Path(folder) / f"{name}.gguf"
            export_gguf(what.model, file, expert_type=name)
            small = rounded(what.model, expert_plan(what.model, name))
            both = with_rounded_inputs(small, name)
            peer = LlamaCpp(file)
            gaps = [_gaps(prompt, what.model, small, both, peer) for prompt in prompts]
            yield [name, *(f"{median(column):.1e}" for column in zip(*gaps, strict=True))]


def _gaps(
    prompt: Tensor, original: Model, small: Model, both: Model, peer: LlamaCpp
) -> tuple[float, float, float]:
    theirs = peer.log_probs(prompt.tolist(), harmless=original.config.vocab_size // 3)
    exact, ours, nearest = (log_probs(model, prompt) for model in (original, small, both))
    pairs = ((exact, ours), (ours, theirs), (nearest, theirs))
    return tuple(float((one - other).abs().max()) for one, other in pairs)


PARTS_HEADER = [
    "part",
    "kind",
    "weights",
    "bytes saved",
    "KL (nats)",
    "rise of the loss",
    "KL per million weights",
]


def parts_table(what: Subject) -> Iterator[list[str]]:
    """Give a row for every part and kind."""
    for row in sensitivity(what.model, what.original, SENSITIVE_TO):
        yield [
            row.part,
            row.kind,
            f"{row.n_weights:,}",
            f"{4 * row.n_weights - row.n_bytes:,}",
            f"{row.divergence.of('kl'):.5f}",
            f"{row.divergence.of('rise'):+.5f}",
            f"{row.kl_per_weight:.2g}",
        ]


EQUAL_HEADER = ["budget", "way to spend it", "KL (nats)", "KL minus that of the first way"]


def equal_bytes_table(what: Subject) -> Iterator[list[str]]:
    """Give a row for every way to spend a budget; the first way of a budget is the control."""
    for budget, ways in budgets(what).items():
        sizes = {n_bytes(what.model, plan) for _, plans in ways for plan in plans}
        assert len(sizes) == 1, f"{budget} is not one size: {sizes}"
        control: Tensor | None = None
        for name, plans in ways:
            kls = [diverge(rounded(what.model, plan), what.original).kl for plan in plans]
            kl = torch.stack(kls).mean(dim=0)
            against = "" if control is None else f"{estimate(kl - control):+.5f}"
            control = kl if control is None else control
            yield [budget, name, f"{estimate(kl):.5f}", against]


def budgets(what: Subject) -> dict[str, list[tuple[str, Sequence[Plan]]]]:
    """Return, for each budget, ways to spend it; a way of chance is several draws."""
    model, counts = what.model, what.original.counts
    n_layers, n_experts = counts.shape

    def better(ids: Sequence[set[int]]) -> Plan:
        return expert_plan(model, "Q8_0", chosen=ids, others="Q4_0")

    def of_share(share: int) -> list[tuple[str, Sequence[Plan]]]:
        hot, cold = hot_and_cold(counts, n_experts // share)
        drawn = [_at_random(n_layers, n_experts, n_experts // share, s) for s in range(N_RANDOM)]
        return [
            (f"8 bits for experts at random ({N_RANDOM} draws)", [better(ids) for ids in drawn]),
            ("8 bits for the most used", [better(hot)]),
            ("8 bits for the least used", [better(cold)]),
        ]

    quarter = [("every expert in Q5_0", [expert_plan(model, "Q5_0")]), *of_share(4)]
    for layer in range(n_layers):
        plan = expert_plan(model, "Q8_0", layers=[layer], others="Q4_0")
        quarter.append((f"8 bits for MoE layer {layer}", [plan]))
    third = [
        (f"8 bits for {name}", [expert_plan(model, "Q8_0", matrices=[name], others="Q4_0")])
        for name in MATRICES
    ]
    return {
        "a quarter in Q8_0, the rest in Q4_0 (5.5 bits)": quarter,
        "half in Q8_0, half in Q4_0 (6.5 bits)": of_share(2),
        "a third in Q8_0, the rest in Q4_0 (5.83 bits)": third,
    }


def _at_random(n_layers: int, n_experts: int, n_chosen: int, seed: int) -> list[set[int]]:
    draws = torch.Generator().manual_seed(seed)
    return [
        set(torch.randperm(n_experts, generator=draws)[:n_chosen].tolist()) for _ in range(n_layers)
    ]
