"""Chapter 10, exercise 10.5: FLOPs, bytes and the limit that holds."""

from typing import Any

import torch

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="10.5",
    name="ffn_roofline",
    title="The bill, before anything runs",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "Count in rows and in matrices first. Which experts are awake at all? FLOPs follow rows; "
        "bytes of matrices follow experts that are awake.",
        "Three matrices of D · F numbers for each awake expert; rows in and answers out, N · D "
        "each; the inner rows are written once and read once, 2 · N · F. Time is the larger of "
        "FLOPs over peak and bytes over bandwidth.",
        "n_rows = int(tokens_per_expert.sum()); n_awake = int((tokens_per_expert > 0).sum()); "
        "flops = 6 * n_rows * D * F; n_bytes = bytes_per_number * (3 * n_awake * D * F + 2 * "
        "n_rows * D + 2 * n_rows * F); seconds = max(flops / peak_flops, n_bytes / bandwidth).",
    ),
    explanation="The roofline of Williams, Waterman and Patterson (2009). Both clocks run at the "
    "same time, so the slower one decides, and making the other faster changes nothing. One token "
    "wakes K experts and reads all of their numbers for 2 FLOPs each: no kernel helps there.",
)

COUNTS = ([3], [0, 2], [5, 1, 0], [700, 900], [0, 90, 2, 0, 3, 40], [1] * 12, [2**31 + 1, 1])
MACHINES = ((4e8, 1e8), (1e8, 4e8), (9e6, 3e4))  # FLOPs and bytes a second
NAMES = ("flops", "n_bytes", "seconds", "limit")


