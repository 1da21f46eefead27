# %% [markdown]
# # 06 Load balancing: exercises
#
# Four small functions: two losses, one rule that is no loss, and the report that tells whether any
# of them works. Then a clinic: broken layers that you diagnose from their plots.

# %%
import math

import torch
from torch import Tensor

from moe_teach.course import check, clinic

# %% [markdown]
# ## Exercise 6.1: The balancing loss
#
# Write the loss of the Switch Transformer (Fedus et al. 2021, arXiv 2101.03961, equations 4 to 6)
# for any k: **E times the sum over the experts of load times mean probability**. The load of an
# expert is its share of all $T \cdot K$ choices; the mean probability is its average over the
# tokens. Even routing must give exactly 1, whatever E and k are.
#
# The gradient reaches the router through the probabilities.


# %%
def load_balance_loss(probs: Tensor, expert_ids: Tensor) -> Tensor:
    """Measure how load and probability pile up on the same experts.

    probs: (T, E), the softmax over all experts; expert_ids: (T, K) integers, the chosen experts,
    some perhaps never chosen, in any memory layout (a slice of a longer list). T is at least 1.
    Returns a tensor with one number: 1 when even, up to E when one expert has everything.
    """
    ### BEGIN SOLUTION
    n_experts = probs.shape[-1]
    counts = torch.bincount(expert_ids.flatten(), minlength=n_experts)  # idle experts count as 0
    load = counts / expert_ids.numel()
    return n_experts * (load * probs.mean(dim=0)).sum()
    ### END SOLUTION


# %%
check("6.1", load_balance_loss)

# %% [markdown]
# ## Exercise 6.2: The z-loss
#
# The z-loss of ST-MoE (Zoph et al. 2022, arXiv 2202.08906, equation 5) keeps logits small: for each
# token the **square of the log-sum-exp** over its logits, and of that the mean over the tokens.
#
# Logits of 1000 must not overflow, and logits in bfloat16 are computed in float32.


# %%
def router_z_loss(logits: Tensor) -> Tensor:
    """Measure how large the router's logits have grown.

    logits: (T, E), any float dtype and any size: -1000 or 1000, rows far apart. T is at least 1.
    Returns a tensor with one number, at least in float32.
    """
    ### BEGIN SOLUTION
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return precise.logsumexp(dim=-1).square().mean()
    ### END SOLUTION


# %%
check("6.2", router_z_loss)

# %% [markdown]
# ## Exercise 6.3: The bias that needs no loss
#
# One step of loss-free balancing (Wang et al. 2024, arXiv 2408.15664, algorithm 1). Count how many
# choices fell on each expert. Raise the bias of an expert **below** the mean count by `rate`, lower
# it **above** the mean, leave it **at** the mean. How far an expert is off does not matter.
#
# Return a new tensor; the old bias stays as it was.


# %%
def bias_update(expert_bias: Tensor, expert_ids: Tensor, rate: float) -> Tensor:
    """Move the selection bias by one step against the load of a batch.

    expert_bias: (E,); expert_ids: (T, K) integers, the chosen experts, in any memory layout; T is
    at least 1, and may be many thousands. rate: the size of the step.
    Returns the new bias, (E,), a tensor of its own. The bias is steered and not trained: whether
    the new one carries a gradient does not matter.
    """
    ### BEGIN SOLUTION
    counts = torch.bincount(expert_ids.flatten(), minlength=len(expert_bias)).float()
    return expert_bias + rate * torch.sign(counts.mean() - counts)
    ### END SOLUTION


# %%
check("6.3", bias_update)

# %% [markdown]
# ## Exercise 6.4: Read a load
#
# The three numbers that every training log of an MoE should show. With the load of an expert its
# share of all choices, and the **fair share** 1/E:
#
# - `"max_violation"`: the busiest expert's load over the fair share, minus 1. Even is 0.
# - `"entropy"`: $-\sum_i f_i \ln f_i$ over the loads $f_i$, divided by $\ln E$. Even is 1, collapse
#   is 0, and an expert without tokens adds nothing. A single expert counts as even.
# - `"dead"`: how many experts have **less** than a tenth of the fair share.


