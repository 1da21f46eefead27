# %% [markdown]
# # 01 Why sparse?
#
# **Claim: a sparse model stores much and uses little, and its memory, its computing and its speed
# do not all follow the same one of these two numbers.** You will count, solve and time your way to
# which follows which.
#
# Two popular articles made many people curious about mixtures of experts. One reports a model of
# 72 billion parameters that uses 12 billion for a token. The other says that 200 billion
# parameters in sixteen experts, two of them active, cost as much as a model one-eighth that size.
# In this chapter you check such sentences with nothing but shapes and a little Python.

# %% [markdown]
# ## A surprise first
#
# Mixtral 8x7B has eight experts "of 7 billion", and apart from them the architecture of Mistral 7B.
# So it must store eight times as much, and use twice as much. Let us count.

# %% tags=["nbval-check-output"]
from moe_teach.catalog import CATALOG
from moe_teach.cost import count_params, n_params_active, n_params_total

mistral, mixtral = (CATALOG[name].config for name in ("Mistral 7B", "Mixtral 8x7B"))
seven = n_params_total(mistral) / 1e9
print(f"Mistral 7B stores {seven:.2f} billion. Eight times that: {8 * seven:.1f}")
print(f"Mixtral 8x7B stores  {n_params_total(mixtral) / 1e9:.1f} billion")
print(f"... and a token uses {n_params_active(mixtral) / 1e9:.1f} billion, not {2 * seven:.1f}")

# %% [markdown]
# The name is wrong by eleven billion parameters, and nobody lied: only the feed-forward part
# exists eight times. This chapter is about that difference.
#
# ## Your prediction
#
# Before you read on, answer in the cell below: replace the `...` by a letter, such as `"a"`.
# Guessing is fine; you will see why in ten minutes.

# %%
from moe_teach.course import check

check("1.q1", ...)

# %% [markdown]
# ## Counting a model by hand
#
# A decoder layer holds attention and a feed-forward part, each behind a norm. Everything is a
# matrix whose size you can multiply out. Here is one layer of Mixtral 8x7B (Jiang et al. 2024,
# arXiv 2401.04088): width 4,096, 32 query heads that share 8 key and value heads, heads of 128.

# %% tags=["nbval-check-output"]
d_model, n_heads, n_kv_heads, d_head = 4096, 32, 8, 128

w_query = w_output = d_model * n_heads * d_head
w_key = w_value = d_model * n_kv_heads * d_head  # four query heads share one of these
attention = w_query + w_key + w_value + w_output
print(f"attention of one layer: {attention:,}")

# %% [markdown]
# The feed-forward part is a SwiGLU: three matrices between width 4,096 and inner width 14,336.
# Mixtral keeps eight of them in each layer, plus a router that scores all eight.

# %% tags=["nbval-check-output"]
d_ff, n_experts, top_k = 14_336, 8, 2

expert = 3 * d_model * d_ff
router = n_experts * d_model
print(f"one expert:  {expert:,}")
print(f"all eight:   {n_experts * expert:,}, or {n_experts * expert / attention:.0f} attentions")
print(f"the router:  {router:,}")

# %% [markdown]
# Now the whole model: 32 layers, two norms in each and one at the end, a table that turns token
# ids into vectors, and a matrix that turns vectors into logits.

# %% tags=["nbval-check-output"]
n_layers, vocab_size = 32, 32_000

shared = n_layers * (attention + router + 2 * d_model) + d_model + 2 * vocab_size * d_model
experts = n_layers * n_experts * expert
total = shared + experts
active = shared + experts * top_k // n_experts
print(f"total  {total:,}")
print(f"active {active:,}")
assert (total, active) == (n_params_total(mixtral), n_params_active(mixtral))

# %% [markdown]
# The published numbers are 46.7 and 12.9 billion (of the release post; the paper prints 47 and 13).
# You have reproduced them from eight integers.
# The library does the same for every model of its catalog, part by part:

# %% tags=["nbval-check-output"]
for part, size in vars(count_params(mixtral)).items():
    print(f"{part:16} {size:>15,}")