def _case(counts: list[int], seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    more, yet_more = torch.randint(0, 5, (2,), generator=generator(seed)).tolist()
    d_model, d_ff = 16 + more, 40 + yet_more
    n_rows, n_awake = sum(counts), sum(count > 0 for count in counts)
    narrow = seed % 2 == 1 and n_rows < 2**31
    tokens = torch.tensor(counts, dtype=torch.int32 if narrow else torch.int64)
    given = {"tokens_per_expert": tokens, "d_model": d_model, "d_ff": d_ff}
    given |= {"bytes_per_number": (2, 4, 8)[seed % 3]}
    given |= dict(zip(("peak_flops", "bandwidth"), MACHINES[seed % 3], strict=True))
    counted = {"flops": 6 * n_rows * d_model * d_ff, "matrix": d_model * d_ff}
    counted |= {"matrices": 3 * n_awake * d_model * d_ff, "all": 3 * len(counts) * d_model * d_ff}
    counted |= {"ends": 2 * n_rows * d_model, "inner": 2 * n_rows * d_ff}
    return given, counted


@EXERCISE.stage("four values")
def _bill_form(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, _ = _case(counts, seed)
        got = answer(**given)
        kinds = tuple(map(type, got)) if isinstance(got, tuple) else ()
        require(
            kinds == (int, int, float, str),
            "These are no four plain values: two integers, a float and a word.",
            cause="Tensors come out of sums of tensors, and `/` makes floats.",
            cure="`int(...)` makes an integer of a tensor with one entry.",
            expected=Words("(int, int, float, str)"),
            got=got,
            example=given,
        )


@EXERCISE.stage("flops")
def _bill_flops(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, counted = _case(counts, seed)
        got = answer(**given)[0]
        facts = {"expected": counted["flops"], "got": got, "example": given}
        others = [counted["flops"] * part // 6 for part in (2, 3, 4)]
        require(
            got not in others,
            "The FLOPs are a third, a half or two thirds of the right number.",
            cause="SwiGLU has *three* matrices, and each number of them costs a row a "
            "multiplication *and* an addition.",
            cure="6 · D · F for each row.",
            **facts,
        )
        require(
            got == counted["flops"]
            or got < 2**31
            or not close(float(got), float(counted["flops"])),
            "This is nearly the number, but not the number itself.",
            cause="float32 does not hold every integer above 2^24.",
            cure="Count in integers.",
            **facts,
        )
        require(
            got == counted["flops"],
            "The FLOPs are wrong.",
            cause="Each row runs through one expert: FLOPs follow the number of rows, and it does "
            "not matter how they are spread.",
            cure="Multiply the sum of tokens_per_expert by 6 · D · F.",
            **facts,
        )


@EXERCISE.stage("bytes")
def _bill_bytes(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, counted = _case(counts, seed)
        size, got = given["bytes_per_number"], answer(**given)[1]
        rows = counted["ends"] + counted["inner"]
        expected = size * (counted["matrices"] + rows)
        facts = {"expected": expected, "got": got, "example": given}
        require(
            got * size != expected,
            "The bytes are too few, by just the factor bytes_per_number.",
            cause="These are numbers, not bytes.",
            cure="Multiply by bytes_per_number.",
            **facts,
        )
        _require_no_more(counted, size, got, facts)
        no_inner = expected - size * counted["inner"]
        require(
            got not in (no_inner, no_inner + size * counted["inner"] // 2),
            "Some bytes of the inner rows (N, F) are missing.",
            cause="They leave the first kernel and enter the second.",
            cure="Written once, read once: 2 · N · F.",
            **facts,
        )
        require(
            got == expected,
            "The bytes are wrong.",
            cause="Something is left out or counted twice.",
            cure="Rows in and out: N · D each. Inner rows: 2 · N · F. An awake expert: 3 · D · F.",
            **facts,
        )


def _require_no_more(counted: dict[str, int], size: int, got: Any, facts: dict[str, Any]) -> None:
    rows, expected = counted["ends"] + counted["inner"], facts["expected"]
    sleeping = size * (counted["all"] + rows)
    require(
        got == expected or got != sleeping,
        "The bytes are too many, where an expert has no rows.",
        cause="A sleeping expert was read.",
        cure="Count the matrices of experts with at least one row only.",
        **facts,
    )
    per_row = size * (counted["flops"] // 2 + rows)
    require(
        got == expected or got != per_row,
        "The bytes are too many, where an expert has several rows.",
        cause="The matrices were counted for each row.",
        cure="A matrix that serves many rows is fetched once.",
        **facts,
    )


def _between(seed: int) -> dict[str, Any]:
    """Give a machine on which computing limits the first kernel and memory the second."""
    given, _ = _case([700, 900], seed)
    return given | {"peak_flops": 30e6 / given["bytes_per_number"], "bandwidth": 1e6}


@EXERCISE.stage("seconds")
def _bill_seconds(answer: Any, seed: int) -> None:
    for given in (*(_case(counts, seed)[0] for counts in COUNTS), _between(seed)):
        flops, n_bytes, got, _ = answer(**given)
        computing, moving = flops / given["peak_flops"], n_bytes / given["bandwidth"]
        facts = {"expected": max(computing, moving), "got": got, "example": given}
        require(
            not close(got, computing + moving),
            "The time is too long.",
            cause="The two times were added. Moving and computing go on at the same time.",
            cure="At best the longer of the two is left.",
            **facts,
        )
        require(
            not close(got, min(computing, moving)),
            "The time is too short.",
            cause="This is the shorter of the two times.",
            cure="The slower limit decides: take the larger one.",
            **facts,
        )
        require(
            close(got, max(computing, moving)),
            "The time is wrong.",
            cause="The two kernels were timed one by one, or a limit was computed otherwise.",
            cure="Take the larger of flops / peak_flops and n_bytes / bandwidth.",
            **facts,
        )


@EXERCISE.stage("limit")
def _bill_limit(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, _ = _case(counts, seed)
        flops, n_bytes, _, got = answer(**given)
        is_computing = flops / given["peak_flops"] > n_bytes / given["bandwidth"]
        expected = "compute" if is_computing else "memory"
        facts = {"expected": expected, "got": got, "example": given}
        require(
            got in ("compute", "memory"),
            "The limit is another word than the two that were asked for.",
            cure='Write "compute" or "memory".',
            **facts,
        )
        require(
            got == expected,
            "This is the limit that takes less time.",
            cause="The limit is the one that takes *longer*: with little to compute for each byte, "
            "the memory.",
            cure="Compare flops / peak_flops with n_bytes / bandwidth.",
            **facts,
        )
