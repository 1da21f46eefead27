"""Chapter 12, exercise 12.2: the smallest set of experts that does a share of the work."""

from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="12.2",
    name="experts_to_train",
    title="The smallest set that does the work",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "A token that did not choose an expert counts as 0 for it. So an expert's score is a sum "
        "of gates over all places where it stands, and padding has none.",
        "Sort by score, largest first, and take experts until their sum has reached the share. "
        "The one that reaches it belongs to the set.",
        "scores = zeros(n_experts).index_add(0, ids[real].flatten(), gates[real].flatten()); "
        "order = scores.argsort(descending=True, stable=True); before = scores[order].cumsum(0) - "
        "scores[order]; keep order[before < share * scores.sum()]; sort the numbers.",
    ),
    explanation="An expert joins as long as those before it are not enough; that is the set of "
    "ESFT (arXiv 2407.01906), with the average gate as score. Dividing by the number of tokens "
    "changes no choice, because the share is divided by it too. What padding chose is nobody's "
    "work, and it can be most of a batch. Counting choices instead of gates is the paper's other "
    "score; it overrates whoever is always second.",
)


def scores_of(gates: Any, expert_ids: Any, real: Any, n_experts: int, **_: Any) -> list[float]:
    """Add up gates place by place, in exact arithmetic."""
    scores = [0.0] * n_experts
    for g, e, is_text in zip(gates.tolist(), expert_ids.tolist(), real.tolist(), strict=True):
        for gate, expert in zip(g, e, strict=True):
            scores[expert] += gate * is_text
    return scores


def smallest(scores: list[float], share: float, order: list[int] | None = None) -> list[int]:
    """Take the best until the share is reached; ties go to the smaller number."""
    order = order or sorted(range(len(scores)), key=lambda e: (-scores[e], e))
    kept, total = [], 0.0
    for expert in order:
        if total >= share * sum(scores):
            break
        kept.append(expert)
        total += scores[expert]
    return sorted(kept)


def _case(n_tokens: int, top_k: int, n_experts: int, share: float, seed: int) -> dict[str, Any]:
    source = generator(seed)
    liking = torch.rand(n_experts, generator=source) ** 3 + 0.02
    ids = torch.stack([liking.multinomial(top_k, generator=source) for _ in range(n_tokens)])
    # Gates of whole 64ths add up exactly, in any order and in any float.
    gates = torch.randint(1, 40, (n_tokens, top_k), generator=source) / 64
    real = torch.rand(n_tokens, generator=source) < 0.6
    real[0] = True
    strange = torch.arange(top_k).expand(n_tokens, top_k) + n_experts - top_k
    ids = torch.where(real[:, None], ids, strange)  # padding has favourites of its own
    # Half-way between two sums of 64ths: no rounding of anybody's decides who reaches the share.
    total = int(64 * gates[real].sum())
    share = (int(share * total) + 0.5) / total
    return {"gates": gates, "expert_ids": ids, "real": real, "n_experts": n_experts, "share": share}


CASES = ((37, 3, 7, 0.35), (1, 1, 5, 0.5), (53, 1, 1, 0.9), (83, 2, 16, 0.9))


def _slips(given: dict[str, Any], scores: list[float]) -> list[tuple[list[int], Why]]:
    """List what known mistakes choose."""
    share, experts = given["share"], range(len(scores))
    counts = scores_of(**{**given, "gates": torch.ones_like(given["gates"])})
    padded = scores_of(**{**given, "real": torch.ones_like(given["real"])})
    means = [score / max(count, 1) for score, count in zip(scores, counts, strict=True)]
    best = sorted(experts, key=lambda e: (-scores[e], e))
    return [
        (smallest(padded, share), Why("Padding had a say.", "`gates[real]`.")),
        (smallest(scores, share * sum(padded) / sum(scores)), Why("The share was taken of all "
         "gates, padding's too.", "`share * scores.sum()`.")),
        (smallest(counts, share), Why("Choices were counted; asked for is the sum of gates.",
         "`index_add` of the gates.")),
        (smallest(means, share), Why("Gates were averaged over the tokens that chose an expert. "
         "A token that did not choose it counts as 0.", "Sum, and divide by nothing.")),
        (smallest(scores, share * float(given["real"].sum()) / sum(scores)), Why("The share was "
         "taken of the number of tokens: here gates of a token need not sum to 1.",
         "`share * scores.sum()`.")),
        (smallest(scores, share, best[::-1]), Why("Those who work least came first.",
         "Sort descending.")),
        (sorted(best[: max(1, round(share * len(best)))]), Why("That is a share of the experts; "
         "asked for is a share of the gates.", "Add scores up until they reach it.")),
        ([e for e in experts if scores[e] >= share * sum(scores)], Why("Each score was compared "
         "with the share by itself; together they must reach it.", "A running sum.")),
    ]  # fmt: skip


