# %% [markdown]
# # 02 Mixtures: exercises
#
# Six pieces of a mixture of experts: the expert, the soft mixture, the two errors of 1991 that make
# specialists, and the step from soft to sparse.

# %%
from collections.abc import Callable

import torch
from torch import Tensor, nn

from moe_teach.course import check

# %% [markdown]
# ## Exercise 2.1: An expert
#
# The lesson's experts were single matrices. A real one is a small network: linear, ReLU, linear.
# Call the two layers `up` (from `d_in` to `d_hidden`) and `down` (from `d_hidden` to `d_out`), both
# with a bias. It must work on one vector as well as on a batch with any leading dimensions.


# %%
class Expert(nn.Module):
    """A feed-forward network: up, ReLU, down."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        """Make the layers `self.up` and `self.down`, both `nn.Linear` with bias."""
        ### BEGIN SOLUTION
        super().__init__()
        self.up = nn.Linear(d_in, d_hidden)
        self.down = nn.Linear(d_hidden, d_out)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last dimension: x (..., d_in) -> (..., d_out), in the layers' dtype.

        A batch may be empty, as that of an expert nobody chose.
        """
        ### BEGIN SOLUTION
        return self.down(self.up(x).relu())
        ### END SOLUTION


# %%
check("2.1", Expert)

# %% [markdown]
# ## Exercise 2.2: The soft mixture
#
# Every expert answers for every token; the gates are the softmax of the logits over the experts.
# Return the gated sum of the answers, $\sum_i p_i\, o_i$.


# %%
def soft_mixture(outputs: Tensor, logits: Tensor) -> Tensor:
    """Blend the experts' answers.

    outputs: (T, E, O), the answer of every expert for every token. logits: (T, E), hundreds apart
    at times. Inputs may be transposed, and of float64: then no digit is lost.
    Returns the blend, (T, O).
    """
    ### BEGIN SOLUTION
    gates = logits.softmax(dim=-1)
    return torch.einsum("te,teo->to", gates, outputs)
    ### END SOLUTION


# %%
check("2.2", soft_mixture)

# %% [markdown]
# ## Exercise 2.3: The competitive error
#
# Equation (1.2) of Jacobs et al. (1991): square every expert's own error first, then weigh with the
# gates,
#
# $$E = \sum_i p_i\, \lVert d - o_i \rVert^2$$
#
# and take the mean over the tokens. The squared norm sums over the outputs.


# %%
def competitive_loss(outputs: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Weigh the experts' own squared errors by their gates.

    outputs: (T, E, O). logits: (T, E). targets: (T, O). As in 2.2, logits may be hundreds apart,
    and inputs transposed or of float64.
    Returns the mean over the tokens, a scalar.
    """
    ### BEGIN SOLUTION
    errors = (targets[:, None, :] - outputs).square().sum(dim=-1)  # (T, E)
    return (logits.softmax(dim=-1) * errors).sum(dim=-1).mean()
    ### END SOLUTION


# %%
check("2.3", competitive_loss)

# %% [markdown]
# ## Exercise 2.4: The likelihood of the mixture
#
# Equation (1.3), with the noise variance written out:
#
# $$E = -\log \sum_i p_i\, e^{-\lVert d - o_i\rVert^2 / 2\sigma^2}$$
#
# again as a mean over the tokens. An expert that is far off has $e^{-\text{large}}$, which a
# computer rounds to zero; if all are far off, the logarithm of zero follows. Stay in logarithms all
# the way.


# %%
def mixture_nll(outputs: Tensor, logits: Tensor, targets: Tensor, variance: float) -> Tensor:
    """Give the negative log-likelihood of the mixture, without constants.

    outputs: (T, E, O). logits: (T, E). targets: (T, O). variance: of the Gaussian noise. As in
    2.2, logits may be hundreds apart, and inputs transposed or of float64.
    Returns the mean over the tokens, a scalar that is finite however large the errors are.
    """
    ### BEGIN SOLUTION
    errors = (targets[:, None, :] - outputs).square().sum(dim=-1)  # (T, E)
    log_terms = logits.log_softmax(dim=-1) - errors / (2 * variance)
    return -log_terms.logsumexp(dim=-1).mean()
    ### END SOLUTION


# %%
check("2.4", mixture_nll)

# %% [markdown]
# ## Exercise 2.5: A mask for the top k
#
# From soft to sparse: mark the k experts with the largest logits of each token. Exactly k, even
# when logits are equal; of two equal ones the expert with the lower number wins.


# %%
def top_k_mask(logits: Tensor, k: int) -> Tensor:
    """Mark the k largest logits of each token.

    logits: (T, E), of any float dtype; some may be minus infinity, but k of each row are not.
    Returns a boolean tensor (T, E) with exactly k True in every row.
    """
    ### BEGIN SOLUTION
    # A stable sort keeps equal logits in the order of the experts; `topk` promises nothing.
    chosen = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True)
    ### END SOLUTION


# %%
check("2.5", top_k_mask)

# %% [markdown]
# ## Exercise 2.6: The sparse mixture
#
# Now save the work. Choose the top k experts of each token (no ties here), give them gates that are
# the softmax over *their* logits, and call every expert **only with the tokens that chose it**. An
# expert that nobody chose is not called at all. With k = E this must be the soft mixture again.


# %%
def sparse_mixture(
    x: Tensor, experts: list[Callable[[Tensor], Tensor]], logits: Tensor, k: int
) -> Tensor:
    """Mix the answers of each token's top k experts.

    x: (T, D). experts: E functions from (n, D) to (n, D). logits: (T, E), hundreds apart at times.
    Returns (T, D), in the dtype of x, which may be float64.
    """
    ### BEGIN SOLUTION
    chosen = logits.topk(k, dim=-1)
    gates = chosen.values.softmax(dim=-1)  # (T, k)
    y = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        if len(token):
            y = y.index_add(0, token, gates[token, choice, None] * expert(x[token]))
    return y
    ### END SOLUTION


# %%
check("2.6", sparse_mixture)
