"""Chapter 14, exercise 14.1: weights in a few bits, with a scale for every group of neighbours."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch14_memory.group_parts import OTHER, scales_of, why_codes, why_scales
from moe_teach.judging.exercise import (
    Exercise,
    Words,
    generator,
    require,
    require_tensors,
)

EXERCISE = Exercise(
    id="14.1",
    name="quantise_groups",
    title="A scale for every group",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "Fill each row up with zeros to whole groups, and `view` it as (rows, groups, group_size): "
        "then a group's largest weight is one `amax` over the last axis. Cut the filling off at "
        "the end.",
        "Order matters: first the scales, rounded to float16 as they will be stored; then the "
        "codes, by dividing by *those*. Where a stored scale is 0, divide by 1 instead.",
        "top = 2 ** (bits - 1) - 1; groups = pad(weights.float(), (0, missing)).view(R, -1, g); "
        "scales = (groups.abs().amax(-1) / top).half(); stored = scales.float()[..., None]; codes "
        "= (groups / where(stored > 0, stored, 1)).round().clamp(-top, top), and all 0 where "
        "stored is 0.",
    ),
    explanation="One large weight makes its own group coarse and nobody else's. The price is the "
    "scales: 16 bits for every group, half a bit for each weight in groups of 32. What is stored "
    "is what counts: dividing by the unrounded scale and multiplying by the rounded one is an "
    "error that no rounding to the nearest can repair, and it is largest for the largest weights. "
    "Experts that nobody ever trained may be exact zeros, which is why a zero group is no rare "
    "case.",
)

SIZES = ((1, 1, 4), (3, 11, 4), (5, 32, 8), (2, 33, 32), (11, 13, 13), (4, 6, 64))  # R, C, group
BITS = (4, 8, 3, 2)


def _case(sizes: tuple[int, int, int], bits: int, seed: int) -> dict[str, Any]:
    rows, columns, group_size = sizes
    weights = torch.randn(rows, columns, generator=generator(seed)) / 7
    return {"weights": weights, "bits": bits, "group_size": group_size}


def _cases(seed: int) -> list[dict[str, Any]]:
    return [_case(sizes, bits, seed) for sizes in SIZES for bits in BITS]


def _each(scales: Tensor, given: dict[str, Any]) -> Tensor:
    """Repeat each group's scale for its weights: (R, C)."""
    columns = given["weights"].shape[1]
    return scales.float().repeat_interleave(given["group_size"], dim=1)[:, :columns]


