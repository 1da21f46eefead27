# %% [markdown]
# # 01 Why sparse: exercises
#
# Six small functions that turn a claim about a model into a number. Plain Python is enough: no
# tensor, no training, only careful counting.

# %%
from collections.abc import Sequence

from moe_teach.config import ModelConfig
from moe_teach.course import check

# %% [markdown]
# ## Exercise 1.1: Count a model from its shapes
#
# Given a configuration, count the parameters of each part. The models here are all of one kind:
# decoder only, an input table and an output matrix of their own, grouped-query attention without
# biases, two RMS norms in each layer and one at the end, and in **every** layer a router (a plain
# matrix) and SwiGLU experts.
#
# Return a dictionary of six integers with the keys `"input_embedding"`, `"output_head"`,
# `"attention"`, `"norms"`, `"router"` and `"experts"`, each summed over all layers.
#
# A SwiGLU expert has *three* matrices: `w_gate` and `w_up` lead from `d_model` to `d_ff`, `w_down`
# leads back. Query and output matrices belong to all heads, key and value matrices to the
# `n_kv_heads` only.


# %%
def count_parts(config: ModelConfig) -> dict[str, int]:
    """Count parameters by part, over all layers.

    config has n_layers, d_model, vocab_size, attention (n_heads, n_kv_heads, d_head) and moe
    (router.n_experts, d_ff).
    Returns {"input_embedding": int, "output_head": int, "attention": int, "norms": int,
    "router": int, "experts": int}.
    """
    ### BEGIN SOLUTION
    attention, moe = config.attention, config.moe
    d_queries = attention.n_heads * attention.d_head
    d_keys = attention.n_kv_heads * attention.d_head
    n_experts = moe.router.n_experts
    return {
        "input_embedding": config.vocab_size * config.d_model,
        "output_head": config.vocab_size * config.d_model,
        "attention": config.n_layers * config.d_model * (2 * d_queries + 2 * d_keys),
        "norms": (2 * config.n_layers + 1) * config.d_model,
        "router": config.n_layers * n_experts * config.d_model,
        "experts": config.n_layers * n_experts * 3 * config.d_model * moe.d_ff,
    }
    ### END SOLUTION


# %%
check("1.1", count_parts)

# %% [markdown]
# ## Exercise 1.2: Count what one token uses
#
# From the dictionary of 1.1, count the active parameters. A token visits `top_k` of the experts of
# each layer; everything else works for every token, the router with **all** its rows too.
#
# Published numbers follow two conventions. With `input_embedding=False`, leave the input table
# out: a token reads one row of it.


# %%
def count_active(
    parts: dict[str, int], n_experts: int, top_k: int, input_embedding: bool = True
) -> int:
    """Count the parameters that work on one token.

    parts: the dictionary that count_parts returns, its keys in any order; counts may have twelve
    digits. Returns an exact integer; the count of one expert divides evenly.
    """
    ### BEGIN SOLUTION
    unused = parts["experts"] // n_experts * (n_experts - top_k)
    active = sum(parts.values()) - unused
    return active if input_embedding else active - parts["input_embedding"]
    ### END SOLUTION


# %%
check("1.2", count_active)

# %% [markdown]
# ## Exercise 1.3: The FLOPs of a whole answer
#
# A model reads a prompt and writes an answer, one token at a time, with a cache: every token is
# computed once. One token at position t (the first one has t = 0) costs
#
# - 2 FLOPs for each of the `n_matrix_params` parameters that work on it, and
# - in each layer and head, 2 · d_head FLOPs for the score with each of the **t + 1** positions it
#   sees, and 2 · d_head more for mixing the value found there.
#
# Return the FLOPs of reading `n_prompt` tokens and writing `n_new`. Mind the last token: once it
# is written, nobody computes with it any more.


