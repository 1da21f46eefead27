# %% [markdown]
# # 07 Modern MoE: exercises
#
# Six pieces of the models of today: count the designs that cost the same, make a mixture out of a
# dense layer, keep one expert always on, limit a token to a few groups, follow DeepSeek-V3's rule
# when not everybody is in service, and balance inside every sequence. Then that rule goes into your
# own layer. At last you catch routers that were published with a fault, and fill machines that have
# little room as well as you can.

# %%
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from moe_teach.config import RouterConfig
from moe_teach.course import check, mine
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.router import Router
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.types import Routing

# %% [markdown]
# ## Exercise 7.1: The same bill, more menus
#
# Cut each expert of a layer into `split` equal parts and choose `split` times as many. Total and
# active size stay what they were. Then make `n_shared` of the small experts **always on**: they
# leave the pool that the router chooses from, and they take up places among the active ones.
#
# Return the routed part of the new layer, and how many different **sets** of routed experts a token
# can be given. When a design is impossible, raise a `ValueError` that says why: `d_ff` cannot be
# cut evenly, or the shared experts leave the router nothing to choose.


# %%
def equal_flop_config(
    n_experts: int, top_k: int, d_ff: int, split: int, n_shared: int = 0
) -> tuple[int, int, int, int]:
    """Design a finer layer of the same total and active size.

    n_experts, top_k, d_ff: the layer to cut up; split: parts per expert; n_shared: how many of the
    parts are always on. All are ints; n_experts, top_k, d_ff and split are at least 1.
    Returns (n_experts, top_k, d_ff, n_routes) of the routed experts, all ints, exactly.
    Raises ValueError, with a sentence, for an impossible design.
    """
    ### BEGIN SOLUTION
    if d_ff % split:
        raise ValueError(f"An expert of width {d_ff} cannot be cut into {split} equal parts.")
    fine_experts = n_experts * split - n_shared
    fine_k = top_k * split - n_shared
    if fine_k < 1:
        raise ValueError(f"{n_shared} shared experts leave the router nothing to choose.")
    return fine_experts, fine_k, d_ff // split, math.comb(fine_experts, fine_k)
    ### END SOLUTION


# %%
check("7.1", equal_flop_config)

# %% [markdown]
# ## Exercise 7.2: Make a mixture out of a dense layer
#
# The lesson cuts experts that are there. Experts can also be *made*, out of a dense SwiGLU layer
# that is trained already, so that nothing that it has learned is lost. Cut its F hidden units into
# `split` parts. Copy the whole set of parts `copies` times. That makes copies · split experts, of
# which a token shall use `split`.
#
# The layer that they go into is a plain one: softmax over all experts, the best `split`, and the
# gates of a token divided by their sum. It has no `gate_scale`, and you cannot change it. At first
# it has to say **exactly what the dense layer says, of every token**. So give the router rows by
# which a token is given all parts of *one* copy, and the experts weights with which these parts add
# up to the right sum. Each copy has a direction; a token goes to the copy whose direction it points
# along most ($x \cdot d_c$ is largest). Which hidden units go to which part is up to you.