def _telling_case(seed: int) -> dict[str, Any]:
    """Draw until every known mistake chooses a set of its own, so that it is known by its set."""
    for i in range(100):
        given = _case(61, 2, 16, 0.6, 100 * seed + i)
        scores = scores_of(**given)
        sets = [smallest(scores, given["share"]), *(wrong for wrong, _ in _slips(given, scores))]
        if len({tuple(one) for one in sets}) == len(sets):
            break
    return given


def _demand(answer: Any, given: dict[str, Any], *, is_telling: bool = True) -> None:
    scores, share = scores_of(**given), given["share"]
    expected, got = smallest(scores, share), answer(**given)
    require(
        isinstance(got, list) and all(type(expert) is int for expert in got),
        "The answer must be a list of plain integers.",
        cause="A tensor, or a list of tensors of one number.",
        cure="`.tolist()` at the end.",
        got=got,
        example=given,
    )
    require(
        got == expected,
        f"These experts are not the smallest set with {share:.0%} of the gates, in ascending "
        "order.",
        **_why(got, expected, given, scores, is_telling),
        expected=expected,
        got=got,
        example=given,
    )


def _why(
    got: list[int],
    expected: list[int],
    given: dict[str, Any],
    scores: list[float],
    is_telling: bool,
) -> dict[str, str]:
    if sorted(got) == expected:
        return Why("The set is right, in another order.", "`sorted(...)`.")._asdict()
    otherwise = _why_other(got, expected, scores, given["share"])
    return likely(got, expected, _slips(given, scores) if is_telling else (), otherwise)


def _why_other(got: list[int], expected: list[int], scores: list[float], share: float) -> Why:
    known = [expert for expert in got if 0 <= expert < len(scores)]
    if sum(scores[expert] for expert in known) < share * sum(scores):
        return Why("Together they do less than the share: whoever reaches it belongs to the set.",
                   "Keep an expert if those *before* it are not enough.")  # fmt: skip
    if len(got) > len(expected):
        return Why("Fewer would have been enough.", "Stop as soon as the share is reached.")
    if sum(scores[expert] for expert in known) < sum(scores[expert] for expert in expected):
        return Why("Another set of this size reaches the share as well, but not with the largest "
                   "scores.", "Sort by score, largest first, and take from the front.")  # fmt: skip
    return Why("Among equals the smaller number comes first.", "A stable sort, descending.")


@EXERCISE.stage("the set")
def _train_set(answer: Any, seed: int) -> None:
    _demand(answer, _telling_case(seed))
    for i, case in enumerate(CASES):
        _demand(answer, _case(*case, 10 * seed + i))


@EXERCISE.stage("exactly enough")
def _train_exact(answer: Any, seed: int) -> None:
    """Hold scores of 2, 1, 1 and a share of a half or three quarters: reached to the last bit."""
    ids = torch.tensor([[3], [3], [1], [0]])
    given = {
        "gates": torch.full((4, 1), 0.5),
        "expert_ids": ids,
        "real": torch.full((4,), True),
        "n_experts": 5,
    }
    for share in (0.5, 0.75):
        _demand(answer, {**given, "share": share}, is_telling=False)
