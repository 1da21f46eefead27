# %% [markdown]
# # 00 Start here: exercises
#
# Five short ones to get to know the checks. Each needs a few lines of plain Python.

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

# %% [markdown]
# ## Exercise 0.4: Find what is wrong: the two best experts
#
# From here on you will often meet code that looks right, runs, and is wrong. Somebody wrote the
# choice of the lesson without tensors. It agrees with the lesson on these tokens:


# %%
def two_best(scores: list[float]) -> list[int]:
    """Choose two experts: those with the two highest scores."""
    border = sorted(scores)[-2]
    return [expert for expert, score in enumerate(scores) if score >= border]


print("1991:       ", two_best([2.0, 0.8, 0.9]))
print("4:          ", two_best([2.0, 1.7, 0.0]))
print("researchers:", two_best([-3.0, -1.3, 3.0]))

# %% [markdown]
# Whatever the scores are, exactly two experts must come out: whoever calls the function counts on
# it. Find scores for which the function does not do what it says: a **counterexample**, with as few
# experts as possible. Call `two_best` in cells of your own as often as you like.


# %%
def counterexample() -> list[float]:
    """Give scores for which `two_best` does not choose two experts.

    Returns a list of ordinary numbers, one for each expert, as short as possible.
    """
    ### BEGIN SOLUTION
    return [2.0, 1.0, 1.0]
    ### END SOLUTION


# %%
check("0.4", counterexample)

# %% [markdown]
# ## Exercise 0.5: Open task: as few experts as possible
#
# An open task has no single right answer. Any valid answer is measured, you pass at the goal, and
# your best figure so far is kept and shown: come back and beat it.
#
# The lesson asked two experts about every token. Some tokens did not need two, others could have
# used three. Row t of `probs` holds the probabilities of all experts for token t. Decide which
# experts each token asks. What counts as enough is the probability of the experts asked, added up
# for each token and averaged over all tokens: it must be at least `share`.
#
# **Ask as few experts as you can.** The check measures how many experts a token asks on average,
# with 60 tokens, 8 experts and `share` 0.8. The same number for every token needs 4. The goal is
# 3.2, and no rule gets below 2.8.


# %%
def choose_experts(probs: list[list[float]], share: float) -> list[list[int]]:
    """Choose the experts that each token asks.

    probs: T rows with the probabilities of E experts; each row sums to one.
    share: the probability that the experts asked must hold on average over the tokens, in (0, 1].
    Returns T lists of expert ids, in any order and without repetition, each with one id or more.
    """
    ### BEGIN SOLUTION
    for border in sorted({prob for row in probs for prob in row}, reverse=True):
        asked = [
            [e for e, prob in enumerate(row) if prob >= min(border, max(row))] for row in probs
        ]
        kept = sum(probs[token][e] for token, chosen in enumerate(asked) for e in chosen)
        if kept / len(probs) >= share:
            break
    return asked
    ### END SOLUTION


# %%
check("0.5", choose_experts)
