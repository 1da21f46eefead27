"""Exercise 10.5: wrong answers with what they must be told, and other right ones."""

from fractions import Fraction

from moe_teach.chapters.ch10_triton_experts.ffn_roofline import EXERCISE


def _bill(
    tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth, *,
    awake=None, matrices=3, inner=2, choose=max, per_matrix=None,
):  # fmt: skip
    n_rows = int(tokens_per_expert.sum())
    awake = int((tokens_per_expert > 0).sum()) if awake is None else awake
    flops = 2 * matrices * n_rows * d_model * d_ff
    moved = 3 * (per_matrix or awake) * d_model * d_ff
    moved += 2 * n_rows * d_model + inner * n_rows * d_ff
    n_bytes = moved * bytes_per_number
    clocks = flops / peak_flops, n_bytes / bandwidth
    return flops, n_bytes, choose(clocks), "compute" if clocks[0] > clocks[1] else "memory"


@EXERCISE.wrong(stage="four values", says="four plain values")
def answers_with_tensors(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return tokens_per_expert.sum() * 6 * d_model * d_ff, *_bill(*given)[1:]


@EXERCISE.wrong(stage="flops", says="*three* matrices")
def prices_two_matrices(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return _bill(*given, matrices=2)


@EXERCISE.wrong(stage="flops", says="nearly the number")
def adds_rows_in_float32(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    rows = tokens_per_expert.float().sum()[None].long()
    return _bill(rows, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)


@EXERCISE.wrong(stage="bytes", says="not bytes")
def counts_numbers_for_bytes(
    tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
):
    return _bill(tokens_per_expert, d_model, d_ff, 1, peak_flops, bandwidth)


@EXERCISE.wrong(stage="bytes", says="sleeping expert")
def wakes_everybody(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return _bill(*given, awake=len(tokens_per_expert))


@EXERCISE.wrong(stage="bytes", says="Written once, read once")
def forgets_the_inner_rows(
    tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return _bill(*given, inner=0)


@EXERCISE.wrong(stage="bytes", says="counted for each row")
def fetches_matrices_for_every_row(
    tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return _bill(*given, per_matrix=int(tokens_per_expert.sum()))


@EXERCISE.wrong(stage="seconds", says="were added")
def adds_the_two_clocks(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return _bill(*given, choose=sum)


@EXERCISE.wrong(stage="seconds", says="the shorter of the two")
def takes_the_faster_clock(
    tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    return _bill(*given, choose=min)


@EXERCISE.wrong(stage="limit", says="takes *longer*")
def names_the_faster_limit(
    tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
):
    given = (tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth)
    *counts, limit = _bill(*given)
    return *counts, {"compute": "memory", "memory": "compute"}[limit]


@EXERCISE.wrong(stage="seconds", says="timed one by one")
def times_each_kernel(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    flops, n_bytes, _, limit = _bill(
        tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
    )
    n_rows, n_awake = int(tokens_per_expert.sum()), int((tokens_per_expert > 0).sum())
    ends, matrix = n_rows * (d_model + d_ff), n_awake * d_model * d_ff
    seconds = 0.0
    for matrices in (2, 1):
        moving = (matrices * matrix + ends) * bytes_per_number / bandwidth
        seconds += max(2 * matrices * n_rows * d_model * d_ff / peak_flops, moving)
    return flops, n_bytes, seconds, limit


@EXERCISE.right
def with_lists_and_loops(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    flops = numbers = 0
    for count in tokens_per_expert.tolist():
        flops += 3 * 2 * count * d_model * d_ff
        numbers += 2 * count * (d_model + d_ff) + (3 * d_model * d_ff if count else 0)
    clocks = {
        "compute": flops / peak_flops,
        "memory": numbers * bytes_per_number / bandwidth,
    }
    limit = max(clocks, key=clocks.get)
    return flops, numbers * bytes_per_number, clocks[limit], limit


@EXERCISE.right
def with_fractions(tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth):
    flops, n_bytes, _, limit = _bill(
        tokens_per_expert, d_model, d_ff, bytes_per_number, peak_flops, bandwidth
    )
    slower = max(Fraction(flops) / Fraction(peak_flops), Fraction(n_bytes) / Fraction(bandwidth))
    return flops, n_bytes, float(slower), limit
