# %% [markdown]
# # 01 Why sparse: exercises
#
# Six small functions that turn a claim about a model into a number, a counter that is not to be
# trusted, and a puzzle for as long as you like. Plain Python is enough: no tensor, no training,
# only careful counting.

# %%
import random
from collections.abc import Callable, Sequence

from moe_teach.config import ModelConfig
from moe_teach.course import check

Sizes = dict[str, int]

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
# This one belongs to [the page about money](../notebooks/01b_what_a_token_costs.ipynb).
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

# %% [markdown]
# ## Exercise 1.7: Find what is wrong: a counter that agrees on Mixtral
#
# Somebody counts active parameters for models of several kinds. `sizes` says how many of the layers
# are dense (they come first, each with a SwiGLU of inner width `d_ff_dense`), how wide the experts
# are (`d_ff`, the shared ones too, which work for every token beside the `top_k` chosen ones), and
# whether the output matrix and the input table are one (`is_tied`). Norms, attention and routers
# are those of exercise 1.1. The counter reproduces Mixtral 8x7B to the last parameter.

# %%
MIXTRAL = {
    "n_layers": 32,
    "n_dense_layers": 0,
    "d_model": 4096,
    "vocab_size": 32_000,
    "is_tied": False,
    "n_heads": 32,
    "n_kv_heads": 8,
    "d_head": 128,
    "d_ff_dense": 14_336,
    "d_ff": 14_336,
    "n_experts": 8,
    "top_k": 2,
    "n_shared_experts": 0,
}


# %%
def count_at_work(sizes: Sizes) -> int:
    """Count the parameters that work on one token, the input table included."""
    d_model, n_layers, n_dense = sizes["d_model"], sizes["n_layers"], sizes["n_dense_layers"]
    tables = sizes["vocab_size"] * d_model * (1 if sizes["is_tied"] else 2)
    queries_and_output = 2 * d_model * d_model
    keys_and_values = 2 * d_model * sizes["n_kv_heads"] * (d_model // sizes["n_heads"])
    norms = (2 * n_layers + 1) * d_model
    expert = 3 * d_model * sizes["d_ff"]
    at_work = (sizes["top_k"] + sizes["n_shared_experts"]) * expert
    router = sizes["n_experts"] * d_model
    dense = 3 * d_model * sizes["d_ff_dense"]
    attention = n_layers * (queries_and_output + keys_and_values)
    return tables + attention + norms + n_dense * dense + (n_layers - n_dense) * (router + at_work)


print(f"{count_at_work(MIXTRAL):,} (the lesson: 12,879,925,248)")

# %% [markdown]
# It is wrong for other models, and it is not the only one: most of the counters with other faults
# agree on Mixtral just as well. Write a test that tells them apart from the right ones. It receives
# any counter, asks it about models of its own choice, and says whether it may be trusted. The check
# gives it three right counters and fourteen wrong ones, which you do not see.


# %%
def trust(counter: Callable[[Sizes], int]) -> bool:
    """Say whether a counter of active parameters is right for every model of this kind.

    counter: takes a dictionary with the thirteen keys of MIXTRAL and gives an integer. Ask it only
    about sizes that make sense: positive integers (n_dense_layers and n_shared_experts may be 0),
    no more dense layers than layers, no more choices than experts.
    """
    ### BEGIN SOLUTION

    def mended(sizes: Sizes) -> int:
        heads = sizes["d_head"] * (sizes["n_heads"] + sizes["n_kv_heads"])
        n_at_work = sum(sizes[name] for name in ("top_k", "n_shared_experts"))
        sparse = sizes["n_experts"] + n_at_work * 3 * sizes["d_ff"]
        n_dense, dense = sizes["n_dense_layers"], 3 * sizes["d_ff_dense"]
        rows = sizes["vocab_size"] * (2 - sizes["is_tied"]) + 1
        rows += sizes["n_layers"] * (2 * heads + 2) + n_dense * dense
        return sizes["d_model"] * (rows + (sizes["n_layers"] - n_dense) * sparse)

    assert mended(MIXTRAL) == 12_879_925_248
    draw = random.Random(0)
    for is_tied in (False, True):
        values = draw.sample(range(2, 99), len(MIXTRAL))  # no two of them equal
        sizes = dict(zip(MIXTRAL, values, strict=True)) | {"is_tied": is_tied}
        sizes["n_layers"] += sizes["n_dense_layers"]
        sizes["n_experts"] += sizes["top_k"]
        if counter(sizes) != mended(sizes):
            return False
    return True
    ### END SOLUTION


# %%
check("1.7", trust)

# %% [markdown]
# ## Exercise 1.8: Open task: who should decode together?
#
# Sixty-four sequences wait for their next token. Eight fit into one step of decoding, and a step
# reads every expert that one of its eight needs. In the lesson eight tokens woke 10.5 of 16
# experts. But who said that the first eight to come must be the first eight to go?
#
# Row i of `expert_ids` holds the experts that sequence i needs in the next step, as far as one
# layer is concerned. Divide the sequences among as few steps as possible, so that the steps **read
# as few experts as possible**. Sequences have topics, so some need the same experts more often than
# by chance.
#
# The check measures the experts that a step reads on average. Arrival order reads 10.33. The goal
# is 6.2. A million exchanges of pairs reach 4.67; what the best possible is, we do not know.


# %%
def plan_steps(expert_ids: list[list[int]], n_together: int) -> list[list[int]]:
    """Say which sequences decode together.

    expert_ids: T rows with the K different experts that each sequence needs.
    n_together: how many sequences fit into one step, at least one.
    Returns ceil(T / n_together) steps, each a list of positions of sequences. Every position stands
    in exactly one step; steps, and positions in a step, may come in any order.
    """
    ### BEGIN SOLUTION
    waiting = list(range(len(expert_ids)))
    plan = []
    while waiting:
        step = [waiting.pop(0)]
        woken = set(expert_ids[step[0]])
        while waiting and len(step) < n_together:
            cheapest = min(waiting, key=lambda i: len(set(expert_ids[i]) - woken))
            waiting.remove(cheapest)
            step.append(cheapest)
            woken |= set(expert_ids[cheapest])
        plan.append(step)
    return plan
    ### END SOLUTION


# %%
check("1.8", plan_steps)