# %% [markdown]
# **Read the small print of "active".** A token reads one row of the input table, so some authors
# leave that table out, and some leave out the output table, too, and call the rest
# "non-embedding". All three conventions are in use, and for small models they are far apart:

# %% tags=["nbval-check-output"]
for name in ("Mixtral 8x7B", "gpt-oss-20b", "Ling-mini-2.0"):
    config = CATALOG[name].config
    every = n_params_active(config) / 1e9
    no_input = n_params_active(config, input_embedding=False) / 1e9
    neither = n_params_active(config, input_embedding=False, output_head=False) / 1e9
    print(f"{name:13} active {every:5.2f}, no input table {no_input:5.2f}, no table {neither:5.2f}")

# %% [markdown]
# ## Claim: a dense model uses every parameter for every token
#
# This one is true by construction, and the counter agrees. It is the reason why dense models pay
# for everything they know each time they say anything.

# %% tags=["nbval-check-output"]
for card in CATALOG.values():
    if card.is_dense:
        used = n_params_active(card.config) / n_params_total(card.config)
        print(f"{card.name}: {n_params_total(card.config) / 1e9:.1f} billion, {used:.0%} in use")
        assert used == 1

# %% [markdown]
# ## Looking inside the 72B/12B model
#
# The article gives four numbers: 72 billion in total, 12 billion active, 16 experts, 2 chosen.
# Call the shared part $S$ and one expert, over all layers, $x$. Then
#
# $$S + 16\,x = 72 \qquad\text{and}\qquad S + 2\,x = 12.$$
#
# Two equations, two unknowns:

# %% tags=["nbval-check-output"]
import numpy as np

coefficients = np.array([[1, 16], [1, 2]])
s_part, x_part = np.linalg.solve(coefficients, [72, 12])
print(f"shared {s_part:.2f} billion, one expert {x_part:.2f} billion")
print(f"check: {s_part + 16 * x_part:.0f} stored, {s_part + 2 * x_part:.0f} used")

# %% [markdown]
# So the announced numbers *can* be a real model: 3.43 billion that every token shares, and
# sixteen experts of 4.29 billion. The numbers say nothing more. Depth, width and vocabulary stay
# open. (We could not find the product itself anywhere else, so we treat it as a puzzle, not as a
# fact.) The catalog carries one plausible shape that meets both numbers:

# %% tags=["nbval-check-output"]
from moe_teach.catalog import ARTICLE_MODEL
from moe_teach.cost import shared_share

sparse = ARTICLE_MODEL.config
print(f"{sparse.n_layers} layers of width {sparse.d_model}, experts of width {sparse.moe.d_ff}")
print(
    f"stored {n_params_total(sparse) / 1e9:.2f}, used {n_params_active(sparse) / 1e9:.2f} billion"
)
print(f"shared by every token: {shared_share(sparse):.1%} of all parameters")

# %% [markdown]
# ### A control that must fail
#
# A method that answers every question answers none. Put a dense model through the solver, and an
# announcement that cannot be true. Both must be refused.

# %% tags=["nbval-check-output"]
from moe_teach.catalog import solve_shared_and_expert

for total_b, active_b in ((70.6, 70.6), (72.0, 8.0)):
    try:
        solve_shared_and_expert(total_b, active_b, n_experts=16, top_k=2)
    except ValueError as refusal:
        print(f"{total_b}/{active_b}: {refusal}")
    else:
        raise AssertionError("the solver accepted what is no sparse model")

# %% [markdown]
# ## Claim: "the cost of a model one-eighth that size"
#
# Two of sixteen is one eighth, and two of eight is one quarter. You have counted a model with two
# of eight. Does it use one quarter?

# %%
check("1.q2", ...)

# %% [markdown]
# Only the experts are chosen; the shared part works for everybody. If a part $s$ of all parameters
# is shared, the active share is
#
# $$\frac{\text{active}}{\text{total}} = s + (1 - s)\,\frac{K}{E}.$$
#
# For the 200 billion of the second article:

# %% tags=["nbval-check-output"]
from moe_teach.cost import active_share

for share in (0.0, 0.05, 0.10, 0.20):
    part = active_share(share, n_experts=16, top_k=2)
    print(f"{share:4.0%} shared: {200 * part:5.1f} of 200 billion work, which is 1/{1 / part:.1f}")

