"""Chapter 10, exercise 10.6: the reader's kernels, launched in their order, are a layer."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from moe_teach.chapters.ch10_triton_experts.inputs import normal
from moe_teach.chapters.ch10_triton_experts.own_kernels import demand_own_kernels
from moe_teach.chapters.ch10_triton_experts.stand_in_kernels import OF_EXERCISE, stand_ins
from moe_teach.judging.exercise import (
    Exercise,
    Words,
    generator,
    require,
    require_tensor,
)

EXERCISE = Exercise(
    id="10.6",
    name="experts_by_kernels",
    title="Your kernels are a layer",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    needs=("9.2", "9.3", "10.1", "10.2", "10.3"),
    limit=30,
    hints=(
        "Five launches. Between them are only tables of integers: from counts per block to the "
        "first row of each expert in each block, and from `slot`, which leads from choices to "
        "rows, to `choice`, which leads back.",
        "totals = counts.sum(dim=0); expert_offsets = totals.cumsum(0); base = (expert_offsets - "
        "totals) + counts.cumsum(0) - counts. And choice[slot] = arange(n_rows): a permutation is "
        "undone by writing to where it reads from.",
        "matmul[(n_tiles, triton.cdiv(d_ff, WIDE))](x.contiguous(), token_idx, w, inner, owner, "
        "begin, end, d_model, d_ff, *w.stride(), ROWS, WIDE, WIDE), once for w_gate and once for "
        "w_up; then F.silu(gated) * up goes into `down`, with BLOCK_F = next_power_of_2(d_ff).",
    ),
    explanation="This is the way of the library's own layer, in five launches instead of three: no "
    "token is copied into sorted rows, no row is padded, and nobody on the host waits for a count. "
    "That is why the tiles are looked for by more programs than there can be tiles: to know their "
    "number, Python would have to read the counts from the device.",
)
# tokens, D, experts, K, F; expert 0 is chosen by nobody where there is a choice
SIZES = ((1, 3, 1, 1, 2), (5, 7, 3, 3, 5), (37, 6, 5, 2, 19), (3, 17, 40, 2, 4))


def _case(sizes: tuple[int, ...], seed: int) -> dict[str, Tensor]:
    n_tokens, d_model, n_experts, top_k, d_ff = sizes
    drawn = torch.rand(n_tokens, n_experts, generator=generator(seed))
    if top_k < n_experts:
        drawn[:, 0] = -1.0
    return {
        "x": normal(d_model, n_tokens, seed=seed).T,
        "gates": torch.rand(top_k, n_tokens, generator=generator(seed + 1)).T,
        "expert_ids": drawn.argsort(dim=-1, descending=True)[:, :top_k].T.contiguous().T,
        "w_gate": normal(n_experts, d_model, d_ff, seed=seed + 2).mT,
        "w_up": normal(n_experts, d_ff, d_model, seed=seed + 3),
        "w_down": normal(n_experts, d_ff, d_model, seed=seed + 4).mT,
    }


def _defined(
    x: Tensor, gates: Tensor, expert_ids: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor
) -> Tensor:
    answers = (silu(x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT  # (E, T, D)
    chosen = answers[expert_ids, torch.arange(len(x))[:, None]]
    return (gates[..., None] * chosen).sum(dim=1)


def _near(expected: Tensor, got: Tensor) -> bool:
    return bool((got - expected).abs().max() <= 1e-5 * (1 + expected.abs().max()))


def _slips(given: dict[str, Tensor]) -> dict[str, Tensor]:
    x, gates, ids, w_gate, w_up, w_down = given.values()
    by_row = gates.reshape(-1)[ids.reshape(-1).argsort(stable=True)]
    slot = ids.reshape(-1).argsort(stable=True).argsort()
    right = _defined(**given)
    return {
        "`w_gate` and `w_up` changed places: the silu acts on what `w_gate` gives.": _defined(
            x, gates, ids, w_up, w_gate, w_down
        ),
        "The product of the two inner tensors lacks its silu.": _without_silu(given),
        "The answers were summed without their gates.": _defined(
            x, torch.ones_like(gates), ids, w_gate, w_up, w_down
        ),
        "The gates stand in the order of the rows. `down` reads them by choice: hand them over as "
        "they are.": _defined(x, by_row.view_as(gates), ids, w_gate, w_up, w_down),
        "`down` was handed `slot` as its `choice`. It needs the inverse, from rows to choices.": (
            _with_slot_for_choice(given, slot)
        ),
        "The K answers of a token were averaged. Add them up.": right / ids.shape[1],
    }


def _without_silu(given: dict[str, Tensor]) -> Tensor:
    x, gates, ids, w_gate, w_up, w_down = given.values()
    answers = ((x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT
    return (gates[..., None] * answers[ids, torch.arange(len(x))[:, None]]).sum(dim=1)


def _with_slot_for_choice(given: dict[str, Tensor], slot: Tensor) -> Tensor:
    x, gates, ids, w_gate, w_up, w_down = given.values()
    order = ids.reshape(-1).argsort(stable=True)
    rows, owner = x[order // ids.shape[1]], ids.reshape(-1)[order]
    inner = silu(torch.einsum("nd,nfd->nf", rows, w_gate[owner]))
    inner = inner * torch.einsum("nd,nfd->nf", rows, w_up[owner])
    told = torch.einsum("nf,ndf->nd", inner, w_down[owner])
    out = torch.empty_like(told)
    out[slot] = gates.reshape(-1)[slot, None] * told
    return out.view(*ids.shape, -1).sum(dim=1)


def _facts(sizes: tuple[int, ...]) -> dict[str, Any]:
    return dict(zip(("n_tokens", "d_model", "n_experts", "top_k", "d_ff"), sizes, strict=True))


@EXERCISE.stage("the launches")
def _kernels_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        parts = stand_ins()
        given = _case(sizes, seed)
        got = answer(**given, **parts)
        require_tensor(got, _facts(sizes))
        require(
            got.shape == given["x"].shape,
            "Return one row for each token: (T, D).",
            cause="`down` writes one row for each *choice*; those of a token lie side by side.",
            cure="out.view(n_tokens, top_k, d_model).sum(dim=1)",
            expected=Words(f"a tensor of shape {tuple(given['x'].shape)}"),
            got=got,
            example=_facts(sizes),
        )
        counts = {name: part.launches for name, part in parts.items()}
        idle = [name for name, launches in counts.items() if not launches]
        require(
            not idle,
            f"`{idle[0] if idle else ''}` is never launched: somebody else does its work.",
            cure="All five kernels are handed in by name; use them.",
            expected=Words("one launch each, and two of `matmul`"),
            got=Words(str(counts)),
        )


@EXERCISE.stage("the mixture")
def _kernels_mixture(answer: Any, seed: int) -> None:
    tried = []
    for sizes in SIZES:
        given = _case(sizes, seed)
        tried.append((answer(**given, **stand_ins()), given, sizes))
    if all(_near(_defined(**given), got) for got, given, _ in tried):
        return
    cause = next(
        (
            sentence
            for sentence in _slips(tried[0][1])
            if all(_near(_slips(given)[sentence], got) for got, given, _ in tried)
        ),
        "Follow one token: its choices, their rows, the tile of each row, and the places that "
        "`down` writes.",
    )
    for got, given, sizes in tried:
        expected = _defined(**given)
        require(
            _near(expected, got),
            "The launches fit, and the layer says something else than its weights define.",
            cause=cause,
            expected=expected,
            got=got,
            example=_facts(sizes),
        )


@EXERCISE.stage("your kernels, watched")
def _kernels_yours(answer: Any, seed: int) -> None:
    if seed:  # a program costs the interpreter 10 ms, and other numbers show nothing new
        return
    given = _case((5, 6, 4, 2, 5), seed)
    expected = _defined(**given)
    demand_own_kernels(partial(answer, **given), OF_EXERCISE, partial(_near, expected), expected)
