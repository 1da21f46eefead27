# %% [markdown]
# # 04 Dispatch: exercises
#
# Six small functions. Together they are an MoE layer that can turn tokens away, and the report
# that tells you whom it turned away.
#
# Where no text says otherwise, T, K and E are at least 1. A tensor may be a transposed view, whose
# rows do not lie side by side in memory: `reshape` copes with that, `.view` does not.

# %%
import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.course import check

# %% [markdown]
# ## Exercise 4.1: One SwiGLU expert
#
# Write the expert that nearly all models of the wave use (Shazeer 2020, arXiv 2002.05202, eq. 6):
# $W_{\text{down}} \bigl( \text{silu}(W_{\text{gate}}\, x) \odot W_{\text{up}}\, x \bigr)$, for
# several rows at once. The silu is `F.silu`.
#
# The matrices are stored as PyTorch stores them, one row for each *output*.


# %%
def swiglu_expert(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Run rows through one expert.

    x: (n, D); w_gate and w_up: (F, D); w_down: (D, F). n may be 0: an expert nobody chose. The
    numbers may be large.
    Returns (n, D).
    """
    ### BEGIN SOLUTION
    inner = F.silu(x @ w_gate.T) * (x @ w_up.T)  # (n, F)
    return inner @ w_down.T
    ### END SOLUTION


# %%
check("4.1", swiglu_expert)

# %% [markdown]
# ## Exercise 4.2: Sort the choices by expert
#
# Token t goes to the experts `expert_ids[t]`, as far as `kept[t]` allows: a choice with `kept`
# False was turned away and gets no row. Lay out the rows of the others **sorted by expert and,
# within an expert, by token**. Return three tensors of integers:
#
# - `token_idx` (N,): which token stands in each row,
# - `slot` (T, K): in which row each choice stands, and **-1** where it was turned away,
# - `tokens_per_expert` (E,): how many rows each expert has. Nobody's favourite has 0.


# %%
def sort_dispatch(
    expert_ids: Tensor, kept: Tensor, n_experts: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out the kept choices, sorted by expert and then by token.

    expert_ids: (T, K) integers in [0, n_experts), different within a row; kept: (T, K) booleans.
    Returns token_idx (N,), slot (T, K), tokens_per_expert (n_experts,), in any integer dtype that
    holds them; N is the number of kept choices and may be 0.
    """
    ### BEGIN SOLUTION
    # Who was turned away goes behind the last expert, so that one sort also clears them out.
    chosen = expert_ids.masked_fill(~kept, n_experts).flatten()
    order = chosen.argsort(stable=True)
    n_rows = int(kept.sum())

    token_idx = order[:n_rows] // expert_ids.shape[1]
    slot = torch.full_like(order, -1)
    slot[order[:n_rows]] = torch.arange(n_rows)
    tokens_per_expert = torch.bincount(chosen, minlength=n_experts + 1)[:n_experts]
    return token_idx, slot.view_as(expert_ids), tokens_per_expert
    ### END SOLUTION


# %%
check("4.2", sort_dispatch)

# %% [markdown]
# ## Exercise 4.3: Bring the answers back
#
# The experts have answered: `y` holds one answer in each row. Mix the answers of every token with
# its gates: token t gets the sum over its choices k of `gates[t, k] * y[slot[t, k]]`.
#
# A choice with slot -1 was turned away and adds **nothing**. The other gates stay as they are.


# %%
def combine(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Mix the answers of each token's experts.

    y: (N, D) answers, row by row; gates: (T, K), which need not sum to one; slot: (T, K) integers
    in [0, N), each at most once, or -1 where the choice was turned away. N may be 0.
    Returns (T, D).
    """
    ### BEGIN SOLUTION
    # One row of zeros at the end: index -1 reads it, and a dropped choice adds nothing.
    answers = F.pad(y, (0, 0, 0, 1))[slot]  # (T, K, D)
    return (gates[..., None] * answers).sum(dim=1)
    ### END SOLUTION


# %%
check("4.3", combine)

# %% [markdown]
# ## Exercise 4.4: Capacity, under three policies
#
# Every expert serves at most `capacity` choices. Who is served is decided by a queue:
#
# - `"first_come"`: in the order of the flattened batch: token 0's choices, then token 1's, ...
# - `"by_gate"`: the largest gate first, whichever token it belongs to (no two gates are equal);
# - `"random"`: in an order drawn with `generator`, or with torch's own random numbers where it is
#   `None`; for the choices of one expert, every order is equally likely.
#
# Each expert takes the first `capacity` choices of *its own* in that queue. Return which choices
# are served. Any other policy earns a `ValueError`.


# %%
def capacity_dispatch(
    expert_ids: Tensor,
    gates: Tensor,
    capacity: int,
    policy: str,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Say which choices are served.

    expert_ids: (T, K) integers, different within a row; gates: (T, K), positive numbers of any
    size; capacity >= 0 counts choices of one expert.
    Returns kept (T, K), booleans. Raises ValueError for an unknown policy, whatever the rest.
    """
    ### BEGIN SOLUTION
    chosen = expert_ids.flatten()
    if policy == "first_come":
        queue = torch.arange(chosen.numel())
    elif policy == "by_gate":
        queue = gates.flatten().argsort(descending=True, stable=True)
    elif policy == "random":
        queue = torch.randperm(chosen.numel(), generator=generator)
    else:
        raise ValueError(f"Unknown policy {policy!r}: use 'first_come', 'by_gate' or 'random'.")

    kept = torch.zeros_like(chosen, dtype=torch.bool)
    for e in chosen.unique():
        mine = queue[chosen[queue] == e]  # this expert's choices, in the order of the queue
        kept[mine[:capacity]] = True
    return kept.view_as(expert_ids)
    ### END SOLUTION


# %%
check("4.4", capacity_dispatch)

# %% [markdown]
# ## Exercise 4.5: Who was turned away?
#
# The report that finds the problem of the lesson's first page. The T tokens are a flattened batch
# of `n_rows` texts of equal length, each text a row of the batch: the first T / n_rows tokens are
# row 0, and so on. Return a dictionary:
#
# - `"dropped"`: the share of all choices that were turned away, a plain float,
# - `"by_row"`: the same share for each row, a tensor (n_rows,) in float32 or float64,
# - `"unserved"`: how many **tokens** lost every one of their choices, a plain int.


# %%
def drop_report(kept: Tensor, n_rows: int) -> dict[str, object]:
    """Report who lost how much.

    kept: (T, K) booleans, row by row in memory; T is a multiple of n_rows.
    Returns {"dropped": float, "by_row": Tensor (n_rows,), "unserved": int}.
    """
    ### BEGIN SOLUTION
    lost = ~kept
    return {
        "dropped": lost.float().mean().item(),
        "by_row": lost.view(n_rows, -1).float().mean(dim=1),
        "unserved": int(lost.all(dim=1).sum()),
    }
    ### END SOLUTION


# %%
check("4.5", drop_report)

# %% [markdown]
# ## Exercise 4.6: The bill for the rectangle
#
# A padded block gives every expert exactly `capacity` places, and the machine computes them all. A
# row through a SwiGLU expert meets three matrices of d_model · d_ff numbers, and each number costs
# 2 FLOPs. From how often each expert was chosen, return three integers, in FLOPs:
#
# - `useful`: spent on choices that got a place,
# - `wasted`: spent on places that stayed empty,
# - `missing`: what the choices that found no place would have cost.


# %%
def padding_bill(
    tokens_per_expert: Tensor, capacity: int, d_model: int, d_ff: int
) -> tuple[int, int, int]:
    """Count what a padded block computes, for whom, and what it leaves out.

    tokens_per_expert: (E,) int64, how many choices fell on each expert; capacity >= 0.
    Returns (useful, wasted, missing), plain integers, exact however large they are.
    """
    ### BEGIN SOLUTION
    n_chosen = int(tokens_per_expert.sum())
    n_places = len(tokens_per_expert) * capacity
    n_used = int(tokens_per_expert.clamp(max=capacity).sum())
    row_flops = 3 * 2 * d_model * d_ff
    return n_used * row_flops, (n_places - n_used) * row_flops, (n_chosen - n_used) * row_flops
    ### END SOLUTION


# %%
check("4.6", padding_bill)