# %% [markdown]
# One eighth is the limit for a model that shares nothing: no attention, no embeddings. With a
# tenth shared, more than one fifth works.
#
# ## Every published model at once
#
# The catalog holds models from Switch to DeepSeek-V4 with their public configurations. Each total
# and active count below is computed from shapes. Where it differs from the published number by more
# than half a percent, the card says why, or that nobody says.

# %% tags=["nbval-check-output"]
for name in ("Grok-1", "Kimi K2", "GLM-4.5"):
    card = CATALOG[name]
    counted = n_params_total(card.config) / 1e9
    print(f"{name}: counted {counted:.1f}, published {card.published_total / 1e9:.0f}")
    print(f"   {card.note}")

# %% [markdown]
# This is the figure of the chapter. To the left, every model: what it stores, what a token uses,
# and on the right-hand axis what a token costs in computing. A dense model sits on the solid line.
# To the right, what becomes of "one-eighth" when more is shared.

# %%
from moe_teach.chapters.ch01_why_sparse.figures import catalog_figure, points_of
from moe_teach.plots.style import show_figure

points = points_of(CATALOG.values())
show_figure(catalog_figure(points, highlight=ARTICLE_MODEL.name))

# %% tags=["nbval-check-output"]
for point in points:
    if point.is_dense:
        assert point.active == point.total
    else:
        assert point.active / point.total > point.routed  # the promise is never met
found = next(point for point in points if point.name == ARTICLE_MODEL.name)
print(f"72B model: 1/{found.total / found.active:.1f} of it works, not 1/8")
print("PASS: every sparse model uses more than its share of experts")

# %% [markdown]
# **What to see.** Look along a horizontal line: models that cost the same for a token store very
# different amounts. Scout and Maverick are the plainest pair. Near the
# dotted line, 1/32, stand two new models, Kimi K2 and DeepSeek-V4-Pro, and an old one,
# Switch-Base-128; Switch-C uses even 1/909. The next figure puts the promise, top_k / n_experts,
# beside the truth.

# %%
from moe_teach.chapters.ch01_why_sparse.figures import promise_figure

show_figure(promise_figure(points))

# %% [markdown]
# ### The second control
#
# Is the difference worth a formula? Ask both rules to hit each model's true share within 5 %. The
# rule of the article must fail for all of them, and the corrected one must pass for all.

# %% tags=["nbval-check-output"]
sparse_points = [point for point in points if not point.is_dense]
naive = [abs(p.routed / (p.active / p.total) - 1) < 0.05 for p in sparse_points]
corrected = [
    abs((p.shared + (1 - p.shared) * p.routed) / (p.active / p.total) - 1) < 0.05
    for p in sparse_points
]
print(f"top_k / n_experts alone: {sum(naive)} of {len(naive)} models within 5 %")
print(f"with the shared part:    {sum(corrected)} of {len(corrected)} models within 5 %")
closest = max(sparse_points, key=lambda p: p.routed / (p.active / p.total))
print(f"closest to the promise:  {closest.name}, which shares {closest.shared:.1%}")
assert not any(naive) and all(corrected)

# %% [markdown]
# The second line is no discovery, it is the definition. The first line is one: there is *no*
# model in the catalog for which the simple rule is good to 5 %.
#
# ## Memory against computing: three siblings
#
# To see what sparsity buys, compare three models with the same attention, the same depth and the
# same tables. One is the sparse model. One is dense with the feed-forward part that a token
# *uses*. One is dense with all that is *stored*.

# %%
from dataclasses import replace

siblings = {
    "dense\n12B": replace(sparse, moe=None, d_ff_dense=2 * sparse.moe.d_ff),
    "sparse\n72B/12B": sparse,
    "dense\n72B": replace(sparse, moe=None, d_ff_dense=16 * sparse.moe.d_ff),
}

# %% [markdown]
# A model that writes **decodes**: for each new token all its layers run once, which is one step.
# **FLOPs** count the additions and multiplications of that. They bound its speed, and so do the
# bytes that it has to read.
#
# One token of a step that decodes a single sequence must read every weight that works on it. Most
# machines read more slowly than they compute, so bytes over bandwidth bound the speed. The
# machine here is **invented**: two accelerators used as one, with round numbers of today's order.
# Change them.