# %%
def balance_report(expert_ids: Tensor, n_experts: int) -> dict[str, float | int]:
    """Say how evenly the choices are spread.

    expert_ids: (T, K) integers, the chosen experts, in any memory layout; T is at least 1.
    n_experts: E, chosen or not.
    Returns {"max_violation": float, "entropy": float, "dead": int}, plain Python numbers.
    """
    ### BEGIN SOLUTION
    counts = torch.bincount(expert_ids.flatten(), minlength=n_experts).double()
    load = counts / counts.sum()
    entropy = torch.special.entr(load).sum() / math.log(n_experts) if n_experts > 1 else 1.0
    return {
        "max_violation": float(load.max() * n_experts - 1),
        "entropy": float(entropy),
        "dead": int((load < 0.1 / n_experts).sum()),
    }
    ### END SOLUTION


# %%
check("6.4", balance_report)

# %% [markdown]
# ## Exercise 6.5: The bug clinic
#
# Twelve patients, A to L. Their charts are in the lesson's section "The bug clinic"; here you can
# draw them again with `clinic.show("A")`, for another seed with `clinic.show("A", seed=1)`, and
# read all findings as numbers with `clinic.table()`. `clinic.vocabulary()` lists the diagnoses.
# There are more diagnoses than patients, and at most one fault to a patient.
#
# A wrong diagnosis is answered with an observation that speaks against it.

# %%
clinic.vocabulary()


# %%
def my_diagnoses() -> dict[str, str]:
    """Give a diagnosis for every patient.

    Returns a dictionary from the letter of each case ("A" to "L") to a diagnosis, written as
    `clinic.vocabulary()` writes it, for example {"A": "healthy", "B": "router-cut-off", ...}.
    """
    ### BEGIN SOLUTION
    return {
        "A": "k-not-divided",  # even routing logs k
        "B": "noise-at-evaluation",  # the second time, other experts answer
        "C": "wrong-axis",  # logs 1 whatever happens, and has no gradient
        "D": "residual-twice",  # silent experts, and the input comes out
        "E": "loss-not-added",  # logged with a gradient, and nothing arrives
        "F": "constant-gate",  # the task's gradient is 0 at k = 1
        "G": "healthy",
        "H": "bias-in-gates",  # a common shift of the biases moves the gates
        "I": "first-choice-only",  # a crowd of second choices goes unnoticed
        "J": "loss-detached",  # logs the right number without a gradient
        "K": "capacity-at-evaluation",  # in a batch, the late tokens lose
        "L": "bias-never-moves",  # no step after a crowd
    }
    ### END SOLUTION


# %%
check("6.5", my_diagnoses)

# %% [markdown]
# ## Exercise 6.6: Repair a patient
#
# `broken_step` routes, logs a balance loss and adds it to the task's loss. It runs, it trains, and
# it has several of the clinic's faults at once. Write it as it should be:
#
# - gates are read from the softmax over **all** experts; for k ≥ 2 they are divided by their sum;
# - the logged loss is 1 for even routing, for every k, and notices every crowd;
# - the total is `task_loss + coef * logged`, and both parts can teach the router.


# %%
def broken_step(logits: Tensor, top_k: int, task_loss: Tensor, coef: float) -> tuple[Tensor, ...]:
    """Route, log and add, with faults."""
    chosen, expert_ids = logits.topk(top_k, dim=-1)
    gates = chosen.softmax(dim=-1)
    probs = logits.softmax(dim=-1)
    counts = torch.bincount(expert_ids[:, 0], minlength=probs.shape[-1])
    logged = probs.shape[-1] * (counts / len(probs) * probs.mean(dim=0)).sum()
    total = task_loss + coef * logged.item()
    return gates, expert_ids, logged, total


# %%
def repaired_step(logits: Tensor, top_k: int, task_loss: Tensor, coef: float) -> tuple[Tensor, ...]:
    """Route, log and add, without faults.

    logits: (T, E), of any size; task_loss: a scalar; coef: the factor of the balance loss.
    Returns gates (T, K), expert_ids (T, K) integers, best first, and two scalars: the logged
    balance loss, and the total. Both have a graph, and so have the gates.
    """
    ### BEGIN SOLUTION
    gates, expert_ids = logits.softmax(dim=-1).topk(top_k, dim=-1)
    if top_k > 1:  # a single gate that must sum to one would teach nothing
        gates = gates / gates.sum(dim=-1, keepdim=True)
    n_experts = logits.shape[-1]
    load = torch.bincount(expert_ids.flatten(), minlength=n_experts) / expert_ids.numel()
    logged = n_experts * (load * logits.softmax(dim=-1).mean(dim=0)).sum()
    return gates, expert_ids, logged, task_loss + coef * logged
    ### END SOLUTION


# %%
check("6.6", repaired_step)
