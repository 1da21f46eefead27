# %% [markdown]
# # 00 Start here: exercises
#
# Three short ones to get to know the checks. Each needs a few lines of plain Python.

# %%
from moe_teach.course import check

# %% [markdown]
# ## Exercise 0.1: A router made of rules
#
# Before routers were learned, people wrote rules. Yours sends every token to one of three
# experts:
#
# - expert 0 takes numbers: tokens made of digits only, such as `1991`;
# - expert 1 takes punctuation: tokens without any letter or digit, such as `,`, `...` or `_`;
# - expert 2 takes everything else, such as `task`, `don't` or `4th`.
#
# `str.isdigit()` is true if all characters are digits, `str.isalnum()` if all are letters or
# digits. Letters of every alphabet count: `é` is one.


# %%
def route_by_rule(tokens: list[str]) -> list[int]:
    """Choose one expert for each token.

    tokens: T tokens, none of them empty.
    Returns T expert ids in the tokens' order: 0 for numbers, 1 for punctuation, 2 for the rest.
    """
    ### BEGIN SOLUTION
    return [
        0 if token.isdigit() else 2 if any(letter.isalnum() for letter in token) else 1
        for token in tokens
    ]
    ### END SOLUTION


# %%
check("0.1", route_by_rule)

# %% [markdown]
# ## Exercise 0.2: How much of a model is active?
#
# A model has parameters that every token uses (embeddings, attention, routers): `n_shared`. It also
# has `n_experts` experts with `n_per_expert` parameters each, and every token uses `top_k` of them.
# Which fraction of all parameters takes part in one token?


# %%
def active_fraction(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    """Compute active parameters divided by total parameters.

    Counts may have twelve digits. Returns a plain float between 0 and 1, not rounded; 1 means
    that the model is dense.
    """
    ### BEGIN SOLUTION
    n_params_active = n_shared + top_k * n_per_expert
    n_params_total = n_shared + n_experts * n_per_expert
    return n_params_active / n_params_total
    ### END SOLUTION


# %%
check("0.2", active_fraction)

# %% [markdown]
# ## Exercise 0.3: Who would notice?
#
# The lesson destroyed an expert and asked which tokens noticed. You can tell from the routing
# alone, without running a single expert. Row t of `expert_ids` lists the experts chosen by token t.


# %%
def tokens_that_notice(expert_ids: list[list[int]], expert: int) -> list[int]:
    """List the tokens whose answer depends on one expert.

    expert_ids: T rows with the K chosen experts of each token, all different.
    Returns the positions of these tokens, in ascending order; empty if nobody chose the expert.
    """
    ### BEGIN SOLUTION
    return [position for position, chosen in enumerate(expert_ids) if expert in chosen]
    ### END SOLUTION


# %%
check("0.3", tokens_that_notice)