# %%
from moe_teach.cost import Machine, decode_tokens_per_second, forward_flops, weight_bytes

machine = Machine(  # assumptions, not facts: put your own numbers here
    memory_bytes=160e9, bandwidth_bytes_per_s=4e12, peak_flops_per_s=8e14, usd_per_hour=5.0
)

# %%
from moe_teach.chapters.ch01_why_sparse.cost_figures import bars_figure

models = siblings.values()
panels = {
    "resident weights (GB, bfloat16)": [weight_bytes(m) / 1e9 for m in models],
    "computing, no context (GFLOP a token)": [forward_flops(m) / 1e9 for m in models],
    "speed limit (tokens/s, one user)": [decode_tokens_per_second(m, machine, 1) for m in models],
}
show_figure(bars_figure(list(siblings), panels))

# %% [markdown]
# **What to see.** The sparse model has the memory of the big one, and the computing and the
# one-user speed of the small one. So "it is faster" is true or false depending on whom you
# compare it with. Against the dense 72B it is six times as fast; against the dense 12B it gains
# nothing and needs six times the memory. Whether it also has the *knowledge* of the big one, no
# count can tell: you train models and find out in chapter 05.
#
# The computing is a little less than two FLOPs for each active parameter, because the input table
# and the norms multiply no matrix. It grows with the context, for a token attends to all that came
# before it, and there sparsity changes nothing:

# %% tags=["nbval-check-output"]
for context in (0, 4096, 32_768):
    flops = [forward_flops(model, context=context) / 1e9 for model in models]
    print(f"{context:6} tokens of context:", *(f"{value:6.1f}" for value in flops), "GFLOP")

# %% [markdown]
# ## When many users come at once
#
# So far one user had the machine. Now sixteen sequences decode together. Guess first:

# %%
check("1.q3", ...)

# %% [markdown]
# A dense model reads its weights once a step, for all sequences together. A sparse model reads
# every expert that *somebody* chose. One token misses a given expert with probability $1 - K/E$,
# so a batch of $B$ tokens wakes on average
#
# $$E\,\bigl(1 - (1 - K/E)^B\bigr)$$
#
# experts, if routing is uniform. Do not believe it; draw lots.

# %%
import torch

from moe_teach.cost import expected_distinct_experts

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