def _checked(answer: Any, given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    got = answer(**given)
    require_tensors(got, ("codes", "scales"), given)
    return got


@EXERCISE.stage("shapes")
def _group_shapes(answer: Any, seed: int) -> None:
    for given in _cases(seed):
        codes, scales = _checked(answer, given)
        rows, columns = given["weights"].shape
        n_groups = -(-columns // given["group_size"])
        require(
            scales.shape == (rows, n_groups),
            f"`scales` must have a number for each group of each row, ({rows}, {n_groups}) here.",
            cause="A row that is no multiple of the group has a last, shorter group, which counts."
            if scales.shape == (rows, columns // given["group_size"])
            else "The groups lie along the rows, and each row has its own.",
            cure="Fill up with zeros to whole groups, and view as (rows, groups, group_size).",
            got=scales,
            example=given,
        )
        require(
            codes.shape == (rows, columns),
            f"`codes` must have a number for each weight, ({rows}, {columns}) here.",
            cause="The zeros that filled up the last group are still there, or its weights are "
            "gone.",
            cure="At the end `codes.view(rows, -1)[:, :columns]`.",
            got=codes,
            example=given,
        )
        require(
            codes.dtype == torch.int8 and scales.dtype == torch.float16,
            "`codes` are int8 and `scales` float16: what is returned is what will be stored.",
            cause="Sums and quotients of floats stay float32.",
            cure="`.to(torch.int8)` after rounding, `.half()` for the scales.",
            expected=Words("int8 and float16"),
            got=Words(f"{_short(codes.dtype)} and {_short(scales.dtype)}"),
            example=given,
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@EXERCISE.stage("scales")
def _group_scales(answer: Any, seed: int) -> None:
    for given in _cases(seed):
        _, scales = _checked(answer, given)
        expected = scales_of(**given)
        near = bool((scales.float() - expected.float()).abs().le(2e-3 * expected.float()).all())
        why = OTHER if near else why_scales(scales.float(), given)
        require(
            near,
            "The scales are not the groups' own.",
            **why._asdict(),
            expected=expected,
            got=scales,
            example=given,
        )


@EXERCISE.stage("zeros")
def _group_zeros(answer: Any, seed: int) -> None:
    for nothing in (0.0, 1e-9, 1e-7):  # so small that its scale is 0 in float16
        given = _case((3, 12, 4), 4, seed)
        given["weights"][1, 4:8] = nothing
        codes, scales = _checked(answer, given)
        is_zero = bool((codes[1, 4:8] == 0).all()) and scales[1, 1] == 0
        require(
            is_zero,
            f"Group 1 of row 1 is {nothing:g} throughout; its stored scale and codes must be 0.",
            cause="0 / 0 is NaN, and NaN as an integer is anything."
            if not nothing
            else "The scale is not zero before it is stored, and zero in float16. Dividing by it "
            "gives infinity, and by something small in its place a code that stands for nothing.",
            cure="Where the *stored* scale is 0, divide by 1 and keep 0 as code.",
            expected=Words("scale 0, codes 0, 0, 0, 0"),
            got=Words(f"scale {scales[1, 1].item():g}, codes {codes[1, 4:8].tolist()}"),
            example=given,
        )


@EXERCISE.stage("codes")
def _group_codes(answer: Any, seed: int) -> None:
    tiny = [_case(sizes, bits, seed) for sizes in SIZES[2:5] for bits in (4, 3)]
    for given in tiny:  # float16 has few digits there, and a scale may be rounded down by much
        given["weights"] *= 1e-5
    for given in (*_cases(seed), *tiny):
        top = 2 ** (given["bits"] - 1) - 1
        codes, scales = _checked(answer, given)
        require(
            int(codes.abs().max()) <= top,
            f"A code of {given['bits']} bits lies between {-top} and {top}.",
            cause="A scale that was rounded down leaves the largest weight beyond the last code. "
            "Where weights are tiny, float16 has few digits, and that is by much.",
            cure=f"`.clamp(-top, top)`, with top = {top}, after rounding.",
            got=codes,
            example=given,
        )
        _demand_nearest(codes.float(), scales, given, top)


def _demand_nearest(codes: Tensor, scales: Tensor, given: dict[str, Any], top: int) -> None:
    stored = _each(scales, given)
    exact = torch.where(stored > 0, given["weights"].float() / stored, 0.0).clamp(-top, top)
    off = (codes - exact).abs()
    require(
        bool((off <= 0.5 + 1e-4).all()),
        f"A code is {float(off.max()):.2f} steps away from its weight; the nearest one is never "
        "more than half a step away.",
        **why_codes(codes, exact, given, top)._asdict(),
        expected=exact.round().to(torch.int8),
        got=codes.to(torch.int8),
        example=given,
    )


@EXERCISE.stage("narrow weights")
def _group_narrow(answer: Any, seed: int) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        given = _case((5, 67, 16), 8, seed)
        given["weights"] = given["weights"].to(dtype)
        codes, scales = _checked(answer, given)
        exact = given["weights"].float() / _each(scales_of(**given), given)
        require(
            bool((codes.float() - exact.clamp(-127, 127)).abs().le(0.5 + 1e-4).all())
            and torch.equal(scales, scales_of(**given)),
            f"With weights in {_short(dtype)} a code is off by more than half a step.",
            cause="The division was done in the weights' own few bits, which cannot tell 127 "
            "codes apart.",
            cure="`weights.float()` first.",
            expected=exact.round().clamp(-127, 127).to(torch.int8),
            got=codes,
            example=given,
        )


@EXERCISE.stage("other layouts")
def _group_layouts(answer: Any, seed: int) -> None:
    for sizes in ((6, 10, 4), (6, 8, 4)):
        given = _case(sizes, 4, seed)
        turned = {**given, "weights": given["weights"].T.contiguous().T}
        codes, scales = _checked(answer, turned)
        expected, of = _checked(answer, given)
        require(
            torch.equal(codes, expected) and torch.equal(scales, of),
            "The same weights, stored column by column, give other codes.",
            cause="Something read the memory in its order and not the tensor in its.",
            cure="`reshape` copies where `view` cannot; `as_strided` asks nobody.",
            expected=expected,
            got=codes,
            example=turned,
        )
