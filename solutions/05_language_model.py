# %% [markdown]
# # 05 A language model with experts: exercises
#
# One module and four small instruments. The module puts experts into a transformer. The instruments
# keep you honest when you compare it with anything.

# %%
import math
from collections.abc import Callable, Sequence
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_teach.course import check
from moe_teach.types import Routing

# %% [markdown]
# ## Exercise 5.1: A transformer block with experts
#
# Write one pre-norm block. Two branches read the stream of vectors and **add** to it, one after the
# other: first attention, then the MoE. Each branch reads through an RMSNorm of its own
# (`nn.RMSNorm(d_model)`), and the stream itself is never normalised.
#
# The MoE returns a pair, its output and its routing record. The residual is not inside. Hand the
# record on: the balancing loss of the next chapter needs it.


# %%
class MoEBlock(nn.Module):
    """Pre-norm residual block: attention, then a mixture of experts."""

    def __init__(self, d_model: int, attention: nn.Module, moe: nn.Module) -> None:
        """Keep the two modules and make the two norms.

        attention: (B, S, D) -> (B, S, D). moe: (B, S, D) -> ((B, S, D), Routing).
        """
        ### BEGIN SOLUTION
        super().__init__()
        self.attention_norm = nn.RMSNorm(d_model)
        self.attention = attention
        self.moe_norm = nn.RMSNorm(d_model)
        self.moe = moe
        ### END SOLUTION

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Return the new stream, (B, S, D) and dtype like x, and the routing of the experts.

        Attention and MoE are each called once, with (B, S, D).
        """
        ### BEGIN SOLUTION
        x = x + self.attention(self.attention_norm(x))
        y, routing = self.moe(self.moe_norm(x))
        return x + y, routing
        ### END SOLUTION


# %%
check("5.1", MoEBlock)

# %% [markdown]
# ## Exercise 5.2: The dense net to compare with
#
# Your MoE layer has `n_experts` experts of inner width `d_expert`, of which `top_k` work on a
# token, and perhaps a shared expert of width `d_shared` that always works. Every feed-forward,
# dense or expert, has `n_matrices` matrices of d_model times its width (3 for SwiGLU, 2 for GELU).
# The router is one matrix of d_model times n_experts, and it works on every token.
#
# How wide is the dense feed-forward that is its equal? With `equal="active"` it has as many
# parameters as **work on one token** (then it also has equal FLOPs). With `equal="total"` it has as
# many as the layer **stores**. Do not forget the router. d_model cancels.
#
# Round **up** to a multiple of `multiple_of`: a baseline must never lose because it was given less.


# %%
def iso_flop_hidden(
    n_experts: int,
    top_k: int,
    d_expert: int,
    d_shared: int = 0,
    n_matrices: int = 3,
    equal: str = "active",
    multiple_of: int = 1,
) -> int:
    """Find the inner width of the dense feed-forward that equals an MoE layer.

    equal: "active" (what works on one token) or "total" (what is stored); anything else is a
    ValueError. Returns the width, an integer and a multiple of multiple_of, rounded up.
    """
    ### BEGIN SOLUTION
    if equal not in ("active", "total"):
        raise ValueError(f"equal must be 'active' or 'total', not {equal!r}.")
    n_counted = top_k if equal == "active" else n_experts
    # In units of one row of d_model numbers; whole numbers, so that rounding up is exact.
    rows = n_matrices * (n_counted * d_expert + d_shared) + n_experts
    step = n_matrices * multiple_of
    return (rows + step - 1) // step * multiple_of
    ### END SOLUTION


# %%
check("5.2", iso_flop_hidden)

# %% [markdown]
# ## Exercise 5.3: A test for the first minute
#
# Before you train anything, ask two things of the untrained model.
#
# - **Does it know nothing?** Its loss in nats must be within `tolerance` of ln V, where V is
#   `vocab_size`. Far above: it starts out convinced of something. *Below*: the answers leak.
#   The logits at position t are for the token at t + 1, so a text of S tokens asks S - 1 questions.
# - **Is it causal?** Replace the **last** token of every row by another one. The logits at all
#   earlier positions must stay as they were, but for rounding (`atol=1e-5`).


# %%
def initial_loss_test(
    model: Callable[[Tensor], Tensor], token_ids: Tensor, vocab_size: int, tolerance: float = 0.2
) -> tuple[float, bool, bool]:
    """Measure the first loss of a model, and look for leaks.

    model: token ids (B, S) -> logits (B, S, V). token_ids: (B, S), integers below vocab_size; leave
    them as they are.
    Returns the mean loss in nats (float), whether it is within tolerance of ln V on either side
    (bool), and whether the model is causal (bool).
    """
    ### BEGIN SOLUTION
    logits = model(token_ids)
    asked, answers = logits[:, :-1], token_ids[:, 1:]
    loss = functional.cross_entropy(asked.flatten(0, 1).float(), answers.flatten()).item()
    knows_nothing = abs(loss - math.log(vocab_size)) <= tolerance

    other = token_ids.clone()
    other[:, -1] = (other[:, -1] + 1) % vocab_size
    is_causal = torch.allclose(model(other)[:, :-1], asked, rtol=0, atol=1e-5)
    return loss, knows_nothing, is_causal
    ### END SOLUTION


# %%
check("5.3", initial_loss_test)

# %% [markdown]
# ## Exercise 5.4: What had it learned when the money was gone?
#
# One run, three axes: a step can cost 1 (a step), so many FLOPs, or so many seconds. A run was
# measured after certain `steps` and had these `losses`. Every step cost `price`. Give the loss of
# the **last** measurement that `budget` pays for, the price of step 0 being nothing. Do not
# interpolate, and do not pick the best one: you would not have known.
#
# If the budget does not reach the first measurement, the answer is `math.inf`: it loses against
# everybody.


# %%
def loss_at_budget(
    steps: Sequence[int], losses: Sequence[float], price: float, budget: float
) -> float:
    """Read a learning curve at a budget.

    steps: after how many steps the run was measured, ascending. losses: what was measured then.
    price: of one step, in any unit. budget: in the same unit; spending all of it is allowed.
    Returns the loss of the last measurement that was paid for, or math.inf.
    """
    ### BEGIN SOLUTION
    affordable = [loss for step, loss in zip(steps, losses, strict=True) if step * price <= budget]
    return affordable[-1] if affordable else math.inf
    ### END SOLUTION


# %%
check("5.4", loss_at_budget)

# %% [markdown]
# ## Exercise 5.5: Is it a win?
#
# Two models, the same seeds. Seed by seed, the **gain** is the baseline's loss minus the
# candidate's: positive when the candidate is better. Return the mean gain, its uncertainty, and a
# verdict:
#
# - the uncertainty is $t \cdot s / \sqrt{n}$, where s is the sample standard deviation of the n
#   gains (divide by n - 1) and t is given; for 3 seeds and 95 % it is 4.303, Student's value;
# - `"better"` if the mean is above the uncertainty, `"worse"` if it is below minus the
#   uncertainty, and otherwise `"inside the noise"`.


# %%
def paired_gain(
    baseline: Sequence[float], candidate: Sequence[float], t: float = 4.303
) -> tuple[float, float, str]:
    """Compare two models over the same seeds.

    baseline, candidate: one loss for each seed, in the same order of seeds; at least two.
    Returns the mean gain, its uncertainty, and "better", "worse" or "inside the noise".
    """
    ### BEGIN SOLUTION
    gains = [old - new for old, new in zip(baseline, candidate, strict=True)]
    gain, uncertainty = mean(gains), t * stdev(gains) / math.sqrt(len(gains))
    verdict = "inside the noise"
    if abs(gain) > uncertainty:
        verdict = "better" if gain > 0 else "worse"
    return gain, uncertainty, verdict
    ### END SOLUTION


# %%
check("5.5", paired_gain)
