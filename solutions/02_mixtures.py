# %% [markdown]
# # 02 Mixtures: exercises
#
# An expert, a mixture that is spread over machines, what the errors of 1991 pull at, and the step
# from soft to sparse. Then a test for the mixtures of other people, and an error of your own.

# %%
import math
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from moe_teach.chapters.ch02_mixtures import experiments as square
from moe_teach.course import by_mode, check, mine

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
# ## Exercise 2.2: A mixture whose experts live elsewhere
#
# The experts stand on M machines, some with one expert and some with five, and no machine sees the
# logits of another. Each takes the softmax over *its own* experts and sends two things for every
# token: the blend of its experts' answers, and its **total**, the logarithm of the sum of the
# exponentials of its logits. (The sum itself would overflow.)
#
# From these alone, make the blend that one softmax over all experts would have given.
#
# A machine whose experts are all switched off for a token is silent: its total is minus infinity,
# and what it sends in the place of a blend may be anything, NaN included.


# %%
def soft_mixture(blends: Tensor, totals: Tensor) -> Tensor:
    """Merge the blends of M machines into the blend of all experts.

    blends: (M, T, O). totals: (M, T), hundreds apart at times, or minus infinity; for each token at
    least one is finite. Inputs may be transposed, and of float64: then no digit is lost.
    Returns the blend, (T, O).
    """
    ### BEGIN SOLUTION
    shares = totals.softmax(dim=0)  # of the sum of all exponentials
    heard = blends.masked_fill(totals.isneginf()[..., None], 0.0)  # 0 times NaN would be NaN
    return (shares[..., None] * heard).sum(dim=0)
    ### END SOLUTION


# %%
check("2.2", soft_mixture)

# %% [markdown]
# ## Exercise 2.3: The pulls of the competitive error
#
# In the lesson autograd told how hard the errors pull at the answers. Derive it yourself for
# equation (1.2), as a mean over the tokens, and with it the pull at the *router*, which the lesson
# did not show:
#
# $$E = \frac{1}{T} \sum_t \sum_i p_{ti}\, \lVert d_t - o_{ti} \rVert^2, \qquad
# p_{ti} = \mathrm{softmax}_i(\text{logits}_t)$$
#
# Autograd is switched off while your answer is checked. On a small case of your own it may tell you
# whether you are right.