# %%
def upcycle(
    w_gate: Tensor, w_up: Tensor, w_down: Tensor, split: int, directions: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make copies * split experts, and a router, out of a dense layer.

    w_gate, w_up: (F, D); w_down: (D, F), in any memory layout; split divides F.
    directions: (copies, D), one for each copy.
    Returns w_gate and w_up (copies*split, F/split, D), w_down (copies*split, D, F/split), and the
    router's matrix (copies*split, D). Experts c*split to c*split + split - 1 are copy c. The copies
    share no memory: they will be trained.
    """
    ### BEGIN SOLUTION
    d_ff, d_model = w_up.shape
    rows, copies = (split, d_ff // split, d_model), len(directions)
    # In w_down the hidden units are the last axis. Each gate will be 1 / split: undo that here.
    down = w_down.unflatten(-1, (split, d_ff // split)).movedim(1, 0) * split
    parts = [w.repeat(copies, 1, 1) for w in (w_gate.reshape(rows), w_up.reshape(rows), down)]
    return *parts, directions.repeat_interleave(split, dim=0)
    ### END SOLUTION


# %%
check("7.2", upcycle)

# %% [markdown]
# ## Exercise 7.3: An expert that is always on
#
# Build the layer of DeepSeekMoE (arXiv 2401.06066): of `n_experts` experts of which a token uses
# `top_k`, make `n_shared` **shared**. Every token passes through them without being asked and
# without a gate. The shared ones are one `FeedForward` of `n_shared` times the width. The router
# chooses the remaining places among the remaining experts, so total and active size are those of a
# plain layer.
#
# The parts exist: `Router`, `Experts`, `FeedForward`, `dispatch` and `combine`. Put them together.
#
# One trap: with a single place left to choose, a `Router` that normalises its gates gives the
# constant 1, and its gradient is 0 (chapter 03). Keep the router alive there too:
# `RouterConfig(normalize_gates=...)` is yours to set, and the check takes the gates as your router
# gives them.


# %%
class SharedExpertMoE(nn.Module):
    """An MoE layer with routed experts and a shared one; no residual connection inside.

    Attributes: router (Router), experts (Experts, the routed ones), shared_expert (FeedForward).
    All experts are SwiGLU, which is what the parts build when you do not say otherwise.
    """

    def __init__(
        self, d_model: int, n_experts: int, top_k: int, d_ff: int, n_shared: int = 1
    ) -> None:
        """Build the three parts; n_experts and top_k count the shared experts, too."""
        super().__init__()
        ### BEGIN SOLUTION
        n_routed, places = n_experts - n_shared, top_k - n_shared
        # A single gate that must sum to one would teach the router nothing.
        config = RouterConfig(n_experts=n_routed, top_k=places, normalize_gates=places > 1)
        self.router = Router(d_model, config)
        self.experts = Experts(n_routed, d_model, d_ff)
        self.shared_expert = FeedForward(d_model, n_shared * d_ff)
        ### END SOLUTION

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Map x (..., D) to y of the same shape; also return the routing of the T tokens.

        x comes in any memory layout and with any leading dimensions; T may be 0.
        """
        ### BEGIN SOLUTION
        tokens = x.reshape(-1, x.shape[-1])
        routing = self.router(tokens)
        rows, dispatched = dispatch(tokens, routing)
        routed = combine(self.experts(rows, dispatched.expert_offsets), routing.gates, dispatched)
        return (routed + self.shared_expert(tokens)).view_as(x), routing
        ### END SOLUTION


# %%
check("7.3", SharedExpertMoE)

# %% [markdown]
# ## Exercise 7.4: Only a few groups for each token
#
# DeepSeek-V3 keeps its experts in groups, one group per machine, and sends a token to a few
# machines only (arXiv 2412.19437, section 2.1.2). Experts stand in `n_groups` groups of equal size,
# neighbours together. A group is worth the **sum of its two best scores** (or of its only one). A
# token may choose in its `top_groups` best groups; there it takes its `top_k` best experts.
#
# The scores are biased ones. Some are **negative**, and all of them may be.


# %%
def group_limited_topk(scores: Tensor, top_k: int, n_groups: int, top_groups: int) -> Tensor:
    """Choose k experts per token out of its best groups.

    scores: (T, E), biased, of any sign and size, in any memory layout; n_groups divides E; the
    open groups hold at least top_k experts.
    Returns expert_ids (T, K), integers, best first.
    """
    ### BEGIN SOLUTION
    groups = scores.unflatten(-1, (n_groups, -1))  # (T, G, E / G)
    worth = groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(dim=-1)
    is_open = torch.zeros_like(worth, dtype=torch.bool)
    is_open.scatter_(-1, worth.topk(top_groups, dim=-1).indices, True)
    # Minus infinity, because a zero would beat an expert whose score is negative.
    open_scores = groups.masked_fill(~is_open[..., None], -torch.inf).flatten(1)
    return open_scores.topk(top_k, dim=-1).indices
    ### END SOLUTION


# %%
check("7.4", group_limited_topk)

# %% [markdown]
# ## Exercise 7.5: DeepSeek-V3's rule, with experts out of service
#
# The lesson took one token through the whole rule (arXiv 2412.19437, eq. 12 to 16, and its group
# limit). Write it for all tokens at once, and for a day on which not all machines run: `alive` says
# which experts are in service.
#
# 1. Score each expert alone, by a sigmoid, in float32.
# 2. Add the bias: this ranking, and nothing else, decides groups and experts (as in 7.4), among
#    the experts **in service**. A group is worth the sum of its two best of them, or its only one.
#    A group that has none cannot be opened.
# 3. The gates are the **unbiased** scores of the chosen, divided by their sum, times `gate_scale`.
#
# Rankings may be negative, all of them. Any `top_groups` groups in which somebody works hold at
# least `top_k` experts in service, so the token always finds enough.


# %%
def sigmoid_bias_route(
    logits: Tensor,
    expert_bias: Tensor,
    top_k: int,
    n_groups: int = 1,
    top_groups: int = 1,
    gate_scale: float = 2.5,
    alive: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Route as DeepSeek-V3 does, past experts that are out of service.

    logits: (T, E), any float dtype and memory layout; expert_bias: (E,) float32, of any sign and
    size, for the choice only; alive: (E,) bool, or None where all experts are in service.
    Returns gates (T, K) in float32, each row summing to gate_scale, and expert_ids (T, K), best
    biased score first.
    """
    ### BEGIN SOLUTION
    scores = logits.float().sigmoid()
    ranking = scores + expert_bias
    if alive is not None:
        ranking = ranking.masked_fill(~alive, -torch.inf)
    groups = ranking.unflatten(-1, (n_groups, -1))
    first_two = groups.topk(min(2, groups.shape[-1]), dim=-1).values
    second = first_two[..., 1:]  # minus infinity here must not swallow the first
    worth = first_two[..., 0] + second.masked_fill(second.isneginf(), 0.0).sum(dim=-1)
    best = worth.topk(top_groups, dim=-1).indices
    is_open = torch.zeros_like(worth, dtype=torch.bool).scatter(-1, best, True)
    ranking = groups.masked_fill(~is_open[..., None], -torch.inf).flatten(1)
    expert_ids = ranking.topk(top_k, dim=-1).indices
    gates = scores.gather(-1, expert_ids)  # read where the bias has never been
    return gate_scale * gates / gates.sum(dim=-1, keepdim=True), expert_ids
    ### END SOLUTION


# %%
check("7.5", sigmoid_bias_route)

# %% [markdown]
# ## Exercise 7.6: Balance inside every sequence
#
# The balancing loss of chapter 06 counts the load over a batch: a sequence of code may use the code
# experts only, as long as another sequence uses the others. DeepSeek-V3 adds a very small loss that
# counts within **each sequence** (eq. 17 to 20):
#
# $$\frac{1}{B}\sum_{b} \; E \sum_{i} \text{load}_{b,i} \cdot \text{mean\_probs}_{b,i}$$
#
# `load` is the share of a sequence's S·K choices that fell on expert i. `mean_probs` is the mean
# over its S tokens of the scores, **each token's scores divided by their sum first**, because
# sigmoids do not sum to one. An evenly spread sequence gives 1.


# %%
def sequence_balance_loss(probs: Tensor, expert_ids: Tensor) -> Tensor:
    """Mean over sequences of each sequence's own balancing loss.

    probs: (B, S, E) scores, positive, of any sum; expert_ids: (B, S, K) integers. Both in any
    memory layout.
    Returns a scalar; its gradient flows through probs and not through the counts.
    """
    ### BEGIN SOLUTION
    n_experts = probs.shape[-1]
    chosen = nn.functional.one_hot(expert_ids, n_experts).sum(dim=2)  # (B, S, E)
    load = chosen.sum(dim=1) / expert_ids[0].numel()  # S * K choices a sequence
    shares = probs / probs.sum(dim=-1, keepdim=True)
    return n_experts * (load * shares.mean(dim=1)).sum(dim=-1).mean()
    ### END SOLUTION


# %%
check("7.6", sequence_balance_loss)

# %% [markdown]
# ## Exercise 7.7: DeepSeek-V3's rule in your layer
#
# An MoE layer like yours of 4.7 asks `layer.route(logits, top_k, normalize_gates)` who is chosen.
# Put DeepSeek-V3's rule there (your 7.5), with a bias that your 6.3 moves. The layer's own code
# stays as it is.
#
# - `expert_bias` is **state that nobody trains**: one zero for each expert at first, saved with the
#   model, moved by `update_bias` and by nothing else.
# - The record tells the truth: its `probs` are the sigmoid scores, in float32 and without the bias.
# - A **copy** of the layer (`copy.deepcopy`) has a bias of its own, and chooses by that.

# %%
RULES = {"rule": "7.5", "move": "6.3"}


class DeepSeekMoE(nn.Module):
    """A layer that routes as DeepSeek-V3 does."""

    def __init__(
        self,
        layer: nn.Module,
        n_groups: int = 1,
        top_groups: int = 1,
        gate_scale: float = 2.5,
        **parts: Callable,
    ) -> None:
        """Take a layer, and put the rule into it. layer.router.weight has one row per expert."""
        super().__init__()
        self.layer, self.gate_scale = layer, gate_scale
        self.n_groups, self.top_groups = n_groups, top_groups
        self.rule, self.move = (parts.get(name) or mine(item) for name, item in RULES.items())
        ### BEGIN SOLUTION
        self.register_buffer("expert_bias", torch.zeros(len(layer.router.weight)))
        layer.route = self.route
        ### END SOLUTION

    def route(
        self, logits: Tensor, top_k: int, normalize_gates: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return gates and expert_ids, (T, K). The rule's gates are normalised in any case.

        self.rule(logits, expert_bias, top_k, n_groups, top_groups, gate_scale) is called as in 7.5.
        """
        ### BEGIN SOLUTION
        groups = self.n_groups, self.top_groups
        return self.rule(logits, self.expert_bias, top_k, *groups, self.gate_scale)
        ### END SOLUTION

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        """Return y like x and the Routing, with the rule's own scores as probs."""
        ### BEGIN SOLUTION
        y, routing = self.layer(x)
        return y, replace(routing, probs=routing.logits.float().sigmoid())
        ### END SOLUTION

    def update_bias(self, routing: Routing, rate: float) -> None:
        """Move the bias by one step of `self.move(expert_bias, expert_ids, rate)`, as in 6.3."""
        ### BEGIN SOLUTION
        self.expert_bias.copy_(self.move(self.expert_bias, routing.expert_ids, rate))
        ### END SOLUTION


# %%
check("7.7", DeepSeekMoE)

# %% [markdown]
# ### All laws, at last
#
# Your layer of chapter 04 left two laws untested: it had no bias. Now it has one. Sixteen experts
# in four groups; each token may use two of the groups.

# %% tags=["play"]
from moe_teach.analysis.laws import obeys
from moe_teach.analysis.own_layer import told_about
from moe_teach.chapters.ch07_modern_moe.deepseek_parts import told_about_rule

Layer, Rule = mine("4.7"), mine("7.7")
torch.manual_seed(0)
moe = Rule(Layer(16, 16, 4, 8), n_groups=4, top_groups=2)
report = obeys(moe, d_model=16, **told_about_rule(moe, told_about(moe.layer)))
report

# %% tags=["play"]
assert report and report["bias shift"].outcome == report["bias stays out"].outcome == "holds"
_, routing = moe(torch.randn(200, 16))
groups = [len(set(row)) for row in (routing.expert_ids // 4).tolist()]
assert max(groups) <= 2
print("PASS: the bias chooses and never weighs, and no token leaves its two groups")

# %% [markdown]
# ### Balance without a gradient
#
# Tokens that share a common part, as those of real text do, crowd at a few experts. Now let
# `update_bias` do its work: no loss, no gradient, and no weight moves. `max_violation` says by how
# much the busiest expert exceeds the mean.

# %% tags=["play"]
from moe_teach.ops.balance import max_violation, tokens_per_expert

torch.manual_seed(1)
common, excess = 0.7 * torch.randn(16), {}
for step in range(201):
    with torch.no_grad():
        _, routing = moe(common + torch.randn(1024, 16))
    if step in (0, 20, 200):
        excess[step] = float(max_violation(tokens_per_expert(routing)))
        print(f"step {step:3}: the busiest expert is {excess[step]:6.1%} above the mean")
    moe.update_bias(routing, rate=0.005)
assert excess[200] < excess[0] / 3
print("PASS: the excess is less than a third of what it was")

# %% [markdown]
# ## Exercise 7.8: Find what is wrong: a router with a clean record
#
# Somebody has written DeepSeek-V3's rule for a server. It agrees with the rule on the example below
# (and on a thousand more of this kind), and it keeps one tensor less than yours of 7.5. With a
# newly trained model the answers are rubbish, and nobody knows why.


# %%
def lean_route(
    logits: Tensor, expert_bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    """DeepSeek-V3's rule, without a second tensor of scores."""
    size = logits.shape[1] // n_groups
    ranking = torch.sigmoid(logits.float()) + expert_bias
    worth = ranking.reshape(-1, n_groups, size).topk(2)[0].sum(2)
    groups = worth.topk(top_groups)[1]
    members = (groups[:, :, None] * size + torch.arange(size)).flatten(1)
    values, places = ranking.gather(1, members).topk(top_k)
    expert_ids = members.gather(1, places)
    gates = values - expert_bias[expert_ids]
    return scale * gates / gates.sum(1, keepdim=True), expert_ids


# %%
from moe_teach.chapters.ch07_modern_moe.deepseek_rule import route as rule  # 7.5, known to be right

example = torch.randn(64, 16), 0.1 * torch.randn(16)
seen, right = (router(*example, 4, 4, 2, 2.5) for router in (lean_route, rule))
torch.testing.assert_close(seen, right)
print("64 tokens, and for each of them the same experts and the same gates")

# %% [markdown]
# Find inputs that show what is wrong, with this router and with others: write `find_fault(route)`.
# It tries a router on inputs of your choice and returns a list of those on which it breaks the
# rule: an empty one if it never does. It is tried on the router above, on others that were
# published with a fault, and on some that are right.
#
# - Always 16 experts in 4 groups, of which a token may open 2, and 4 experts per token. Call
#   `route(logits, expert_bias, 4, 4, 2, 2.5)`, and `rule` the same way.
# - An input is `(logits, expert_bias)`, (T, 16) and (16,), float32, T at most 64, logits within ±30
#   and biases within ±20. It must be **fair**: the rule gives the same in float64, so no ties.
# - Other servers may give the experts of a token in another order, and gates that differ in the
#   last digits. That is no fault. Gates that differ by more than 0.001 are.


# %%
def find_fault(route: Callable) -> list[tuple[Tensor, Tensor]]:
    """Return the inputs (logits, expert_bias), 20 at most, on which a router breaks the rule."""
    ### BEGIN SOLUTION
    found = []
    random = torch.Generator().manual_seed(0)
    # Around zero; biases far below and far above it; tiny scores beside a large bias.
    for shift, bias in ((0.0, 0.0), (0.0, -5.0), (0.0, 7.0), (-12.0, 8.0)):
        logits = shift + torch.randn(64, 16, generator=random)
        expert_bias = bias + torch.randn(16, generator=random) / 2
        tables = []
        for router in (route, rule):
            gates, ids = router(logits, expert_bias, 4, 4, 2, 2.5)
            tables.append(torch.zeros(64, 16).scatter_add(1, ids, gates.float()))
        if not torch.allclose(*tables, rtol=0.0, atol=0.001):
            found.append((logits, expert_bias))
    return found
    ### END SOLUTION


# %%
check("7.8", find_fault)

# %% [markdown]
# ## Exercise 7.9: Open task: full machines
#
# "At most two groups for each token" limits what a *token* asks for. What a machine minds is how
# many tokens *come*: its buffers are made once, for a fixed number of rows. So take another limit.
# Experts lie on `n_groups` machines, neighbours together. **No machine may be sent more than `room`
# tokens of the batch**; a token counts once on every machine on which it uses an expert. How many
# machines a token uses is up to you, and it needs `top_k` different experts in any case.
#
# Keep as much **gate mass** as you can: the sum of the scores of all chosen experts, in percent of
# what a free top-k would have. Measured with 128 tokens, 48 experts on 8 machines, 6 experts per
# token, and room for 32 tokens on each machine, which is two machines for each token on average.
# Some tokens are sure and some are not, and some experts are liked by everybody.
#
# The plain way keeps 73 %: tokens in turn, each on the two machines, of those with room, that hold
# most of what a free top-k would give it. **Your goal is 80 %.** It is known that nothing can keep
# more than 82.65 %.


# %%
def route_in_room(scores: Tensor, top_k: int, n_groups: int, room: int) -> Tensor:
    """Choose top_k experts for every token so that no machine is sent more than `room` tokens.

    scores: (T, E), a softmax for each token; n_groups divides E, and a machine holds at least top_k
    experts; n_groups * room is at least 2 * T, or every machine has room for T.
    Returns expert_ids (T, K), different integers in each row, in any order.
    """
    ### BEGIN SOLUTION
    n_tokens, n_experts = scores.shape
    best = scores.topk(top_k, dim=-1).indices
    wanted = torch.zeros_like(scores).scatter(-1, best, scores.gather(-1, best))
    need = wanted.unflatten(-1, (n_groups, -1)).sum(dim=-1)  # what a closed machine would cost
    left, waiting = [room] * n_groups, n_tokens
    is_open = torch.zeros(n_tokens, n_groups, dtype=torch.bool)
    for pair in need.flatten().argsort(descending=True).tolist():
        token, machine = divmod(pair, n_groups)
        is_first = not bool(is_open[token].any())
        # One place stays in reserve for every token that has none yet.
        if left[machine] and (is_first or sum(left) > waiting):
            is_open[token, machine] = True
            left[machine] -= 1
            waiting -= is_first
    closed = ~is_open.repeat_interleave(n_experts // n_groups, dim=-1)
    return scores.masked_fill(closed, -1.0).topk(top_k, dim=-1).indices
    ### END SOLUTION


# %%
check("7.9", route_in_room)
