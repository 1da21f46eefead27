# %% [markdown]
# # 01b What a token costs
#
# **Claim: which of two models has the cheaper token cannot be read off the sizes of the models.**
# This is a side page of [chapter 01](01_why_sparse.ipynb), for readers who pay for machines. It
# needs the siblings and the experts that a batch wakes from there, and no later chapter needs it.

# %% [markdown]
# ## A surprise first
#
# Chapter 01 compared three siblings: the sparse 72B/12B model of the article, a dense model of what
# a token of it uses, and a dense one of all that it stores. Seconds become money through a price by
# the hour. The weights of the dense 12B fit into one accelerator of 80 GB; the other two need a
# pair. All prices are **invented**: change them.

# %%
from dataclasses import replace

from moe_teach.catalog import ARTICLE_MODEL
from moe_teach.cost import Machine

sparse = ARTICLE_MODEL.config
siblings = {
    "dense 12B": replace(sparse, moe=None, d_ff_dense=2 * sparse.moe.d_ff),
    "sparse 72B/12B": sparse,
    "dense 72B": replace(sparse, moe=None, d_ff_dense=16 * sparse.moe.d_ff),
}
one = Machine(
    memory_bytes=80e9, bandwidth_bytes_per_s=2e12, peak_flops_per_s=4e14, usd_per_hour=2.5
)
pair = Machine(
    memory_bytes=160e9, bandwidth_bytes_per_s=4e12, peak_flops_per_s=8e14, usd_per_hour=5.0
)

# %% [markdown]
# First a single user. A step reads the weights that work on the token, and the machine is paid for
# as long as that takes.

# %% tags=["nbval-check-output"]
from moe_teach.cost import decode_tokens_per_second, usd_per_million_tokens


def usd(model, batch: int, machine: Machine | None = None) -> float:
    """Price a million tokens: a lower bound, without the cache and without idle time."""
    used = machine or (one if one.holds(model) else pair)
    return usd_per_million_tokens(used.usd_per_hour, decode_tokens_per_second(model, used, batch))


for label, model in siblings.items():
    print(f"{label:14} at batch 1: {usd(model, 1):6.2f} USD for a million tokens")

# %% [markdown]
# The sparse model costs as much as the dense 12B, on twice the machine. So the article was right,
# and the price follows the active parameters? Sixteen users come. Guess before you go on:

# %%
from moe_teach.course import check

check("1.q5", ...)

# %% [markdown]
# ## From one user to a thousand

# %%
from moe_teach.chapters.ch01_why_sparse.cost_figures import lines_figure
from moe_teach.plots.style import show_figure

BATCHES = tuple(2**power for power in range(13))
prices = {label: [usd(model, batch) for batch in BATCHES] for label, model in siblings.items()}
show_figure(
    lines_figure(
        BATCHES, {"USD for a million tokens": prices}, ["Price against batch"], is_log=True
    )
)

# %% tags=["nbval-check-output"]
for batch in (1, 16, 1024):
    at = {label: usd(model, batch) for label, model in siblings.items()}
    ratio = at["sparse 72B/12B"] / at["dense 12B"]
    print(f"batch {batch:4}:", *(f"{price:7.3f}" for price in at.values()), f"  {ratio:.1f} times")
print("(dense 12B, sparse, dense 72B; and sparse over dense 12B)")

# %% [markdown]
# **What to see.** The sparse model begins beside the small one, moves to the big one, and comes
# back. Between the first and the last batch every price falls a hundredfold or more: the cheapest
# token comes from whoever keeps the machine full.
#
# ## A control that must fail
#
# Is it really the reading of woken experts that lifts the price in the middle? Give the pair a
# memory that is read a thousand times as fast. If reading is the cause, the hump must go, and the
# price must follow the active parameters at every batch.

# %% tags=["nbval-check-output"]
fast = [replace(m, bandwidth_bytes_per_s=1000 * m.bandwidth_bytes_per_s) for m in (one, pair)]
ratios = [
    usd(siblings["sparse 72B/12B"], batch, fast[1]) / usd(siblings["dense 12B"], batch, fast[0])
    for batch in BATCHES
]
print(f"sparse over dense 12B, reading nearly free: {min(ratios):.3f} to {max(ratios):.3f}")
assert max(ratios) < 1.01

# %% [markdown]
# It goes. The price in the middle is the price of reading.
#
# ## Claim: "no cost per token after the hardware"
#
# Someone who buys a machine pays for power and care, every hour, used or not. Someone who rents
# pays only for hours of use. With these prices, invented again, and a machine that is used half of
# the time: after how many years has the purchase paid for itself? Write your guess down.

# %%
import numpy as np

from moe_teach.cost import break_even_hours

purchase_usd, running_usd_per_hour = 60_000.0, 1.0  # assumptions
shares_in_use = (1.0, 0.5, 0.2)
hours = np.linspace(0, 50_000, 101)

paid = {"buy": purchase_usd + running_usd_per_hour * hours}
meets = {}
for used_share in shares_in_use:
    name = f"rent, in use {used_share:.0%} of the time"
    rent = pair.usd_per_hour * used_share
    paid[name] = rent * hours
    meets[name] = break_even_hours(purchase_usd, running_usd_per_hour, rent)

# %%
from moe_teach.chapters.ch01_why_sparse.cost_figures import break_even_figure

show_figure(break_even_figure(hours, paid, meets))

# %% tags=["nbval-check-output"]
for name, hour in meets.items():
    print(f"{name:29}", "never" if hour == float("inf") else f"{hour / 8760:.1f} years")
assert meets["rent, in use 20% of the time"] == float("inf")

# %% [markdown]
# A private machine has reasons that no break-even shows: data that may not leave the house, a
# model that nobody can change or withdraw. But a token on it is not free.
#
# ## What became of the claims
#
# - *Cost per query falls in proportion.* Money does so for one user or for very many, and **not in
#   between**, on these machines.
# - *No cost per token after the hardware.* **Does not hold**: there are power and idle hours, and
#   buying may never pay.
#
# ## What could be wrong with this result?
#
# - **All prices are invented.** Their ratios decide where the lines cross. Put yours in.
# - **The cache is left out of the price.** With long contexts it competes with the weights for
#   memory and for bandwidth, and experts do not help.
# - **Bounds are not bills.** No server reaches its bandwidth, and none is full at night.
# - **Uniform routing is assumed.** A skewed batch wakes fewer experts and costs less.
#
# ## Now you
#
# Exercise 1.6 of [the chapter's exercises](../exercises/01_why_sparse.ipynb) is the break-even.
# The calculator of [chapter 01](01_why_sparse.ipynb) has these prices for every model of the
# catalog, and sliders for the machine.