def draw_choices(n_tokens: int, seed: int) -> torch.Tensor:
    """Let each token choose 2 of 16 experts by lot: (T, 2)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_tokens, 16, generator=generator).topk(2).indices


# %% tags=["nbval-check-output"]
formula = [expected_distinct_experts(16, 2, batch) for batch in BATCHES]
drawn = [
    sum(draw_choices(batch, seed).unique().numel() for seed in range(200)) / 200
    for batch in BATCHES
]
for batch, expected, counted in zip(BATCHES, formula, drawn, strict=True):
    print(f"{batch:4} tokens wake {counted:5.2f} experts, the formula says {expected:5.2f}")
    assert abs(counted - expected) < 0.2

# %% [markdown]
# Eight users already wake two thirds of the experts. What does that do to the bytes that a step
# must read?

# %%
from moe_teach.chapters.ch01_why_sparse.cost_figures import lines_figure
from moe_teach.cost import bytes_per_decode_step

labels = [name.replace("\n", " ") for name in siblings]
read = {
    label: [bytes_per_decode_step(model, batch) / 1e9 for batch in BATCHES]
    for label, model in zip(labels, models, strict=True)
}
show_figure(
    lines_figure(
        BATCHES,
        {
            "different experts woken": {"formula": formula, "drawn by lot": drawn},
            "weights read in a step (GB)": read,
        },
        ["Experts woken by a batch", "Bytes of a step"],
    )
)

# %% tags=["nbval-check-output"]
row = dict(zip(BATCHES, read[labels[1]], strict=True))
print("weights read in one step:", ", ".join(f"{row[b]:.0f} GB at batch {b}" for b in (1, 8, 32)))
assert read[labels[1]] == sorted(read[labels[1]])

# %% [markdown]
# **What to see.** The bytes of a dense model stay put. Those of the sparse one grow with the batch,
# from the small model's to the big one's, until all experts are awake.
#
# ## Claim: "cost per query falls in proportion"
#
# Let the two limits of the machine decide: a step takes the longer of reading its bytes and doing
# its FLOPs. How much longer does the sparse model take than the dense 12B, and how much shorter
# than the dense 72B?

# %%
from moe_teach.cost import decode_step_seconds

MANY = tuple(2**power for power in range(13))
small, middle, big = (
    np.array([decode_step_seconds(model, machine, batch) for batch in MANY]) for model in models
)
predicted = {"sparse / dense 12B": middle / small, "dense 72B / sparse": big / middle}

# %% [markdown]
# That is a prediction from a data sheet. Now measure the same on *your* computer: one
# feed-forward layer with 16 experts against dense layers of the used and of the stored size. The
# by-hand version below visits each woken expert once. (`by_mode` gives the second size where
# `MOE_TEACH_FAST` is set, for a quick look; the text speaks of the first.)

# %%
from moe_teach.course import by_mode

width, inner = by_mode(full=(512, 2048), fast=(256, 512))
generator = torch.Generator().manual_seed(0)
w_in = torch.randn(16, width, inner, generator=generator) / width**0.5
w_out = torch.randn(16, inner, width, generator=generator) / inner**0.5


def sparse_layer(x: torch.Tensor, expert_ids: torch.Tensor) -> torch.Tensor:
    """Add up the outputs of each token's experts; gates are left out, they cost nothing."""
    y = torch.zeros_like(x)
    for e in expert_ids.unique().tolist():
        rows = (expert_ids == e).any(dim=1).nonzero()[:, 0]
        y[rows] += (x[rows] @ w_in[e]).relu() @ w_out[e]
    return y


# %% [markdown]
# The dense siblings are two matrices each: two experts side by side, and all sixteen. First the
# proof that this is the same arithmetic: if every token chooses all sixteen, nothing may change.


