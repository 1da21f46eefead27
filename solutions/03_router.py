# %% [markdown]
# # 03 The router: exercises
#
# Six small functions: together they are a router, and the tools to distrust one. Then a mistake
# that you have to find, and a task without a right answer.
#
# Everywhere T and E are at least 1, and `top_k` lies between 1 and E. A tensor may be a transposed
# view, whose rows do not lie side by side in memory: `reshape` copes with that, `.view` does not.

# %%
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from moe_teach.course import check

# %% [markdown]
# ## Exercise 3.1: Choose k experts and weigh them
#
# Write the rule that most routers follow. Take a softmax over **all** experts, choose the `top_k`
# most probable ones, best first, and return their gates. With `normalize_gates` the gates of a
# token sum to one; without it they stay the probabilities they were.
#
# Compute in float32, whatever the dtype of the logits.


# %%
def topk_route(logits: Tensor, top_k: int, normalize_gates: bool = True) -> tuple[Tensor, Tensor]:
    """Choose experts for each token.

    logits: (T, E), any float dtype and numbers of any size.
    Returns gates (T, K) in float32 and expert_ids (T, K), any integer dtype, best expert first.
    """
    ### BEGIN SOLUTION
    probs = logits.float().softmax(dim=-1)  # float32 first: rounded probabilities tie
    gates, expert_ids = probs.topk(top_k, dim=-1)
    if normalize_gates:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return gates, expert_ids
    ### END SOLUTION


# %%
check("3.1", topk_route)

# %% [markdown]
# ## Exercise 3.2: Noise in training, silence in evaluation
#
# Noisy top-k of Shazeer et al. (2017, arXiv 1701.06538, equations 3 to 5). In training every
# logit gets its own normal noise with standard deviation softplus(`noise_logits`); then the
# `top_k` largest *noisy* logits are chosen, and the gates are the softmax over these. In
# evaluation there is no noise.
#
# Draw the noise with `generator`, so that a run can be repeated; where it is `None`, torch's own
# random numbers draw. The size of the noise is learned: in training the gates carry gradients to
# `noise_logits` as well as to `logits`.


