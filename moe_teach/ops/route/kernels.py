"""The plain router as Triton kernels.

A program owns some tokens and all experts. It walks along the width and adds up the logits, and
while they are in registers it scores, chooses and weighs:

    x (tokens, D) ----> logits (tokens, E) ----> probs ----> k times: the best that is left
    weight (E, D) --/

With few tokens one program would have to read all the weights alone. Then the width is cut: first
many programs add up a part of the logits each, then one program per token adds the parts and
decides. The order of all sums is fixed, so the same input always makes the same choice.
"""

from moe_teach.ops.triton_host import INTERPRETED, tl, triton


@triton.jit
def route_kernel(
    x, weight, expert_bias, logits, probs, gates, expert_ids, x_row, x_column, w_row, w_column,
    n_tokens, n_experts, width, scale, TOP_K: tl.constexpr, SOFTMAX: tl.constexpr,
    GATES: tl.constexpr, TOKENS: tl.constexpr, EXPERTS: tl.constexpr, COLUMNS: tl.constexpr,
    CHOSEN: tl.constexpr, WIDEN: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """A program owns TOKENS tokens and finishes their whole decision."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    expert = tl.arange(0, EXPERTS)
    mine = _add_up(
        x, weight, token, expert, x_row, x_column, w_row, w_column, n_tokens, n_experts,
        0, width, TOKENS, EXPERTS, COLUMNS, WIDEN, PIECES,
    )  # fmt: skip
    _decide(
        mine, expert_bias, logits, probs, gates, expert_ids, token, expert, n_tokens, n_experts,
        scale, TOP_K, SOFTMAX, GATES, TOKENS, EXPERTS, CHOSEN,
    )  # fmt: skip


@triton.jit
def partial_logits_kernel(
    x, weight, parts, x_row, x_column, w_row, w_column, n_tokens, n_experts, width, part_width,
    TOKENS: tl.constexpr, EXPERTS: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
    PIECES: tl.constexpr,
):  # fmt: skip
    """A program owns TOKENS tokens, EXPERTS experts and a part of the width."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    expert = tl.program_id(1) * EXPERTS + tl.arange(0, EXPERTS)
    part = tl.program_id(2)
    end = tl.minimum((part + 1) * part_width, width)
    mine = _add_up(
        x, weight, token, expert, x_row, x_column, w_row, w_column, n_tokens, n_experts,
        part * part_width, end, TOKENS, EXPERTS, COLUMNS, WIDEN, PIECES,
    )  # fmt: skip
    place = (part * n_tokens + token)[:, None] * n_experts + expert[None, :]
    tl.store(parts + place, mine, (token < n_tokens)[:, None] & (expert < n_experts)[None, :])


@triton.jit
def decide_kernel(
    parts, expert_bias, logits, probs, gates, expert_ids, n_tokens, n_experts, n_parts, scale,
    TOP_K: tl.constexpr, SOFTMAX: tl.constexpr, GATES: tl.constexpr, TOKENS: tl.constexpr,
    EXPERTS: tl.constexpr, CHOSEN: tl.constexpr,
):  # fmt: skip
    """A program owns TOKENS tokens, adds the parts of their logits in order, and decides."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    expert = tl.arange(0, EXPERTS)
    exists = (token < n_tokens)[:, None] & (expert < n_experts)[None, :]
    mine = tl.zeros((TOKENS, EXPERTS), tl.float32)
    for part in range(n_parts):
        place = (part * n_tokens + token)[:, None] * n_experts + expert[None, :]
        mine += tl.load(parts + place, exists, other=0.0)
    _decide(
        mine, expert_bias, logits, probs, gates, expert_ids, token, expert, n_tokens, n_experts,
        scale, TOP_K, SOFTMAX, GATES, TOKENS, EXPERTS, CHOSEN,
    )  # fmt: skip


@triton.jit
def _add_up(
    x, weight, token, expert, x_row, x_column, w_row, w_column, n_tokens, n_experts,
    begin, end, TOKENS, EXPERTS, COLUMNS, WIDEN, PIECES,
):  # fmt: skip
    """Compute x @ weight.T over the columns from `begin` to `end`, in float32.

    Two numbers of 16 bits multiply exactly in float32, and tensor cores do it. A float32 weight is
    the sum of three bfloat16 PIECES of 8 bits each, and so is done in three products.
    """
    total = tl.zeros((TOKENS, EXPERTS), tl.float32)
    x_rows = x + token.to(tl.int64)[:, None] * x_row
    w_rows = weight + expert.to(tl.int64)[None, :] * w_row
    for first in range(begin, end, COLUMNS):
        column = (first + tl.arange(0, COLUMNS)).to(tl.int64)
        is_read = (token < n_tokens)[:, None] & (column < end)[None, :]
        a = tl.load(x_rows + column[None, :] * x_column, is_read, other=0.0)
        is_read = (column < end)[:, None] & (expert < n_experts)[None, :]
        b = tl.load(w_rows + column[:, None] * w_column, is_read, other=0.0)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        for _ in tl.static_range(PIECES - 1):
            piece = b.to(tl.bfloat16)
            total = _product(a, piece, total)
            b -= piece.to(tl.float32)
        total = _product(a, b.to(a.dtype), total)
    return total


@triton.jit
def _product(a, b, total):
    """Add a @ b to the total, in float32."""
    if INTERPRETED:  # NumPy has no bfloat16, and the interpreter would multiply its bits
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def _score(logits, is_real, SOFTMAX):
    """Turn logits into probabilities; a NaN or an infinite logit gives NaN."""
    if SOFTMAX:
        logits = tl.where(is_real, logits, float("-inf"))
        powers = tl.exp(logits - tl.max(logits, axis=1)[:, None])
        probs = powers / tl.sum(powers, axis=1)[:, None]
    else:
        small = tl.exp(-tl.abs(logits))  # never overflows
        probs = tl.where(logits >= 0, 1.0, small) / (1.0 + small)
    return probs


@triton.jit
def _take_best(worth, ranking, expert, is_open, TOP_K, TOKENS, EXPERTS, CHOSEN):
    """Take the best open expert TOP_K times, at a tie the first: ids, and what each is worth."""
    place = tl.arange(0, CHOSEN)[None, :]
    ids = tl.zeros((TOKENS, CHOSEN), tl.int32)
    values = tl.zeros((TOKENS, CHOSEN), tl.float32)
    for k in range(TOP_K):
        left = tl.where(is_open, ranking, float("-inf"))
        is_best = is_open & (left == tl.max(left, axis=1)[:, None])
        winner = tl.min(tl.where(is_best, expert[None, :], EXPERTS), axis=1)[:, None]
        is_winner = expert[None, :] == winner
        value = tl.sum(tl.where(is_winner, worth, 0.0), axis=1)[:, None]
        ids = tl.where(place == k, winner, ids)
        values = tl.where(place == k, value, values)
        is_open = is_open & (expert[None, :] != winner)
    return ids, values


@triton.jit
def _decide(
    mine, expert_bias, logits, probs, gates, expert_ids, token, expert, n_tokens, n_experts,
    scale, TOP_K, SOFTMAX, GATES, TOKENS, EXPERTS, CHOSEN,
):  # fmt: skip
    """Score, choose and weigh the tokens whose logits are `mine`, and write it all down."""
    is_real = (expert < n_experts)[None, :]
    exists = (token < n_tokens)[:, None]
    scored = _score(mine, is_real, SOFTMAX)
    place = token.to(tl.int64)[:, None] * n_experts + expert[None, :]
    tl.store(logits + place, mine, exists & is_real)
    tl.store(probs + place, scored, exists & is_real)

    ranking = scored
    if expert_bias is not None:
        ranking += tl.load(expert_bias + expert, expert < n_experts, other=0.0)[None, :]
    # With NaN among them nothing is best; a broken token still gets experts that exist.
    is_broken = tl.max(((ranking != ranking) & is_real).to(tl.int32), axis=1)[:, None] > 0
    ranking = tl.where(is_broken, 0.0, ranking)
    worth = mine if GATES == "chosen" else scored
    ids, values = _take_best(
        worth, ranking, expert, exists & is_real, TOP_K, TOKENS, EXPERTS, CHOSEN
    )
    place = tl.arange(0, CHOSEN)[None, :]
    if GATES == "chosen":  # from logits: a bias can choose experts whose probabilities underflow
        values = tl.where(place < TOP_K, values, float("-inf"))
        values = tl.exp(values - tl.max(values, axis=1)[:, None])
    if GATES != "plain":
        values = values / tl.maximum(tl.sum(values, axis=1), 1.1754943508222875e-38)[:, None]
    values = tl.where(is_broken, float("nan"), values * scale)
    pair = token.to(tl.int64)[:, None] * TOP_K + place
    tl.store(gates + pair, values, exists & (place < TOP_K))
    tl.store(expert_ids + pair, ids.to(tl.int64), exists & (place < TOP_K))
