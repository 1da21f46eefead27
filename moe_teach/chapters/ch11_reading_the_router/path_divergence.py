"""Chapter 11, exercise 11.4: how far the paths of two texts part after one changed token."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="11.4",
    name="path_divergence",
    title="Two texts, one changed word",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "Which positions can tell something? Before the change a causal model must route both "
        "texts alike, and where the tokens differ nobody wonders that the experts do.",
        "Compare the two choices of a token as sets: of K experts, how many of the first text's "
        "are among the second text's? `a[..., :, None] == b[..., None, :]` compares all with all.",
        "same = tokens_a == tokens_b; after = (~same).cumsum(0) > 0; shared = (ids_a[..., :, None] "
        "== ids_b[..., None, :]).any(-1).float().mean(-1); 1 - shared[same & after].mean(dim=0).",
    ),
    explanation="0 says that all later tokens went the same way in both texts, 1 that no expert "
    "was shared. The number alone tells nothing: two texts that differ in a word that does not "
    "matter part as well. So it stands beside the divergence of random pairs of words, and only "
    "what is above that is about *these* words. And it says that the computation differs, not that "
    "the answer is worse.",
)


def some_pair(seed: int, n_tokens: int, top_k: int, n_layers: int = 3) -> tuple[Tensor, ...]:
    """Draw ids (T, L, K) and tokens (T,) of two texts that part at a few places."""
    random, n_experts = generator(seed), 6
    liking = torch.rand(2, n_tokens, n_layers, n_experts, generator=random)
    liking[1] = 0.6 * liking[0] + 0.4 * liking[1]
    first = n_tokens // 3
    liking[1, :first] = liking[0, :first]  # a causal model
    ids = liking.topk(top_k, dim=-1).indices
    tokens = torch.randint(40, (n_tokens,), generator=random).repeat(2, 1)
    changed = [first, *range(first + 3, n_tokens, 5)]
    tokens[1, changed] += 40
    liking[1, changed] = torch.rand(len(changed), n_layers, n_experts, generator=random)
    ids = liking.topk(top_k, dim=-1).indices
    return ids[0], ids[1], tokens[0], tokens[1]


def divergence(a: Tensor, b: Tensor, tokens_a: Tensor, tokens_b: Tensor, slip: str = "") -> Tensor:
    """Return the share of experts that are not shared (L,); `slip` names what goes wrong."""
    same = tokens_a == tokens_b
    after = (~same).cumsum(dim=0) > 0
    counted = {
        "from the start": same,
        "changed too": after,
        "everything": torch.ones_like(same),
    }.get(slip, same & after)
    hits = (a[..., :, None] == b[..., None, :]).any(dim=-1)
    if slip == "order":
        hits = a == b
    shared = hits.float().mean(dim=-1)
    if slip == "any":
        shared = hits.any(dim=-1).float()
    if slip == "all":
        shared = hits.all(dim=-1).float()
    if slip == "union":
        n = hits.sum(dim=-1).float()
        shared = n / (2 * a.shape[-1] - n)
    mean = shared[counted].mean(dim=0)
    if slip == "layers":
        return 1 - mean.mean().expand_as(mean)
    return mean if slip == "shared" else 1 - mean


_SLIPS = {
    "from the start": Why(
        "The places before the change were counted. There a causal model cannot differ, and the "
        "longer they are the smaller the number.",
        "Begin after the first place where the tokens differ.",
    ),
    "changed too": Why(
        "The changed tokens themselves were counted.",
        "Only places where both texts hold the same token.",
    ),
    "everything": Why(
        "All places were counted: those before the change and the changed tokens, too.",
        "After the first change, and where both texts hold the same token.",
    ),
    "order": Why(
        "The same two experts in another order were counted as different.",
        "A token's experts are a set: compare each with all of the other text's.",
    ),
    "any": Why("One shared expert was enough.", "The share of K that both have."),
    "all": Why("One expert that differs was enough.", "The share of K that both have."),
    "union": Why(
        "The shared ones were divided by the number of experts in either text.", "Divide by K."
    ),
    "layers": Why("The layers were averaged.", "One number for each layer."),
    "shared": Why("That is the share of experts that both have.", "1 minus it."),
}


def _demand(answer: Any, pair: tuple[Tensor, ...], said: str) -> None:
    got, expected = answer(*pair), divergence(*pair)
    example = dict(zip(("ids_a", "ids_b", "tokens_a", "tokens_b"), pair, strict=True))
    require_tensor(got, example)
    require(
        got.shape == expected.shape,
        "One number for each layer is asked for.",
        cause="The layers were averaged, or the tokens were not.",
        cure="A mean over tokens and over K, and none over layers.",
        expected=expected,
        got=got,
        example=example,
    )
    wrong = [(divergence(*pair, slip=slip), why) for slip, why in _SLIPS.items()]
    is_right = bool((got.double() - expected.double()).abs().max() < 1e-4)
    why = {} if is_right else likely(got, expected, wrong)
    require(is_right, said, **why, expected=expected, got=got, example=example)


@EXERCISE.stage("one expert a token")
def _paths_single(answer: Any, seed: int) -> None:
    _demand(answer, some_pair(seed, 13, 1), "With one expert a token the paths part otherwise.")


@EXERCISE.stage("several experts a token")
def _paths_several(answer: Any, seed: int) -> None:
    _demand(answer, some_pair(seed, 17, 3), "With three experts a token the paths part otherwise.")
    a, _, tokens, _ = some_pair(seed, 11, 2)
    other = tokens.clone()
    other[2] += 100
    said = "The same experts in another order are the same experts."
    _demand(answer, (a, a.flip(-1).contiguous(), tokens, other), said)


@EXERCISE.stage("edges")
def _paths_edges(answer: Any, seed: int) -> None:
    a, b, tokens, _ = some_pair(seed, 2, 2, n_layers=1)
    _demand(answer, (a, b, tokens, tokens + torch.tensor([90, 0])), "One place is left to compare.")
    a, b, tokens, _ = some_pair(seed, 9, 2)
    other = tokens + torch.tensor([9, 0, 0, 0, 0, 0, 0, 0, 9])
    _demand(answer, (a, b, tokens, other), "The first and the last token differ here.")
