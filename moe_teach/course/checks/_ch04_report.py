"""Chapter 04, exercises 4.5 and 4.6: who was turned away, and what the rectangle costs."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require

REPORT = Exercise(
    id="4.5",
    name="drop_report",
    title="Who was turned away?",
    points=1,
    difficulty=2,
    importance=4,
    minutes=15,
    needs=("4.4",),
    hints=(
        "A mean of booleans is a share. Only the shape decides which mean you take: over all, over "
        "the choices of a row, or over the choices of a token.",
        "`(~kept).view(n_rows, -1)` has one line per row of the batch: its tokens stand together, "
        "and so do their choices.",
        'lost = ~kept; "dropped": lost.float().mean().item(); "by_row": lost.view(n_rows, '
        '-1).float().mean(dim=1); "unserved": int(lost.all(dim=1).sum())',
    ),
    explanation="One number hides the problem, and the same data by row shows it: under first come "
    "the last rows pay for all. `unserved` is the worst case, a token for which the whole layer "
    "was skipped without a word.",
)

SIZES = ((1, 1, 1), (2, 1, 2), (2, 3, 1), (3, 5, 2), (7, 4, 3))  # rows, positions, choices


def _case(sizes: tuple[int, int, int], seed: int) -> dict[str, Any]:
    n_rows, n_positions, top_k = sizes
    drawn = torch.rand(n_rows, n_positions * top_k, generator=generator(seed))
    fate = torch.linspace(0.9, 0.3, n_rows)[:, None]  # later rows lose more
    return {"kept": (drawn < fate).view(n_rows * n_positions, top_k), "n_rows": n_rows}


@REPORT.stage("a dictionary")
def _report_form(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        got = answer(**given)
        require(
            isinstance(got, dict) and set(got) == {"dropped", "by_row", "unserved"},
            'Return a dictionary with the keys "dropped", "by_row" and "unserved".',
            got=got,
            example=given,
        )
        is_plain = type(got["dropped"]) is float and type(got["unserved"]) is int
        is_row = isinstance(got["by_row"], Tensor) and got["by_row"].shape == (sizes[0],)
        require(
            is_plain and is_row,
            f'"dropped" is a plain float, "unserved" a plain int (`.item()` makes them so), and '
            f'"by_row" a tensor with one entry per row, ({sizes[0]},) here.',
            got=got,
            example=given,
        )


@REPORT.stage("dropped")
def _report_dropped(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        expected = 1 - given["kept"].float().mean().item()
        got = answer(**given)["dropped"]
        require(
            abs(got - expected) < 1e-5,
            '"dropped" is the share of all T · K choices that were turned away: the share of '
            "False in `kept`, choices and not tokens.",
            expected=expected,
            got=got,
            example=given,
        )


@REPORT.stage("by row")
def _report_rows(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        expected = torch.stack([1 - part.float().mean() for part in given["kept"].chunk(sizes[0])])
        got = answer(**given)["by_row"]
        facts = {"expected": expected, "got": got, "example": given}
        require(
            close(got, expected) or not close(got, expected * sizes[1] * sizes[2]),
            '"by_row" counts the lost choices; return their share of the row\'s choices.',
            **facts,
        )
        require(
            close(got, expected),
            '"by_row" is wrong. Row 0 is the *first* T / n_rows tokens in one piece, and each row '
            "is divided by its own number of choices.",
            **facts,
        )


@REPORT.stage("unserved")
def _report_unserved(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        expected = sum(not any(token) for token in given["kept"].tolist())
        got = answer(**given)["unserved"]
        require(
            got == expected,
            '"unserved" counts tokens that lost *all* their choices. A token with one expert left '
            "is served.",
            expected=expected,
            got=got,
            example=given,
        )


BILL = Exercise(
    id="4.6",
    name="padding_bill",
    title="The bill for the rectangle",
    points=1,
    difficulty=2,
    importance=3,
    minutes=10,
    hints=(
        "Count rows first and multiply at the end. How many choices of one expert find a place?",
        "`tokens_per_expert.clamp(max=capacity)` is that, for all experts. All places together: "
        "E · capacity. A row costs 3 matrices · 2 FLOPs · d_model · d_ff.",
        "used = int(tokens_per_expert.clamp(max=capacity).sum()); useful, wasted, missing = used, "
        "E * capacity - used, int(tokens_per_expert.sum()) - used; times 6 * d_model * d_ff.",
    ),
    explanation="A capacity below the busiest expert's count makes both mistakes at once: places "
    "stay empty at the unpopular experts while choices are lost at the popular ones. At factor 1.0 "
    "the two are equal, up to the rounding of the capacity.",
)

COUNTS = ([3], [0, 2], [5, 1], [4, 4, 1], [0, 9, 2, 3, 3])


def _bill_case(counts: list[int], seed: int) -> tuple[dict[str, Any], tuple[int, int, int]]:
    extra = int(torch.randint(0, 3, (1,), generator=generator(seed)))
    d_model, d_ff, capacity = 3 + extra, 7 + extra, 2 + extra
    used = sum(min(count, capacity) for count in counts)
    rows = (used, capacity * len(counts) - used, sum(counts) - used)
    useful, wasted, missing = (6 * d_model * d_ff * n for n in rows)
    given = {"capacity": capacity, "d_model": d_model, "d_ff": d_ff}
    return {"tokens_per_expert": torch.tensor(counts), **given}, (useful, wasted, missing)


@BILL.stage("three integers")
def _bill_form(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, _ = _bill_case(counts, seed)
        got = answer(**given)
        is_triple = isinstance(got, tuple) and len(got) == 3
        require(
            is_triple and all(type(part) is int for part in got),
            "Return three plain integers, `useful, wasted, missing`. `int(...)` turns a tensor "
            "with one entry into one.",
            got=got,
            example=given,
        )


@BILL.stage("useful")
def _bill_useful(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, expected = _bill_case(counts, seed)
        got = answer(**given)
        facts = {"expected": expected[0], "got": got[0], "example": given}
        row = 6 * given["d_model"] * given["d_ff"]
        others = [row * part // 6 * (expected[0] // row) for part in (1, 2, 3, 4)]
        require(
            got[0] == expected[0] or got[0] not in others,
            "The number of rows is right, their price is not. A SwiGLU expert has *three* matrices "
            "and each of their numbers costs a multiplication *and* an addition: 6 · D · F.",
            **facts,
        )
        require(
            got[0] == expected[0],
            "`useful` is for choices that got a place: at most `capacity` for each expert, and no "
            "more than it was chosen.",
            **facts,
        )


@BILL.stage("wasted and missing")
def _bill_rest(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, expected = _bill_case(counts, seed)
        got = answer(**given)
        require(
            got[1] >= 0 and got[2] >= 0,
            "A negative bill: empty places at one expert were set off against missing ones at "
            "another. They do not help each other; count both expert by expert.",
            expected=expected,
            got=got,
            example=given,
        )
        require(
            got == expected,
            "`wasted` is for places that stayed empty, `missing` for choices without a place: "
            "all places minus the used ones, all choices minus the used ones.",
            expected=expected,
            got=got,
            example=given,
        )
