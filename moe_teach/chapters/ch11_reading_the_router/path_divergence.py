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
    random, n_experts = generator(seed), 5 + 2 * top_k
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
    if slip == "sorted":
        a, b = a.sort(dim=-1).values, b.sort(dim=-1).values
    if slip == "first choice":
        a, b = a[..., :1], b[..., :1]
    hits = (a[..., :, None] == b[..., None, :]).any(dim=-1)
    if slip in ("order", "sorted"):
        hits = a == b
    shared, top_k = hits.float().mean(dim=-1), a.shape[-1]
    if slip == "any":
        shared = hits.any(dim=-1).float()
    if slip == "all":
        shared = hits.all(dim=-1).float()
    if slip == "union":
        n = hits.sum(dim=-1).float()
        shared = n / (2 * top_k - n)
    counted = _compared(tokens_a != tokens_b, slip)
    if slip == "all tokens":
        return (1 - shared)[counted].sum(dim=0) / len(tokens_a)
    mean = shared[counted].mean(dim=0)
    if slip == "layers":
        return 1 - mean.mean().expand_as(mean)
    factor = {"both": 2, "count": top_k, "percent": 100}.get(slip, 1)
    return mean if slip == "shared" else factor * (1 - mean)


def _compared(changed: Tensor, slip: str) -> Tensor:
    """Return where the paths are compared, (T,)."""
    n_changed = changed.cumsum(dim=0)
    before = n_changed - changed.long()  # changes before this place
    return {
        "from the start": ~changed,
        "changed too": n_changed > 0,
        "later changes too": before > 0,
        "everything": torch.ones_like(changed),
        "before": n_changed == 0,
        "just after": ~changed & changed.roll(1) & (n_changed > 0),
        "one late": ~changed & (before.roll(1) > 0) & (n_changed > 0),
    }.get(slip, ~changed & (n_changed > 0))


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
    "later changes too": Why(
        "Only the first of the changed tokens was left out.",
        "Only places where both texts hold the same token, wherever they differ.",
    ),
    "just after": Why(
        "Only the token just after a changed one was compared.",
        "Every later token that both texts share: one change anywhere before it is enough.",
    ),
    "one late": Why(
        "The first token after the change was left out.",
        "The first place with a change before it counts.",
    ),
    "all tokens": Why(
        "The sum was divided by all tokens of the text.",
        "Divide by the number of places that are compared.",
    ),
    "everything": Why(
        "All places were counted: those before the change and the changed tokens, too.",
        "After the first change, and where both texts hold the same token.",
    ),
    "order": Why(
        "The same two experts in another order were counted as different.",
        "A token's experts are a set: compare each with all of the other text's.",
    ),
    "sorted": Why(
        "Experts were sorted and then compared place by place: one that differs moves all others.",
        "Each expert of the one is looked for among all of the other's.",
    ),
    "first choice": Why("Only the first choice was compared.", "The share of all K experts."),
    "count": Why("That is a number of experts.", "Divide by K: a share is asked for."),
    "both": Why(
        "Experts of the first text and of the second were both counted.",
        "Of K experts of the one, how many does the other not have? Divide by K.",
    ),
    "percent": Why("That is in per cent.", "A share, between 0 and 1."),
    "any": Why("One shared expert was enough.", "The share of K that both have."),
    "all": Why("One expert that differs was enough.", "The share of K that both have."),
    "union": Why(
        "The shared ones were divided by the number of experts in either text.", "Divide by K."
    ),
    "layers": Why("The layers were averaged.", "One number for each layer."),
    "before": Why(
        "The places before the change were compared, and none after it.",
        "(tokens_a != tokens_b).cumsum(0) > 0 is after the first change.",
    ),
    "shared": Why("That is the share of experts that both have.", "1 minus it."),
}
_NARROW = Why("That is near: a narrow dtype rounds it.", "Take the mean in float32 or float64.")
_NAN = Why(
    "A mean over no place at all is NaN. Did you begin after the last change?",
    "One token before a place that differs is enough: begin after the first.",
)
_UNKNOWN = Why(
    "It is none of the mistakes that are known here.",
    "List the places of the smallest failing input that count, and the experts of both there.",
)


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
    far = float((got.double() - expected.double()).abs().max())
    is_right = far < 1e-4
    wrong = [(divergence(*pair, slip=slip), why) for slip, why in _SLIPS.items() if not is_right]
    otherwise = _NAN if far != far else _NARROW if far < 0.01 else _UNKNOWN
    why = likely(got.float(), expected, wrong, otherwise)
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
