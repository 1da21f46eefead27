"""Chapter 15, exercise 15.4: whom does a step wake?"""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor

EXERCISE = Exercise(
    id="15.4",
    name="distinct_experts",
    title="Whom does a step wake?",
    points=1,
    difficulty=2,
    importance=4,
    minutes=10,
    hints=(
        "One step and one layer is a question about a handful of numbers: how many different ones "
        "are there, not counting -1?",
        "Tokens of a step: expert_ids[layer, tokens], a list of positions picks rows. Then "
        "unique().",
        "for step, tokens in enumerate(steps): for layer, chosen in enumerate(expert_ids): ids = "
        "chosen[tokens]; woken[step, layer] = ids[ids >= 0].unique().numel()",
    ),
    explanation="What a step fetches is the union of what its tokens choose, layer by layer. "
    "Summing choices would count an expert once for each token, and the mean over layers would "
    "hide a layer whose tokens agree. Compare with the formula of exercise 1.5: real traffic lies "
    "below it where tokens are of one kind.",
)


def _trace(seed: int, n_layers: int, n_tokens: int, n_experts: int, top_k: int) -> Tensor:
    lots = torch.rand(n_layers, n_tokens, n_experts, generator=generator(seed))
    return lots.topk(top_k, dim=-1).indices


def _defined(expert_ids: Tensor, steps: list[list[int]]) -> Tensor:
    rows = [
        [len({e for t in tokens for e in layer[t].tolist()} - {-1}) for layer in expert_ids]
        for tokens in steps
    ]
    return torch.tensor(rows, dtype=torch.int64).view(len(steps), len(expert_ids))


def _others(expert_ids: Tensor, steps: list[list[int]]) -> dict[str, Tensor | None]:
    """Count what people count instead, by the words for it."""
    choices = [[int((layer[t] >= 0).sum()) for layer in expert_ids] for t in steps]
    whole = [len(set(expert_ids[:, t].flatten().tolist()) - {-1}) for t in steps]
    return {
        "An expert whom two tokens choose was counted twice; it is fetched once.": (
            torch.tensor(choices) if choices else None
        ),
        "Experts of all layers were thrown together; expert 3 of one layer is another matrix than "
        "expert 3 of the next.": torch.tensor(whole)[:, None].expand(-1, len(expert_ids))
        if whole and len(expert_ids) > 1
        else None,
    }


def _try(
    answer: Any, expert_ids: Tensor, steps: list[list[int]], said: str, cause: str, cure: str
) -> None:
    example = {"expert_ids": expert_ids, "steps": steps}
    got = answer(expert_ids.clone(), [list(tokens) for tokens in steps])
    require_tensor(got, example)
    expected = _defined(expert_ids, steps)
    require(
        got.shape == expected.shape and got.dtype == expected.dtype,
        "There must be one whole number for each step and each layer: (n_steps, n_layers).",
        cause="The axes are turned round."
        if got.shape == expected.T.shape
        else "Layers were summed or averaged.",
        expected=Words(f"{tuple(expected.shape)}, int64"),
        got=got,
        example=example,
    )
    for words, other in _others(expert_ids, steps).items():
        cause = words if other is not None and close(got, other) else cause
    require(
        close(got, expected), said, cause=cause, cure=cure, expected=expected, got=got,
        example=example,
    )  # fmt: skip


@EXERCISE.stage("one token a step")
def _one(answer: Any, seed: int) -> None:
    trace = _trace(seed, 3, 2, 5, 2)
    said = "One token wakes as many experts as it chooses."
    _try(answer, trace, [[0], [1]], said, "Something else than expert ids was counted.", "")


@EXERCISE.stage("several tokens")
def _several(answer: Any, seed: int) -> None:
    cause = "An expert whom two tokens of a step choose is fetched once, and each layer has its own"
    for sizes, steps in (
        ((1, 4, 3, 1), [[0, 1, 2, 3], [2, 0]]),
        ((2, 9, 7, 3), [[8, 1, 4], [0, 2, 3, 5, 6], [7]]),
    ):
        said = "These are not the experts that the tokens of a step wake together."
        trace = _trace(seed, *sizes)
        _try(answer, trace, steps, said, f"{cause} experts.", "Use unique(), layer by layer.")


@EXERCISE.stage("dropped choices and empty steps")
def _dropped(answer: Any, seed: int) -> None:
    trace = _trace(seed, 2, 6, 5, 2)
    trace[0, 1], trace[1, 3, 0], trace[0, 4] = -1, -1, -1
    steps = [[0, 1], [], [1], [3, 4, 5], [4, 1]]
    cause = "-1 names nobody: it is no expert, and no last one either."
    _try(answer, trace, steps, "A dropped choice wakes nobody.", cause, "ids[ids >= 0]")
    _try(answer, trace, [], "No steps, no rows.", "The result was stacked from nothing.", "")
