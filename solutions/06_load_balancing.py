# %% [markdown]
# # 06 Load balancing: exercises
#
# Four small functions: two losses, one rule that is no loss, and the report that tells whether any
# of them works. Then a clinic: broken layers that you diagnose from their plots.

# %%
import math

import torch
from torch import Tensor

from moe_teach.course import check

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

    probs: (T, E), the softmax over all experts; expert_ids: (T, K) integers, the chosen experts.
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

    logits: (T, E), any float dtype.
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

    expert_bias: (E,); expert_ids: (T, K) integers, the chosen experts; rate: the size of the step.
    Returns the new bias, (E,).
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

    expert_ids: (T, K) integers, the chosen experts; n_experts: E, chosen or not.
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
