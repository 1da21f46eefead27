"""Chapter 04, exercise 4.2: lay out the choices, sorted by expert."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensors

EXERCISE = Exercise(
    id="4.2",
    name="sort_dispatch",
    title="Sort the choices by expert",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "Flatten the choices and sort them by expert with a *stable* sort, which keeps equal "
        "experts in token order. Give the choices that were turned away a number behind the last "
        "expert, so that they end up at the end.",
        "`order = chosen.argsort(stable=True)` says which choice stands in each row. Choice number "
        "i belongs to token i // K. `slot` is the inverse: slot[order[row]] = row.",
        "chosen = expert_ids.masked_fill(~kept, n_experts).flatten(); order as above; "
        "n = kept.sum(); token_idx = order[:n] // K; slot = all -1, then slot[order[:n]] = "
        "arange(n); counts = torch.bincount(chosen, minlength=n_experts + 1)[:n_experts].",
    ),
    explanation="One sort of T · K small integers replaces E masks over all choices. Its inverse "
    "is free: a permutation is undone by writing row numbers to the places it read from. Stability "
    "is what makes the layout, and so the sum of the gradients, the same on every run.",
)

# tokens, experts, choices; the first expert of all is chosen by nobody, in some the last is too
SIZES = ((1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 3, 3), (5, 4, 2), (13, 17, 3))
# Larger ones: an unstable sort shows itself, numbers have three digits, rows do not fit 8 bits.
LARGE = ((101, 3, 2), (29, 130, 4), (300, 2, 2))


def choices(n_tokens: int, n_experts: int, top_k: int, seed: int) -> Tensor:
    """Draw different experts for each token, as a transposed view; nobody chooses expert 0."""
    drawn = torch.rand(n_tokens, n_experts, generator=generator(seed)).argsort(dim=-1)
    return drawn[:, :top_k].T.contiguous().T + 1


def by_definition(expert_ids: Tensor, kept: Tensor, n_experts: int) -> tuple[Tensor, ...]:
    """Line up (expert, token, choice) in their order, and note each row as it comes."""
    ids, slot, counts = expert_ids.tolist(), torch.full_like(expert_ids, -1), [0] * n_experts
    rows = sorted((ids[t][k], t, k) for t, k in kept.nonzero().tolist())
    for row, (e, t, k) in enumerate(rows):
        slot[t, k] = row
        counts[e] += 1
    return torch.tensor([t for _, t, _ in rows], dtype=torch.long), slot, torch.tensor(counts)


def _case(sizes: tuple[int, int, int], seed: int, share_kept: float) -> dict[str, Any]:
    ids = choices(*sizes, seed)
    drawn = torch.rand(ids.T.shape, generator=generator(seed + 1)).T
    n_experts = sizes[1] + 1 + sizes[0] % 2
    return {"expert_ids": ids, "kept": drawn < share_kept, "n_experts": n_experts}


@EXERCISE.stage("shape")
def _sort_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=1.0)
        got = answer(**given)
        names = ("token_idx", "slot", "tokens_per_expert")
        require_tensors(got, names, given)
        for name, part, wanted in zip(names, got, by_definition(**given), strict=True):
            require(
                part.shape == wanted.shape and not part.is_floating_point(),
                f"`{name}` holds integers in the shape {tuple(wanted.shape)} here, and something "
                "else came.",
                cause="An expert that nobody chose still has its count, 0; and floats, or a row "
                "too "
                "many for those turned away, lead nowhere.",
                cure="torch.bincount takes `minlength=n_experts`; for the rest, keep what a sort "
                "of "
                "integers gives.",
                expected=wanted,
                got=part,
                example=given,
            )


@EXERCISE.stage("counts")
def _sort_counts(answer: Any, seed: int) -> None:
    for sizes in (*SIZES, *LARGE):
        given = _case(sizes, seed, share_kept=1.0)
        expected = by_definition(**given)[2]
        got = answer(**given)[2]
        require(
            close(got, expected),
            "`tokens_per_expert` does not say how often each expert was chosen.",
            cause="Not all K columns are counted, or in too few bits, or the counts were added up "
            "along the experts.",
            cure="Count how often each expert stands in `expert_ids`: torch.bincount of it, "
            "flattened, with `minlength`.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("tokens")
def _sort_tokens(answer: Any, seed: int) -> None:
    for sizes in (*SIZES, *LARGE):
        given = _case(sizes, seed, share_kept=1.0)
        expected = by_definition(**given)[0]
        got = answer(**given)[0]
        require(
            int(got.max()) < sizes[0],
            "`token_idx` names tokens, but it holds numbers past the last of them.",
            cause="They are numbers of *choices*: there are T · K of these.",
            cure="Choice number i belongs to token i // K.",
            expected=expected,
            got=got,
            example=given,
        )
        require(
            close(got, expected),
            "The rows are not sorted by expert and, within an expert, by token.",
            cause="The sort is not stable or begins with the last expert, the choices are not "
            "flattened token by token, or a number of a choice was divided by something else than "
            "K.",
            cure="`expert_ids.flatten().argsort(stable=True)` keeps equal experts in token order.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("slot")
def _sort_slot(answer: Any, seed: int) -> None:
    for sizes in (*SIZES, *LARGE):
        given = _case(sizes, seed, share_kept=1.0)
        expected = by_definition(**given)[1]
        got = answer(**given)[1]
        require(
            close(got, expected),
            "`slot` must lead each choice to its own row, so that token_idx[slot[t, k]] is t, and "
            "it leads elsewhere.",
            cause="The sort's indices lead from rows to choices; slot is the *inverse* of that.",
            cure="Write row numbers to the places the sort read from: slot[order] = arange(n).",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("turned away")
def _sort_dropped(answer: Any, seed: int) -> None:
    for share in (0.6, 0.0):
        for sizes in (*SIZES, *LARGE):
            given = _case(sizes, seed, share_kept=share)
            token_idx, slot, counts = by_definition(**given)
            got = answer(**given)
            facts = {"expected": (token_idx, slot, counts), "got": got, "example": given}
            require(
                close(got[1] == -1, ~given["kept"]),
                "A choice with `kept` False has no row, and `slot` does not say so.",
                cause="Those turned away keep a row number, or whole tokens were turned away.",
                cure="Fill `slot` with -1 first; its slot is -1, and nobody else's is.",
                **facts,
            )
            require(
                close(got[2], counts) and got[0].shape == token_idx.shape,
                "Choices that were turned away still have a row in `token_idx`, or are still "
                "counted.",
                cause="Only the kept ones take up room.",
                cure="Give the others a number behind the last expert, sort, and cut them off.",
                **facts,
            )
            require(
                not got[0].is_floating_point(),
                "`token_idx` came as floats, and floats cannot index.",
                cause="With nobody kept there is nothing to tell torch.tensor([]) its kind.",
                cure="Then say dtype=torch.long.",
                **facts,
            )
            require(
                close(got[0], token_idx) and close(got[1], slot),
                "With choices turned away `token_idx` and `slot` no longer fit together.",
                cause="The ones that remain close ranks, so later slots move up.",
                cure="Sort the kept ones alone, and number their rows from 0.",
                **facts,
            )