# %%
def answer_flops(
    n_matrix_params: int, n_layers: int, n_heads: int, d_head: int, n_prompt: int, n_new: int
) -> int:
    """Count the FLOPs of one answer with a cache.

    n_prompt >= 1 tokens are read; n_new >= 1 tokens are written, the first of them from the
    output at the last prompt token. n_heads may be 0: then only the matrices cost.
    Returns an exact integer.
    """
    ### BEGIN SOLUTION
    n_computed = n_prompt + n_new - 1  # the last token is written and never read
    n_pairs = n_computed * (n_computed + 1) // 2  # 1 + 2 + ... : each sees itself and all before
    return 2 * n_matrix_params * n_computed + 4 * n_layers * n_heads * d_head * n_pairs
    ### END SOLUTION


# %%
check("1.3", answer_flops)

# %% [markdown]
# ## Exercise 1.4: Look inside a model through two numbers
#
# A model is announced with its total and its active parameters, `n_experts` and `top_k`. Find the
# part S that every token shares, and the size x of one expert (over all layers):
#
# total = S + n_experts · x  and  active = S + top_k · x.
#
# Not every pair of numbers is a sparse model. Raise `ValueError` when `top_k` is not below
# `n_experts`, when active is not below total, or when the shared part comes out negative. A shared
# part of exactly zero is allowed.


# %%
def solve_model(total: float, active: float, n_experts: int, top_k: int) -> tuple[float, float]:
    """Solve for the shared part and one expert, in the unit of `total`, whatever it is.

    Returns (shared, expert). Raises ValueError for numbers that describe no sparse model.
    """
    ### BEGIN SOLUTION
    if top_k >= n_experts:
        raise ValueError(f"{top_k} of {n_experts} experts: the two equations are the same.")
    if active >= total:
        raise ValueError("A dense model uses all it stores: there is nothing to solve.")
    expert = (total - active) / (n_experts - top_k)
    shared = active - top_k * expert
    if shared < 0:
        raise ValueError(f"The shared part would be {shared}: these numbers do not fit together.")
    return shared, expert
    ### END SOLUTION


# %%
check("1.4", solve_model)

# %% [markdown]
# ## Exercise 1.5: How many experts does a batch wake?
#
# One token wakes `top_k` experts of a layer. A batch wakes every expert that *somebody* chose, and
# each of them must be read from memory. How many different ones is that on average?
#
# Be more general than the lesson: expert e is chosen by a token with probability
# `choice_probs[e]` (they sum to `top_k`, and need not be equal). Tokens choose independently.


# %%
def expected_distinct(choice_probs: Sequence[float], n_tokens: int) -> float:
    """Give the expected number of different experts that n_tokens tokens choose.

    choice_probs: for each expert, the probability that one token chooses it, in [0, 1].
    n_tokens: 0 or more. Returns the exact value, a float between 0 and len(choice_probs).
    """
    ### BEGIN SOLUTION
    return float(sum(1 - (1 - prob) ** n_tokens for prob in choice_probs))
    ### END SOLUTION


# %%
check("1.5", expected_distinct)

# %% [markdown]
# ## Exercise 1.6: Buy or rent?
#
# A machine costs `purchase_usd` once and `running_usd_per_hour` for power, cooling and care, every
# hour, used or not. Renting the same machine costs `rent_usd_per_hour`, but only while you use it:
# a part `use_share` of all hours.
#
# After how many hours on the calendar has buying cost no more than renting? If it never happens,
# return infinity (`float("inf")`): a number that compares and plots.


# %%
def break_even(
    purchase_usd: float, running_usd_per_hour: float, rent_usd_per_hour: float, use_share: float
) -> float:
    """Give the calendar hours until buying is as cheap as renting; inf if it never is.

    use_share lies in [0, 1]; no price is negative, and purchase_usd is positive. Hours are not
    rounded. Never is when an hour saves nothing; a tiny saving pays back one day.
    """
    ### BEGIN SOLUTION
    saved_usd_per_hour = use_share * rent_usd_per_hour - running_usd_per_hour
    if saved_usd_per_hour <= 0:
        return float("inf")
    return purchase_usd / saved_usd_per_hour
    ### END SOLUTION


# %%
check("1.6", break_even)
