"""Chapter 03, exercise 3.8: an open task, a router in three bits a number."""

import math
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Goal, Words, generator, require, require_tensors

N_EXPERTS, WIDTH, TOP_K, BITS = 24, 32, 2, 3

EXERCISE = Exercise(
    id="3.8",
    name="quantise_router",
    title="Open task: a router in three bits",
    points=3,
    difficulty=4,
    importance=3,
    minutes=40,
    needs=("3.6",),
    limit=20,
    goal=Goal(
        quantity="tokens that keep both experts",
        unit="%",
        baseline=24.7,
        target=64,
        more_is_better=True,
        limit="100% is the matrix as it was; the best that three bits allow is not known.",
        cause="Rounding every number to the nearest code spends the codes on what decides nothing, "
        "and the tokens that you were given were not used.",
        cure="Three things help, each of them much: take away from all rows what they share; let "
        "the few largest numbers be clipped; and choose codes one after another, so that each "
        "makes up for the errors of those before it on the tokens of `x`.",
    ),
    hints=(
        "What changes no choice costs no bits. Which vector could you subtract from *every* row of "
        "the matrix? And must the largest number of a row fit?",
        "An error d of a row costs d @ (x.T @ x) @ d on the tokens: a code may be off where tokens "
        "hardly reach, and a second error can undo a first one. Start from rounded codes, go "
        "through the columns, and set each code to what is best with all others as they are.",
        "w = w - w.mean(0); seen = x.T @ x; scale = 0.7 * largest / high; codes = rounded, "
        "clamped. Then for each column c, three times over: missing = (w - codes * scale[:, None]) "
        "@ seen[:, c]; codes[:, c] += missing / (seen[c, c] * scale), rounded, clamped.",
    ),
    explanation="The same vector off every row lowers all logits of a token alike, so no choice "
    "changes, and what is left is smaller. What counts after that is the error of the *logits*, "
    "not of the matrix. Rounding one code at a time while the others make up for it is the idea "
    "behind GPTQ (Frantar et al. 2022, arXiv 2210.17323).",
)


def problem(seed: int, n_tokens: int, n_fresh: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a router (E, D), tokens to look at (T, D) and fresh tokens from the same source.

    Features of tokens are mixtures, as in a trained model: some directions are loud, most are
    quiet. The rows of the router share a vector, and two of its columns are large.
    """
    random = generator(seed)
    loudness = torch.linspace(1.5, 0.05, WIDTH)
    mix = torch.randn(WIDTH, WIDTH, generator=random) * loudness / math.sqrt(WIDTH)
    w = torch.randn(N_EXPERTS, WIDTH, generator=random)
    w = w + 1.5 * torch.randn(WIDTH, generator=random)
    w[:, torch.randint(WIDTH, (2,), generator=random)] *= 4

    def tokens(count: int) -> Tensor:
        return torch.randn(count, WIDTH, generator=random) @ mix.T + 0.3 * mix.sum(dim=1)

    return w, tokens(n_tokens), tokens(n_fresh)


def share_kept(w: Tensor, codes: Tensor, scale: Tensor, x: Tensor) -> float:
    """Return the share of the tokens whose set of experts a matrix in codes leaves as it was."""
    read_back = codes.float() * scale.float()[:, None]
    sets = [(x @ m.T).topk(TOP_K, dim=-1).indices.sort(dim=-1).values for m in (w, read_back)]
    return (sets[0] == sets[1]).all(dim=-1).float().mean().item()


def _require_codes(got: Any, w: Tensor, n_bits: int) -> tuple[Tensor, Tensor]:
    """Reject what is no matrix in codes of so many bits; give the codes and the scales."""
    n_experts, d_model = w.shape
    example = {"w": Words(f"({n_experts}, {d_model})"), "n_bits": n_bits}
    require_tensors(got, ("codes", "scale"), example)
    codes, scale = got
    require(
        codes.shape == w.shape and not codes.is_floating_point() and codes.dtype != torch.bool,
        f"The codes are not integers of shape ({n_experts}, {d_model}), one for each number.",
        cause="`round()` gives whole numbers that are still floats.",
        cure="End in `.round().clamp(low, high).to(torch.int8)`.",
        got=codes,
        example=example,
    )
    low, high = -(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1
    smallest, largest = int(codes.min()), int(codes.max())
    require(
        low <= smallest and largest <= high,
        f"With {n_bits} bits the codes reach from {low} to {high}, and these do not stay inside.",
        cause="They are not clamped, or as many bits are used on either side of zero.",
        cure="Clamp them to -2 ** (n_bits - 1) and 2 ** (n_bits - 1) - 1.",
        expected=Words(f"codes from {low} to {high}"),
        got=Words(f"codes from {smallest} to {largest}"),
        example=example,
    )
    _require_scale(scale, n_experts, example)
    return codes, scale


def _require_scale(scale: Tensor, n_experts: int, example: dict[str, Any]) -> None:
    require(
        scale.shape == (n_experts,) and scale.is_floating_point(),
        f"The scale is not one float for each expert, of shape ({n_experts},).",
        cause="It is one for the whole matrix, one for each column, or kept an axis.",
        cure="Take largest values with `.amax(dim=1)`, without keepdim, and return that shape.",
        got=scale,
        example=example,
    )
    require(
        bool(scale.isfinite().all()),
        "A scale is no finite number.",
        cause="It was divided by something that can be zero: the largest number of a row of "
        "zeros, or the energy of codes that are all zero.",
        cure="`.clamp_min(1e-12)` under the division.",
        got=scale,
        example=example,
    )


@EXERCISE.stage("codes")
def _quantise_codes(answer: Any, seed: int) -> None:
    for n_bits in (3, 2, 5, 8):
        w, x, _ = problem(seed, 128, 1)
        _require_codes(answer(w, x, n_bits), w, n_bits)


@EXERCISE.stage("odd sizes")
def _quantise_sizes(answer: Any, seed: int) -> None:
    for n_experts, n_tokens in ((1, 5), (3, 1), (7, 64)):
        w, x, _ = problem(seed, n_tokens, 1)
        w = w[:n_experts].clone()
        w[0] = 0  # an expert that nobody has taught anything
        _require_codes(answer(w, x, BITS), w, BITS)


@EXERCISE.stage("read back")
def _quantise_read(answer: Any, seed: int) -> None:
    w, x, fresh = problem(seed, 256, 512)
    x[:, 3] = fresh[:, 3] = 0  # a feature that no token has
    codes, scale = _require_codes(answer(w, x, 8), w, 8)
    kept = 100 * share_kept(w, codes, scale, fresh)
    require(
        kept >= 50,
        "In 8 bits, where plain rounding keeps nearly all choices, less than half of them are "
        "kept: the matrix is read back as `codes * scale[:, None]`.",
        cause="The scale is the wrong way round, belongs to other codes, an offset of the codes is "
        "missing, or one feature, which is zero for all tokens here, led to 0 / 0.",
        cure="What you return has to stand for the matrix by itself: codes * scale, row by row, up "
        "to a vector that all rows share.",
        expected=Words("at least 50% of the tokens keep both experts"),
        got=Words(f"{kept:.1f}%"),
        example={"n_bits": 8},
    )


@EXERCISE.goal.measure
def _quantise_kept(answer: Any, seed: int) -> float:
    w, x, fresh = problem(seed, 512, 2048)
    codes, scale = _require_codes(answer(w, x, BITS), w, BITS)
    return 100 * share_kept(w, codes, scale, fresh)
