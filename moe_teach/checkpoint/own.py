"""A model of one's own parts, read as one of the library's, if it computes the same.

What leaves the course is weights and a rule. Parts of one's own bring weights; whether they follow
the rule that the configuration states is tried out on random texts.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from moe_teach.checkpoint.model_tensors import materialise, named_tensors, outline
from moe_teach.config import ModelConfig, refuse
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model

TOLERANCE = 1e-4  # of the largest logit, in float32: sums are taken in other orders
# Ours, and what the course's exercises call the same: 4.7 and 7.3 are layers, 5.1 a block that
# holds one as `moe`, 7.7 puts a layer into another and gives it the selection bias.
EXERCISES = (
    ("blocks.{layer}.ffn_norm.", "blocks.{layer}.moe_norm."),
    *(
        ("blocks.{layer}.ffn.router.expert_bias", f"blocks.{{layer}}.{place}.expert_bias")
        for place in ("moe", "ffn")
    ),
    *(
        (f"blocks.{{layer}}.ffn.{ours}", f"blocks.{{layer}}.{place}.{theirs}")
        for place in ("moe", "ffn", "moe.layer", "ffn.layer")
        for ours, theirs in (("router.proj.", "router."), ("experts.", ""), ("", ""))
    ),
)


def as_ours(
    model: nn.Module, config: ModelConfig, names: Sequence[tuple[str, str]] = EXERCISES
) -> Model:
    """Return the library's model with the weights of one that is made of other parts.

    Args:
        model: called as `model(token_ids)`; it answers with logits (B, S, V), or with a record
            that has them as `logits`. Its mode is left as it was found.
        config: what it computes, in the library's words.
        names: beginnings of names, ours and theirs, `{layer}` for the number of a layer; the first
            pair that leads to a weight counts. Where none does, names are the same on both sides.

    Raises:
        ValueError: a weight is missing, left over or of another shape, or the answers differ.
    """
    theirs = dict(named_tensors(model))
    rules = [(_pattern(mine), other) for mine, other in names]
    ours = outline(config)
    found = {name: _name_among(theirs, name, rules) for name, _ in named_tensors(ours)}
    _demand_every_weight(found, theirs, dict(named_tensors(ours)))

    def make(name: str, empty: Tensor) -> Tensor:
        if (other := found[name]) is None:  # a selection bias that was never there
            return torch.zeros(empty.shape, dtype=torch.float32)
        return theirs[other].detach().cpu().clone()

    materialise(ours, make)
    demand_same_answers(model, ours)
    return ours


@torch.no_grad()
def demand_same_answers(theirs: nn.Module, ours: Model, seed: int = 0) -> float:
    """Compare two models on random texts and return the largest difference of their logits.

    Raises:
        ValueError: they answer differently.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(theirs.parameters()).device
    largest, scale = torch.zeros(()), torch.ones(())
    with in_evaluation(theirs):
        for shape in ((1, 1), (3, min(17, ours.config.max_seq_len))):
            token_ids = torch.randint(ours.config.vocab_size, shape, generator=generator)
            answer = theirs(token_ids.to(device))
            logits = getattr(answer, "logits", answer).float().cpu()
            expected = ours(token_ids).logits.float()
            refuse(
                logits.shape != expected.shape,
                f"The model answers with {tuple(logits.shape)} where logits of "
                f"{tuple(expected.shape)} were expected.",
            )
            # Of tensors, because the larger of a number and no number must be no number.
            largest = torch.maximum(largest, (logits - expected).abs().max())
            scale = torch.maximum(scale, expected.abs().max())
    refuse(
        not bool(largest <= TOLERANCE * scale),
        f"With the same weights, your model and the library's answer differently: by up to "
        f"{largest:.2g}, with logits up to {scale:.2g}. Its parts follow another rule than the "
        "configuration states, so a file with its weights would be another model.",
    )
    return float(largest)


def _demand_every_weight(
    found: Mapping[str, str | None], theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> None:
    missing = [n for n, other in found.items() if other is None and not n.endswith("expert_bias")]
    refuse(
        bool(missing),
        f"Your model has no weight that could be {missing[0] if missing else ''}: say with `names` "
        "what it is called there.",
    )
    left_over = sorted(set(theirs) - set(found.values()))
    refuse(
        bool(left_over),
        f"Your model has {', '.join(left_over[:3])}, which the configuration has no place for: "
        "what it adds to the answer would be lost.",
    )
    for name, other in found.items():
        if other is not None:
            refuse(
                theirs[other].shape != ours[name].shape,
                f"{other} is {tuple(theirs[other].shape)}, but the configuration makes it "
                f"{tuple(ours[name].shape)}.",
            )


def _pattern(ours: str) -> re.Pattern[str]:
    return re.compile(re.escape(ours).replace(r"\{layer\}", r"(?P<layer>\d+)"))


def _name_among(
    theirs: Mapping[str, Tensor], name: str, rules: list[tuple[re.Pattern[str], str]]
) -> str | None:
    for pattern, other in rules:
        if (match := pattern.match(name)) is not None:
            renamed = other.format(**match.groupdict()) + name[match.end() :]
            if renamed in theirs:
                return renamed
    return name if name in theirs else None