# %%
def competitive_gradients(
    outputs: Tensor, logits: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Derive the competitive error by the experts' answers and by the logits.

    outputs: (T, E, O). logits: (T, E), hundreds apart at times. targets: (T, O). As in 2.2, inputs
    may be transposed, and of float64.
    Returns d_outputs (T, E, O) and d_logits (T, E), which need no gradient themselves.
    """
    ### BEGIN SOLUTION
    gates = logits.softmax(dim=-1)
    misses = outputs - targets[:, None, :]
    errors = misses.square().sum(dim=-1)
    usual = (gates * errors).sum(dim=-1, keepdim=True)  # what a token costs, all in all
    d_outputs = 2 * gates[..., None] * misses / len(targets)
    d_logits = gates * (errors - usual) / len(targets)
    return d_outputs, d_logits
    ### END SOLUTION


# %%
check("2.3", competitive_gradients)

# %% [markdown]
# ## Exercise 2.4: The likelihood learns its noise
#
# The lesson had to guess the variance, and a wrong guess cost it regions. So let every expert learn
# its own. Then the constants that equation (1.3) leaves out are constants no longer: expert $i$
# stands for the whole density
#
# $$N_i(d) = (2 \pi \sigma_i^2)^{-O/2}\; e^{-\lVert d - o_i\rVert^2 / 2\sigma_i^2}$$
#
# of a target with O numbers, and the loss is $E = -\log \sum_i p_i\, N_i(d)$, as a mean over the
# tokens. What is learned is $\log \sigma_i^2$, so that no variance can become negative.
#
# An expert that is far off has a density that a computer rounds to zero; if all are far off, the
# logarithm of zero follows. Stay in logarithms all the way.


# %%
def mixture_nll(outputs: Tensor, logits: Tensor, targets: Tensor, log_variances: Tensor) -> Tensor:
    """Give the negative log-likelihood of the mixture, constants included.

    outputs: (T, E, O). logits: (T, E). targets: (T, O). log_variances: (E,), one for each expert.
    As in 2.2, logits may be hundreds apart, and inputs transposed or of float64.
    Returns the mean over the tokens, a scalar that is finite however large the errors are.
    """
    ### BEGIN SOLUTION
    errors = (targets[:, None, :] - outputs).square().sum(dim=-1)  # (T, E)
    log_front = -outputs.shape[-1] / 2 * (log_variances + math.log(2 * math.pi))
    log_density = log_front - errors / (2 * log_variances.exp())
    return -(logits.log_softmax(dim=-1) + log_density).logsumexp(dim=-1).mean()
    ### END SOLUTION


# %%
check("2.4", mixture_nll)

# %% [markdown]
# ### Does it find the noise?
#
# The square of the lesson, twelve experts, 400 steps. One variance for all experts, and it starts
# at 1, where the lesson's likelihood stayed and lost regions. The noise has 0.01. What will your
# loss make of it?


# %% tags=["play"]
def learn_with_noise(seed: int, n_steps: int = 400) -> tuple[float, float]:
    """Train on one world and give the variance that was learned, and the matching score."""
    world, new = square.draw_world(seed)  # a place is a column here: x is (3, T)
    experts, router = (part.requires_grad_() for part in square.draw_start(seed))
    log_variance, nll = torch.zeros((), requires_grad=True), mine("2.4")
    optimiser = torch.optim.Adam([experts, router, log_variance], lr=0.05)
    for _ in range(n_steps):
        outputs = torch.einsum("eod,dt->teo", experts, world.x)
        shared = log_variance.expand(len(experts))
        loss = nll(outputs, (router @ world.x).T, world.y.T, shared)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    both = [square.stacked((side,)) for side in (world, new)]
    score, _ = square.matching_score(router.detach()[None], *both)
    return log_variance.exp().item(), score.item()


# %% tags=["play"]
learned = {}
for seed in range(by_mode(full=8, fast=3)):
    learned[seed] = learn_with_noise(seed)
    print("seed {}: variance {:.4f}, matching score {:.3f}".format(seed, *learned[seed]))
assert all(0.005 < variance < 0.02 and score > 0.95 for variance, score in learned.values())
print("PASS: every seed finds the noise, and all regions")

# %% [markdown]
# **What to see.** The variance falls on its own while the experts get better, and the competition
# sharpens with it. With the variance fixed at 1 the lesson had a median score of 0.85, and with
# 0.02, which knows the noise, one seed of eight failed.

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

# %% [markdown]
# ## Exercise 2.7: Find what is wrong: mixtures of other people
#
# Here is a sparse mixture as somebody published it.


# %%
def mixture_of_somebody(
    x: Tensor, experts: list[Callable[[Tensor], Tensor]], logits: Tensor, k: int
) -> Tensor:
    """Mix the answers of each token's top k experts."""
    values, ids = logits.topk(k, dim=-1)
    gates = torch.zeros_like(logits).scatter(-1, ids, values.softmax(dim=-1))  # (T, E)
    rows = torch.zeros_like(gates).scatter(-1, ids, 1.0)
    expert_idx, token_idx = rows.T.nonzero(as_tuple=True)  # sorted by expert
    parts = x[token_idx].split(rows.sum(dim=0).int().tolist())
    answers = [expert(part) for expert, part in zip(experts, parts, strict=True) if len(part)]
    stitched = torch.cat(answers).exp() * gates[token_idx, expert_idx, None]  # out of log space
    combined = torch.zeros_like(x).index_add(0, token_idx, stitched)
    combined[combined == 0] = torch.finfo(x.dtype).eps
    return combined.log()  # and back


# %% [markdown]
# It runs, and it passes three tests that sound good: with k = 1 it is the best expert's answer,
# experts that agree are not changed by mixing, and the order of the experts does not matter.

# %% tags=["play"]
x, logits = torch.randn(5, 2), torch.randn(5, 4)
experts = [lambda rows, turn=turn: rows @ turn for turn in torch.randn(4, 2, 2)]
best = torch.stack([experts[e](row) for e, row in zip(logits.argmax(1), x, strict=True)])
torch.testing.assert_close(mixture_of_somebody(x, experts, logits, 1), best)
torch.testing.assert_close(mixture_of_somebody(x, [torch.sin] * 4, logits, 3), x.sin())
torch.testing.assert_close(
    mixture_of_somebody(x, experts[::-1], logits.flip(1), 3),
    mixture_of_somebody(x, experts, logits, 3),
)
print("passed")

# %% [markdown]
# Write a better test. It gets a mixture and says True or False: does it do what exercise 2.6 asks
# for, on everything that you try? Your test will meet the mixture above, eight more that are
# broken, and four that are right. The broken ones run without an error, and each of them is right
# somewhere. The right ones differ from yours in ways that nobody forbids.


# %%
def accepts(mixture: Callable[..., Tensor]) -> bool:
    """Say whether a mixture keeps the contract of exercise 2.6.

    mixture(x, experts, logits, k), with x (T, D), experts a list of E functions from (n, D) to
    (n, D), logits (T, E), maybe hundreds apart, and k in 1 ... E, must give each token the answers
    of its top k experts, weighed by the softmax over their logits; an expert is called with the
    tokens that chose it and no others. Which of two equal logits wins is left open.
    Returns True for a mixture that passes all your tries, False for any other.
    """

    ### BEGIN SOLUTION
    def ask(number: int, rows: Tensor) -> Tensor:
        n_rows[number] += len(rows)
        return rows @ turns[number]

    for k, spread in product((1, 2, 3, 4), (1, 200)):
        x, logits = torch.randn(6, 2), spread * torch.randn(6, 4)
        turns, n_rows = torch.randn(4, 2, 2), [0, 0, 0, 0]
        got = mixture(x, [partial(ask, number) for number in range(4)], logits, k)

        is_chosen = logits >= logits.topk(k).values[:, -1:]
        gates = logits.masked_fill(~is_chosen, -torch.inf).softmax(dim=-1)
        expected = sum(gates[:, [e]] * (x @ turn) for e, turn in enumerate(turns))
        if n_rows != is_chosen.sum(dim=0).tolist():
            return False
        if not torch.allclose(got, expected, atol=1e-4):
            return False
    return True
    ### END SOLUTION


# %%
check("2.7", accepts)

# %% [markdown]
# ## Exercise 2.8: Open task: an error that finds the regions
#
# Twelve experts for six regions are generous, and so are 400 places and 400 steps. Here are **eight
# experts, 200 places and 250 steps**, and in the end one expert for each place: 9 numbers that
# paint, and a router of 24. Worlds and optimiser are those of the lesson, the course trains, and
# all that you choose is the error.
#
# It is measured on 24 worlds that the lesson has not used, new places only. A place is *painted
# right* if the squared error of its **top expert alone** is below 0.12; with the true maps and
# borders that would be 99.3% of all places, and the noise spoils the rest. The likelihood of the
# lesson reaches 75%, the best fixed variance that we tried 89%. **The goal is 92%.** The solution
# of the course has more, and it is not the best there is.
#
# You get what the lesson's errors got, the outputs and the logarithms of the gates, and one thing
# more: `progress`, the share of the training that is over, 0 at the first step and nearly 1 at the
# last.


# %%
def my_error(outputs: Tensor, log_gates: Tensor, y: Tensor, progress: float) -> Tensor:
    """Give the error of a mixture on one world, to be minimised.

    outputs: (T, E, 3). log_gates: (T, E), their exponentials sum to one. y: (T, 3), the noisy
    colours. progress: in [0, 1). Several worlds are trained at once by `torch.vmap`: no `.item()`,
    no `if` on a tensor.
    Returns one finite number, with a graph.
    """
    ### BEGIN SOLUTION
    # Far above the noise at first: everybody learns from everything, and spreads out.
    variance = max(0.02, 0.02 ** (3 * progress))  # from 1 to 0.02 in a third of the steps
    errors = (y[:, None] - outputs).square().sum(dim=-1)
    return -(log_gates - errors / (2 * variance)).logsumexp(dim=-1).mean()
    ### END SOLUTION


# %%
check("2.8", my_error)