# %% tags=["nbval-check-output"]
def dense_layer(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """One plain feed-forward layer."""
    return (x @ first).relu() @ second


dense_pairs = {n: (torch.cat([*w_in[:n]], dim=1), torch.cat([*w_out[:n]], dim=0)) for n in (2, 16)}
x = torch.randn(5, width, generator=generator)
everyone = torch.arange(16).expand(5, 16)
same = dense_layer(x, *dense_pairs[16])
torch.testing.assert_close(sparse_layer(x, everyone), same, rtol=1e-4, atol=1e-3)
print("PASS: with all experts chosen, the sparse layer is the dense one")

# %% [markdown]
# Now time all three. We count processor time on one thread and take the best of several tries:
# whatever else your computer does then disturbs the result less. Three seeds draw three sets of
# choices; the figure shows their median.

# %%
from time import process_time


def best_seconds(call, calls: int, tries: int) -> float:
    """Give the least processor time of one call, each try averaging over `calls` of them."""
    call()  # warm-up
    times = []
    for _ in range(tries):
        start = process_time()
        for _ in range(calls):
            call()
        times.append((process_time() - start) / calls)
    return min(times)


# %%
def time_batch(batch: int, seed: int, tries: int) -> tuple[float, float, float]:
    """Time the small dense, the sparse and the big dense layer on one batch."""
    x, ids = torch.randn(batch, width), draw_choices(batch, seed)
    calls = max(1, 32 // batch)  # short calls are repeated, or the clock is too coarse
    return (
        best_seconds(lambda: dense_layer(x, *dense_pairs[2]), calls, tries),
        best_seconds(lambda: sparse_layer(x, ids), calls, tries),
        best_seconds(lambda: dense_layer(x, *dense_pairs[16]), calls, tries),
    )


# %%
timed = by_mode(full=BATCHES, fast=(1, 8, 64))
tries = by_mode(full=5, fast=2)
torch.set_num_threads(1)
seconds = np.array([[time_batch(batch, seed, tries) for batch in timed] for seed in range(3)])
to_small = np.median(seconds[:, :, 1] / seconds[:, :, 0], axis=0)
to_big = np.median(seconds[:, :, 2] / seconds[:, :, 1], axis=0)

# %%
measured = {"sparse / dense, used size": to_small, "dense, stored size / sparse": to_big}
for title, batches, curves in (
    ("Predicted: the invented machine", MANY, predicted),
    ("Measured: one layer on this computer", timed, measured),
):
    show_figure(lines_figure(batches, {"ratio of step times": curves}, [title]))

# %%
ratios = zip(timed, to_small, to_big, strict=True)
for batch, above, below in ratios:
    print(f"batch {batch:4}: {above:4.1f} x the small dense layer, the big one / {below:.1f}")

# %% [markdown]
# **What to see.** Sparse over small dense is a hump. At batch 1 a token reads just its own
# experts. In the middle each further token wakes more experts, and the sparse model pays nearly
# the price of the big one. With very many tokens every expert has enough rows to work on,
# computing becomes the limit, and the promise returns. How high the hump is, and where it stands,
# depends on the machine and on who else uses it: run the cell again, and compare the order of the
# points before you compare their heights.
#
# So "cost falls in proportion" is true of the FLOPs. It is true of the time only at the two ends.
# Chapters 04 and 10 fight for the middle, and so does the planned chapter 15.
#
# What seconds cost, on whose machine, and when buying one pays, is a subject of its own: see
# [01b What a token costs](01b_what_a_token_costs.ipynb).
#
# ## Play with it
#
# The calculator does all of this at once, for every sparse decoder of the catalog whose layers are
# alike. Its FLOPs include the context (4,096 tokens at first), which the bars above left out. Try
# the three things that it proposes.

# %%
from moe_teach.widgets.cost_calculator import CostCalculator

print("\n".join(f"{n}. {text}" for n, text in enumerate(CostCalculator.what_to_try, start=1)))
CostCalculator()

# %%
check("1.q4", ...)

# %% [markdown]
# ## The claims, and what became of them
#
# - *A dense model uses every parameter for every query.* **Holds**, by construction.
# - *Cost grows with capability.* Cost grows with the **active** parameters. Capability was not
#   measured here; chapter 05 does it.
# - *72B in total, 12B active, 16 experts, 2 chosen.* **Possible**: 3.43 billion shared and
#   sixteen experts of 4.29 billion. The product itself we could not verify.
# - *200B over sixteen experts, two active: the cost of a model one-eighth that size.* **Does not
#   hold**, unless nothing is shared. With 10 % shared it is 1/4.7, and no model of the catalog
#   comes within 5 % of its own promise.
# - *Cost per query falls in proportion.* FLOPs do, to about a sixth. Time does so for one user or
#   for very many, and **not in between**. [01b](01b_what_a_token_costs.ipynb) asks about money.
# - *Latency improves.* Against a dense model of the same total size, **yes**; against one of the
#   same active size, **no**.
# - *More memory, less computing.* **Holds**: the memory of 72B, the computing of 12B.
#
# ## What could be wrong with this result?
#
# - **Roofs are not buildings.** Bytes over bandwidth is a bound. Real servers move activations,
#   wait for each other and run at a fraction of the peak.
# - **Uniform routing is an assumption.** Real routers are skewed and neighbours agree, so a batch
#   wakes fewer experts than the formula says (exercise 1.5; the planned chapter 15 measures it).
# - **Our measurement is one layer of random weights on a few cores.** It shows the shape of the
#   curve and nothing about an accelerator.
# - **The depth and width of the 72B model are ours.** Another shape with the same two numbers has
#   other caches and another balance of attention and experts.
# - **Equal parameters are not equal quality.** Nothing in this chapter says that 72B/12B knows as
#   much as a dense 72B.
#
# ## Now you
#
# In the [exercises of this chapter](../exercises/01_why_sparse.ipynb) you write the parameter
# counter, the active counter, the FLOPs of a whole answer, the solver and the experts that a skewed
# batch wakes. Then you find out which of somebody's counters may be trusted, and who should decode
# with whom. The next chapter goes back to 1991, to the first mixture of experts.
