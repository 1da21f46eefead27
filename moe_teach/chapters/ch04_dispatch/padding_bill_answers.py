"""Exercise 4.6: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch04_dispatch.padding_bill import EXERCISE


def _rows(counts, capacity):
    used = int(counts.clamp(max=capacity).sum())
    return used, len(counts) * capacity - used, int(counts.sum()) - used


@EXERCISE.wrong(stage="three integers", says="three plain integers")
def leaves_tensors_in_the_bill(tokens_per_expert, capacity, d_model, d_ff):
    used = tokens_per_expert.clamp(max=capacity).sum()
    row, places = 6 * d_model * d_ff, len(tokens_per_expert) * capacity
    return used * row, (places - used) * row, (tokens_per_expert.sum() - used) * row


@EXERCISE.wrong(stage="useful", says="*three* matrices")
def prices_two_matrices(tokens_per_expert, capacity, d_model, d_ff):
    return tuple(4 * d_model * d_ff * n for n in _rows(tokens_per_expert, capacity))


@EXERCISE.wrong(stage="useful", says="at most `capacity`")
def pays_for_the_dropped_too(tokens_per_expert, capacity, d_model, d_ff):
    used, wasted, missing = _rows(tokens_per_expert, capacity)
    return tuple(6 * d_model * d_ff * n for n in (used + missing, wasted, missing))


@EXERCISE.wrong(stage="wasted and missing", says="A negative bill")
def sets_gaps_off_against_queues(tokens_per_expert, capacity, d_model, d_ff):
    used, wasted, missing = _rows(tokens_per_expert, capacity)
    return tuple(6 * d_model * d_ff * n for n in (used, wasted - missing, missing - wasted))


@EXERCISE.wrong(stage="wasted and missing", says="all places minus the used")
def swaps_wasted_and_missing(tokens_per_expert, capacity, d_model, d_ff):
    used, wasted, missing = _rows(tokens_per_expert, capacity)
    return tuple(6 * d_model * d_ff * n for n in (used, missing, wasted))


@EXERCISE.right
def expert_by_expert(tokens_per_expert, capacity, d_model, d_ff):
    useful = wasted = missing = 0
    for count in tokens_per_expert.tolist():
        useful += min(count, capacity) * 6 * d_model * d_ff
        wasted += max(capacity - count, 0) * 6 * d_model * d_ff
        missing += max(count - capacity, 0) * 6 * d_model * d_ff
    return useful, wasted, missing


@EXERCISE.right
def with_relu_of_differences(tokens_per_expert, capacity, d_model, d_ff):
    over = tokens_per_expert.double() - capacity
    n_missing, n_wasted = int(over.relu().sum()), int((-over).relu().sum())
    row = 2 * (2 * d_model * d_ff + d_ff * d_model)
    return (int(tokens_per_expert.sum()) - n_missing) * row, n_wasted * row, n_missing * row


@EXERCISE.wrong(stage="large numbers", says="float32 counts to 2^24")
def counts_in_float32(tokens_per_expert, capacity, d_model, d_ff):
    counts = tokens_per_expert.float()
    return tuple(6 * d_model * d_ff * n for n in _rows(counts, capacity))


@EXERCISE.wrong(stage="no places", says="no place to use or to waste")
def always_builds_one_place(tokens_per_expert, capacity, d_model, d_ff):
    rows = _rows(tokens_per_expert, max(capacity, 1))
    return tuple(6 * d_model * d_ff * n for n in rows)
