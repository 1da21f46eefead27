"""Chapter 07: answers to 7.1 and 7.2, designs of equal size and parts of experts."""

import math

import torch

from moe_teach.judging.exercise import right, wrong

# --- 7.1 equal_flop_config ----------------------------------------------------------------------


def _design(n_experts, top_k, d_ff, split, n_shared):
    if d_ff % split or top_k * split - n_shared < 1:
        raise ValueError("impossible")
    return n_experts * split - n_shared, top_k * split - n_shared, d_ff // split


@wrong("7.1", stage="form", says="makes floats even where it comes out even")
def divides_with_a_slash(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, _ = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, d_ff / split, math.comb(n, k)


@wrong("7.1", stage="the pool", says="still stand in the pool")
def leaves_the_shared_in_the_pool(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n + n_shared, k, width, math.comb(n + n_shared, k)


@wrong("7.1", stage="the places", says="gets less work than before")
def forgets_to_choose_more(n_experts, top_k, d_ff, split, n_shared=0):
    n, _, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, top_k, width, math.comb(n, top_k)


@wrong("7.1", stage="the places", says="uses one of the places")
def adds_the_shared_on_top(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k + n_shared, width, math.comb(n, k + n_shared)


@wrong("7.1", stage="the width", says="the layer grows or shrinks")
def keeps_the_width(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, _ = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, d_ff, math.comb(n, k)


@wrong("7.1", stage="the routes", says="counts ordered lists")
def counts_lists(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, math.perm(n, k)


@wrong("7.1", stage="the routes", says="choose the same expert twice")
def chooses_with_repetition(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, n**k


@wrong("7.1", stage="the routes", says="n choose k, with the n and k that you return")
def counts_shared_routes_too(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, math.comb(n_experts * split, top_k * split)


@wrong("7.1", stage="impossible designs", says="Rounding it away")
def rounds_the_width_down(n_experts, top_k, d_ff, split, n_shared=0):
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    if k < 1:
        raise ValueError("nothing to choose")
    return n, k, d_ff // split, math.comb(n, k)


@wrong("7.1", stage="impossible designs", says="(k = 0)")
def refuses_negative_places_only(n_experts, top_k, d_ff, split, n_shared=0):
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    if d_ff % split or k < 0:
        raise ValueError("impossible")
    return n, k, d_ff // split, math.comb(n, k)


@wrong("7.1", stage="impossible designs", says="Write `raise`")
def returns_the_error(n_experts, top_k, d_ff, split, n_shared=0):
    try:
        n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    except ValueError as problem:
        return problem
    return n, k, width, math.comb(n, k)


@right("7.1")
def by_factorials(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    routes = math.factorial(n) // (math.factorial(k) * math.factorial(n - k))
    return n, k, width, routes


@right("7.1")
def by_multiplying_up(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    routes = 1
    for i in range(k):
        routes = routes * (n - i) // (i + 1)
    return n, k, width, routes


# --- 7.2 split_experts --------------------------------------------------------------------------


def _rows(w, split):
    n_experts, d_ff, d_model = w.shape
    return w.reshape(n_experts * split, d_ff // split, d_model)


@wrong("7.2", stage="shape", says="copies of the experts")
def copies_the_whole(w_gate, w_up, w_down, split):
    return tuple(w.repeat_interleave(split, dim=0) for w in (w_gate, w_up, w_down))


@wrong("7.2", stage="one expert", says="in the order of memory")
def reshapes_all_three(w_gate, w_up, w_down, split):
    n_experts, d_model, d_ff = w_down.shape
    down = w_down.reshape(n_experts * split, d_model, d_ff // split)
    return _rows(w_gate, split), _rows(w_up, split), down


@wrong("7.2", stage="one expert", says="summed, not averaged")
def shares_out_the_output(w_gate, w_up, w_down, split):
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1) / split
    return _rows(w_gate, split), _rows(w_up, split), down


@wrong("7.2", stage="one expert", says="the *same* hidden units")
def deals_units_out_in_one_matrix_only(w_gate, w_up, w_down, split):
    dealt = torch.stack([w_gate[:, j::split] for j in range(split)], dim=1)
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1)
    return dealt.flatten(0, 1), _rows(w_up, split), down


@wrong("7.2", stage="one expert", says="changed places")
def swaps_gate_and_up(w_gate, w_up, w_down, split):
    down = torch.stack(w_down.chunk(split, dim=2), dim=1).flatten(0, 1)
    return _rows(w_up, split), _rows(w_gate, split), down


@wrong("7.2", stage="shape", says="lies on its side")
def forgets_to_turn_down_back(w_gate, w_up, w_down, split):
    return _rows(w_gate, split), _rows(w_up, split), _rows(w_down.mT.contiguous(), split)


@wrong("7.2", stage="side by side", says="first the first part of every expert")
def stacks_by_part(w_gate, w_up, w_down, split):
    return (
        torch.cat(w_gate.chunk(split, dim=1)),
        torch.cat(w_up.chunk(split, dim=1)),
        torch.cat(w_down.chunk(split, dim=2)),
    )


@wrong("7.2", stage="side by side", says="in all three matrices")
def orders_one_matrix_by_part(w_gate, w_up, w_down, split):
    return _rows(w_gate, split), _rows(w_up, split), torch.cat(w_down.chunk(split, dim=2))


@right("7.2")
def deals_units_out_like_cards(w_gate, w_up, w_down, split):
    wide = [
        torch.stack([w[:, j::split] for j in range(split)], dim=1).flatten(0, 1)
        for w in (w_gate, w_up)
    ]
    down = torch.stack([w_down[:, :, j::split] for j in range(split)], dim=1).flatten(0, 1)
    return *wide, down


@right("7.2")
def with_loops(w_gate, w_up, w_down, split):
    width = w_up.shape[1] // split
    parts = [
        (w_gate[e, a : a + width], w_up[e, a : a + width], w_down[e, :, a : a + width])
        for e in range(len(w_up))
        for a in range(0, width * split, width)
    ]
    return tuple(torch.stack(column) for column in zip(*parts, strict=True))


@right("7.2")
def by_transposing_down(w_gate, w_up, w_down, split):
    down = _rows(w_down.transpose(1, 2), split).transpose(1, 2)
    return _rows(w_gate.double(), split), _rows(w_up.double(), split), down.double()