# %%
def noisy_topk_route(
    logits: Tensor,
    noise_logits: Tensor,
    top_k: int,
    training: bool,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose experts by noisy logits in training and by clean ones in evaluation.

    logits, noise_logits: (T, E). generator: moves on with each call; None means torch's own.
    Returns gates (T, K), the softmax over the chosen logits, and expert_ids (T, K), any integer
    dtype, best first.
    """
    ### BEGIN SOLUTION
    if training:
        noise = torch.randn(logits.shape, generator=generator)
        logits = logits + noise * softplus(noise_logits)
    chosen, expert_ids = logits.topk(top_k, dim=-1)
    return chosen.softmax(dim=-1), expert_ids
    ### END SOLUTION


# %%
check("3.2", noisy_topk_route)

# %% [markdown]
# ## Exercise 3.3: A bias that chooses and never weighs
#
# The rule of DeepSeek-V3 (arXiv 2412.19437). Each expert is scored alone, by a sigmoid. The
# `top_k` experts with the largest **score plus bias** are chosen. Their gates come from the
# scores **without** bias, are divided by their sum, and multiplied by `gate_scale`.


# %%
def sigmoid_route(
    logits: Tensor, expert_bias: Tensor, top_k: int, gate_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Choose by biased sigmoid scores, weigh by unbiased ones.

    logits: (T, E), near zero or far from it; expert_bias: (E,), of either sign, added to the scores
    for the choice only.
    Returns gates (T, K), each row summing to gate_scale, and expert_ids (T, K), any integer dtype,
    in the order of the biased scores, best first.
    """
    ### BEGIN SOLUTION
    probs = logits.sigmoid()
    expert_ids = (probs + expert_bias).topk(top_k, dim=-1).indices
    gates = probs.gather(-1, expert_ids)  # read without the bias
    gates = gates / gates.sum(dim=-1, keepdim=True)
    return gate_scale * gates, expert_ids
    ### END SOLUTION


# %%
check("3.3", sigmoid_route)

# %% [markdown]
# ## Exercise 3.4: Does the task reach the router?
#
# Build the smallest MoE layer there is and audit it. The logits are `x @ w_router.T`; `route`
# turns them into gates and expert ids; the layer's output is the gated sum of the chosen experts'
# outputs, which you get ready-made in `expert_out`. The loss is the mean squared error against
# `target`, over all its numbers. Return the norm of its gradient with respect to `w_router`.
#
# Your audit must survive a router that is cut off (the answer is then `0.0`), and leave no
# traces: neither a gradient nor a changed flag on the caller's tensors. `w_router` may be a
# parameter in training, with a `.grad` of its own: both stay as they were.


# %%
def router_gradient_norm(
    route: Callable[[Tensor], tuple[Tensor, Tensor]],
    w_router: Tensor,
    x: Tensor,
    expert_out: Tensor,
    target: Tensor,
) -> float:
    """Measure the gradient of the task loss on the router's matrix.

    route: logits (T, E) -> gates (T, K), expert_ids (T, K).
    w_router: (E, D); x: (T, D); expert_out: (T, E, D), what each expert says of each token;
    target: (T, D).
    Returns the Frobenius norm of d loss / d w_router as a Python float.
    """
    ### BEGIN SOLUTION
    w = w_router.detach().clone().requires_grad_()
    gates, expert_ids = route(x @ w.T)
    rows = torch.arange(len(x))[:, None]
    y = (gates[..., None] * expert_out[rows, expert_ids]).sum(dim=1)
    loss = ((y - target) ** 2).mean()
    if not loss.requires_grad:
        return 0.0  # the router was cut off: a finding, not an error
    (gradient,) = torch.autograd.grad(loss, w)
    return gradient.norm().item()
    ### END SOLUTION


# %%
check("3.4", router_gradient_norm)

# %% [markdown]
# ## Exercise 3.5: Top-k with a tie rule and a margin
#
# Write a top-k that keeps its word: among equal scores, the expert with the lower number comes
# first. Report the **margin** of each token as well: the score of the last chosen expert minus
# the score of the first one left out. When every expert is chosen, the margin is infinite. It is a
# report: no gradient need flow through it.


# %%
def stable_topk_with_margin(scores: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Choose the k best, ties to the lower number, and say how close the choice was.

    scores: (T, E), any float dtype, finite numbers of any size.
    Returns expert_ids (T, K), any integer dtype, best first, and margin (T,), in the unit of the
    scores.
    """
    ### BEGIN SOLUTION
    values, order = scores.sort(dim=-1, descending=True, stable=True)
    if top_k == scores.shape[-1]:
        margin = torch.full(scores.shape[:1], torch.inf)
    else:
        margin = values[:, top_k - 1] - values[:, top_k]
    return order[:, :top_k], margin
    ### END SOLUTION


# %%
check("3.5", stable_topk_with_margin)

# %% [markdown]
# ## Exercise 3.6: Rounding, or a mistake?
#
# You wrote a fast router, and it chooses other experts than the slow one for 40 of 100,000 tokens.
# Is this rounding, or a bug? A small margin alone proves nothing: a token may stand on the edge
# between experts 3 and 5, and the fast router may have taken expert 9.
#
# So judge each choice by itself. `logits` are the numbers you trust; those of the fast router may
# be off by at most `delta` for a token, each of them, up or down. Give each token a verdict:
#
# - **0**: this is a best choice. Nobody outside has a larger logit than anybody inside.
# - **1**: it is not, and logits that are off by at most `delta` may have led to exactly this set.
# - **2**: no such logits lead to it. Somebody made a mistake.
#
# The order within a row says nothing. In floating point, compute the difference of two logits
# first, and compare it then.


# %%
def judge_choices(logits: Tensor, expert_ids: Tensor, delta: Tensor) -> Tensor:
    """Say of each token whether its choice is best, explained by rounding, or a mistake.

    logits: (T, E), finite, of any size. expert_ids: (T, K), distinct within a row, in any order.
    delta: (T,), at least 0.
    Returns verdicts (T,), integers: 0, 1 or 2.
    """
    ### BEGIN SOLUTION
    is_chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, expert_ids, True)
    weakest_inside = logits.masked_fill(~is_chosen, torch.inf).amin(dim=-1)
    strongest_outside = logits.masked_fill(is_chosen, -torch.inf).amax(dim=-1)
    gap = strongest_outside - weakest_inside  # minus infinity where everybody was chosen
    return (gap > 0).long() + (gap > 2 * delta).long()
    ### END SOLUTION


# %%
check("3.6", judge_choices)

# %% [markdown]
# ## Exercise 3.7: Find what is wrong: a router with closed experts
#
# Somebody wrote the router below for machines that fail: experts on a broken machine are
# **closed**, and nobody may be sent there. It promises, for biases of any size and wherever at
# least `top_k` experts are open:
#
# 1. only open experts are chosen, the `top_k` with the largest score plus bias, best first;
# 2. the gates are the scores of the chosen, without bias, divided by their sum;
# 3. `logits`, `expert_bias` and `is_open` are left as they were.
#
# It runs, and in the example expert 1 is closed and duly left out. It breaks a promise all the
# same, and so do some others that you will not see.


# %%
def somebodys_route(
    logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int
) -> tuple[Tensor, Tensor]:
    """Choose among the open experts by score plus bias; weigh by the score alone."""
    scores = logits.sigmoid()
    ranking = (scores + expert_bias).masked_fill(~is_open, 0.0)
    expert_ids = ranking.topk(top_k, dim=-1).indices
    gates = scores.gather(-1, expert_ids)
    return gates / gates.sum(dim=-1, keepdim=True), expert_ids


# %%
example = torch.tensor([[0.5, 3.0, 1.0, -0.5]]), torch.tensor([0.1, 0.0, -0.1, 0.2])
somebodys_route(*example, torch.tensor([True, False, True, True]), top_k=2)

# %% [markdown]
# Write a **test**: it tries a router on inputs of your own and says whether it kept its promises on
# all of them. The check hands it three routers that keep them, in other ways than you might expect,
# and ten that do not, the one above among them. A good test trusts no name and no example.


# %%
def route_test(route: Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]) -> bool:
    """Say whether a router keeps its promises on all inputs that this test tries.

    route: logits (T, E) float32, expert_bias (E,) float32, is_open (E,) bool, top_k -> gates (T, K)
    of any float dtype, expert_ids (T, K) of any integer dtype.
    """
    ### BEGIN SOLUTION
    random = torch.Generator().manual_seed(0)
    for n_tokens, n_open, top_k in ((1, 1, 1), (5, 4, 1), (64, 40, 6)):
        for bias in (-20.0, 0.0, 20.0):
            logits = torch.randn(n_tokens, n_open + 9, generator=random)
            expert_bias = bias + torch.randn(n_open + 9, generator=random)
            is_open = torch.arange(n_open + 9) < n_open
            given = logits.clone(), expert_bias.clone(), is_open.clone()
            gates, expert_ids = route(*given, top_k)

            probs = logits.sigmoid()
            order = torch.where(is_open, probs + expert_bias, -torch.inf)
            best = order.topk(top_k, dim=-1).indices
            own = probs.gather(-1, best)
            right_gates = own / own.sum(dim=-1, keepdim=True)
            if not torch.equal(expert_ids.long(), best):
                return False
            if not torch.allclose(gates.float(), right_gates):
                return False
            if not all(map(torch.equal, given, (logits, expert_bias, is_open))):
                return False
    return True
    ### END SOLUTION


# %%
check("3.7", route_test)

# %% [markdown]
# ## Exercise 3.8: Open task: a router in three bits
#
# There is no single right answer here: reach the goal, and then see how far beyond it you get. The
# course keeps your best.
#
# A router is small, but it is read for every token. Store its matrix in **codes** of `n_bits` bits:
# integers from $-2^{n-1}$ to $2^{n-1} - 1$, with one float for each expert, its `scale`. Read back,
# the matrix is `codes * scale[:, None]`. With 3 bits every number is one of eight: -4, ..., 3.
#
# **The goal:** of 2,048 fresh tokens, as many as possible keep both of their k = 2 experts, out of
# 24. You get the matrix `w`, and 512 tokens `x` from the same source to look at.
#
# - The plain way: the largest number of each row becomes the largest code, and every number is
#   rounded to the nearest code. It keeps **24.7 %** of the tokens.
# - The goal is **64 %**. The matrix as it was keeps 100 %. What three bits can keep at best nobody
#   knows; a patient search of the course's own gets to about 74 %.
#
# One thing to start from: the matrix need not be right, only the choices. What could you change in
# all rows at once, and every token would still go to the same experts?


# %%
def quantise_router(w: Tensor, x: Tensor, n_bits: int) -> tuple[Tensor, Tensor]:
    """Store a router's matrix in a few bits, so that tokens keep their experts.

    w: (E, D), float32; a row may be all zeros. x: (T, D), tokens to look at. n_bits: 2 to 8.
    Returns codes (E, D), any integer dtype, from -2 ** (n_bits - 1) to 2 ** (n_bits - 1) - 1, and
    scale (E,), finite floats.
    """
    ### BEGIN SOLUTION
    low, high = -(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1
    w = w - w.mean(dim=0)  # the same vector off every row changes no choice
    scale = 0.7 * w.abs().amax(dim=1).clamp_min(1e-12) / high  # the largest may be clipped
    codes = (w / scale[:, None]).round().clamp(low, high)
    seen = x.T @ x  # an error d of a row costs d @ seen @ d on these tokens
    for _ in range(3):
        for c in range(w.shape[1]):
            missing = (w - codes * scale[:, None]) @ seen[:, c]
            step = missing / (seen[c, c] * scale).clamp_min(1e-12)
            codes[:, c] = (codes[:, c] + step).round().clamp(low, high)
    return codes.to(torch.int8), scale
    ### END SOLUTION


# %%
check("3.8", quantise_router)
