# %% [markdown]
# # 12 Specialise and compose: exercises
#
# Models taken apart and put together: a dense layer cut into small experts, the experts that a
# text needs, branches side by side, one expert swapped for another, and a fault that made frozen
# experts move. At the end your parts become a small marketplace.

# %%
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moe_teach.course import check, mine

# %% [markdown]
# ## Exercise 12.1: Small experts without a jump
#
# The lesson made whole copies of a dense feed-forward. Now make **small** experts: cut the F hidden
# units of the dense layer into `n_slices` neighbouring slices of equal width, and copy each slice
# `n_copies` times. A token will choose one copy of every slice, each with the gate 1 / `n_slices`.
# What it gets must be what the dense layer answered:
#
# $$y = W_{down}\,\big(\mathrm{silu}(W_{gate}\,x) \odot W_{up}\,x\big)$$
#
# Expert `copy * n_slices + s` is a copy of slice s. Every expert has its own numbers: training one
# must move neither another one nor the dense layer.


# %%
def split_upcycle(
    w_up: Tensor, w_gate: Tensor, w_down: Tensor, n_slices: int, n_copies: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a dense layer into slices and copy them, so that equal gates give the dense answer.

    w_up, w_gate: (F, D); w_down: (D, F); n_slices divides F. No gradient has to flow.
    Returns up and gate, (E, F / n_slices, D), and down, (E, D, F / n_slices), for E = n_slices *
    n_copies experts.
    """
    ### BEGIN SOLUTION
    up = w_up.unflatten(0, (n_slices, -1)).repeat(n_copies, 1, 1)
    gate = w_gate.unflatten(0, (n_slices, -1)).repeat(n_copies, 1, 1)
    slices = w_down.unflatten(1, (n_slices, -1)).movedim(1, 0)
    return up, gate, n_slices * slices.repeat(n_copies, 1, 1)
    ### END SOLUTION


# %%
check("12.1", split_upcycle)

# %% [markdown]
# ## Exercise 12.2: The smallest set that does the work
#
# Which experts should be trained for a text? Those that do most of the work on it. An expert's
# **score** is the sum of its gates over the text; a token that did not choose it adds nothing, and
# neither does padding. Return the smallest set of experts whose scores sum to **at least** `share`
# of the sum of all scores. Sets of that size there may be several: take the one with the largest
# scores, and among equal scores the smaller number.


# %%
def experts_to_train(
    gates: Tensor, expert_ids: Tensor, real: Tensor, n_experts: int, share: float
) -> list[int]:
    """Choose the fewest experts of a layer that have a share of the gates.

    gates, expert_ids: (T, K); a token chooses each expert once. real: (T,), bool, False for
    padding; at least one is True. share: above 0 and below 1.
    Returns their numbers as plain integers, ascending.
    """
    ### BEGIN SOLUTION
    scores = torch.zeros(n_experts).index_add(0, expert_ids[real].flatten(), gates[real].flatten())
    order = scores.argsort(descending=True, stable=True)
    before = scores[order].cumsum(0) - scores[order]
    return sorted(order[before < share * scores.sum()].tolist())
    ### END SOLUTION


# %%
check("12.2", experts_to_train)

# %% [markdown]
# ## Exercise 12.3: Side by side, or one
#
# Branches of one dense seed, as state dictionaries of equal names. Make the state of the merged
# model, without its new router:
#
# - a **feed-forward**'s tensor, with `.ffn.` in its name, is stacked branch by branch on a new
#   first axis, and gets the name of experts: `blocks.0.ffn.w_up.weight` becomes
#   `blocks.0.ffn.experts.w_up`;
# - **all else** keeps its name. For `trunk="average"` it is the mean of the branches, computed in
#   float64 and returned in its own dtype. For `trunk="frozen"` it must be the same in all branches,
#   to the last bit, and any difference is a `ValueError` with the tensor's name.


# %%
def merge_states(branches: Sequence[Mapping[str, Tensor]], trunk: str) -> dict[str, Tensor]:
    """Put the feed-forwards of branches side by side, and make one trunk of theirs.

    branches: two or more; tensors of any shape, single numbers too. trunk: "average" or "frozen".
    Returns tensors by name.
    Raises ValueError where trunk is "frozen" and the branches' trunks differ.
    """
    ### BEGIN SOLUTION
    merged = {}
    for name, first in branches[0].items():
        own = torch.stack([branch[name] for branch in branches])
        if ".ffn." in name:
            merged[name.replace(".ffn.", ".ffn.experts.").removesuffix(".weight")] = own
            continue
        if trunk == "frozen" and not torch.equal(own, first.expand_as(own)):
            raise ValueError(f"{name} differs between the branches.")
        merged[name] = own.double().mean(dim=0).to(first.dtype)
    return merged
    ### END SOLUTION


# %%
check("12.3", merge_states)

# %% [markdown]
# ## Exercise 12.4: One out, one in
#
# A module is one expert of one layer: tensors by name, without the axis of experts, such as
# `experts.w_up` (F, D), `router.proj.weight` (D,) and `router.expert_bias` (a single number). In
# the model's state they are rows: `blocks.3.ffn.experts.w_up` is (E, F, D). All tensors under
# `blocks.3.ffn.experts.` and `blocks.3.ffn.router.` have a row for every expert of layer 3.
#
# Put a module in the place of expert `expert`, and hand back what was there, as a module:
#
# - the state you are given stays as it was; tensors that do not change may be shared with it;
# - nothing but this expert's rows changes, to the last bit, and no dtype;
# - a module whose **names** or **shapes** are not those of an expert here is a `ValueError`.


# %%
def swap_expert(
    state: Mapping[str, Tensor], layer: int, expert: int, module: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Put one expert in the place of another.

    state: the model's tensors by name, perhaps of twelve layers and more. module: the newcomer,
    perhaps in another dtype.
    Returns the new state, and the old expert as a module.
    Raises ValueError where the module does not fit.
    """
    ### BEGIN SOLUTION
    head = f"blocks.{layer}.ffn."
    rows = [n for n in state if n.startswith((head + "experts.", head + "router."))]
    shapes = {n.removeprefix(head): state[n].shape[1:] for n in rows}
    if {n: t.shape for n, t in module.items()} != shapes:
        raise ValueError(f"The module does not fit into layer {layer}, which takes {shapes}.")
    old = {n.removeprefix(head): state[n][expert].clone() for n in rows}
    new = dict(state)
    for name in rows:
        new[name] = state[name].clone()
        new[name][expert] = module[name.removeprefix(head)]
    return new, old
    ### END SOLUTION


# %%
check("12.4", swap_expert)

# %% [markdown]
# ## Exercise 12.5: The frozen ones move
#
# Somebody has trained all experts of a layer for a while, and now goes on with a few. All experts
# are one fused tensor, so the gradient of the others is set to zero:
#
# ```python
# for g in gradients:
#     mask = torch.zeros(len(weights), 1, 1)
#     mask[trained] = 1.0
#     weights.grad = g * mask
#     optimizer.step()
# ```
#
# A customer compares checkpoints: **every** expert has changed. Find out why, and repair it. The
# trained experts must arrive where this optimiser takes them, with the weight decay and the
# momentum they have; the others must stay, to the last bit. Nothing may be left of the repair: the
# gradients and the optimiser's settings are what they were, and the next step can train everybody.


# %%
def tune_experts(
    weights: torch.nn.Parameter,
    optimizer: torch.optim.AdamW,
    gradients: Sequence[Tensor],
    trained: Sequence[int],
) -> torch.nn.Parameter:
    """Train some experts of a fused tensor, one step for each gradient, in place.

    weights: (E, F, D), the only parameter of `optimizer`, which has made steps before.
    gradients: each (E, F, D). trained: numbers of experts, perhaps all or none.
    Returns `weights`, the same object.
    """
    ### BEGIN SOLUTION
    still = [expert for expert in range(len(weights)) if expert not in trained]
    kept = weights.detach()[still].clone()
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
        with torch.no_grad():
            weights[still] = kept
    return weights
    ### END SOLUTION


# %%
check("12.5", tune_experts)

# %% [markdown]
# ## Exercise 12.6: Your marketplace
#
# Your swap becomes a marketplace: a model's state, and modules that come and go by name.
#
# - `install(name, layer, expert, module)` puts a module into a slot. A name that is installed
#   already is a `ValueError`.
# - `remove(name)` puts back what this module replaced, to the last bit, and touches no other slot.
#   It is a `ValueError` if nobody has this name, and also if a module that came later stands in the
#   same slot (the same layer *and* expert): that one would be lost.
# - `installed()` lists the names, in the order in which they came.
# - `state` is the model as it is now. The state it was opened with is not changed.
#
# Whatever is refused, a module that does not fit among them, leaves everything as it was.


# %%
class MyMarketplace:
    """Experts that come and go in a model's state.

    state: the model's tensors by name. swap: as `swap_expert` in 12.4; yours by default.
    """

    def __init__(self, state: Mapping[str, Tensor], swap=None) -> None:
        self.state = state
        self.swap = swap or mine("12.4")
        ### BEGIN SOLUTION
        self.shelf: dict[str, tuple[int, int, dict[str, Tensor]]] = {}
        ### END SOLUTION

    def installed(self) -> list[str]:
        ### BEGIN SOLUTION
        return list(self.shelf)
        ### END SOLUTION

    def install(self, name: str, layer: int, expert: int, module: Mapping[str, Tensor]) -> None:
        ### BEGIN SOLUTION
        if name in self.shelf:
            raise ValueError(f"{name} is installed already.")
        self.state, old = self.swap(self.state, layer, expert, module)
        self.shelf[name] = (layer, expert, old)
        ### END SOLUTION

    def remove(self, name: str) -> None:
        ### BEGIN SOLUTION
        if name not in self.shelf:
            raise ValueError(f"{name} is not installed.")
        layer, expert, old = self.shelf[name]
        above = [one for one, place in self.shelf.items() if place[:2] == (layer, expert)]
        if above[-1] != name:
            raise ValueError(f"{above[-1]} stands on {name}: remove it first.")
        self.state, _ = self.swap(self.state, layer, expert, old)
        del self.shelf[name]
        ### END SOLUTION


# %%
check("12.6", MyMarketplace)

# %% [markdown]
# ### Your marketplace at work
#
# The model that comes with the course, and a module that takes the place of one of its experts: a
# mean of two others. In, and out again.

# %% tags=["play"]
from moe_teach.train.shipped import load_shipped

model, _, _ = load_shipped()
before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
parts = [n for n in before if n.startswith(("blocks.2.ffn.experts.", "blocks.2.ffn.router."))]
parts = [n for n in parts if before[n].dim() and len(before[n]) == 16]
blend = {n.removeprefix("blocks.2.ffn."): before[n][:2].mean(dim=0) for n in parts}
market = mine("12.6")(before)
market.install("blend", 2, 5, blend)
changed = [n for n, tensor in market.state.items() if not torch.equal(tensor, before[n])]
print(market.installed(), "changed:", changed)
market.remove("blend")
print("all as before:", all(torch.equal(t, before[n]) for n, t in market.state.items()))

# %% [markdown]
# ## Exercise 12.7: Open task: a shelf on a budget
#
# Thirty modules are on offer, and there is room for some. Each goes into one slot, and a slot holds
# one. Each gains on one kind of text and costs a little on the others; the traffic says how much of
# each kind there is. Which do you install? Sizes are whole numbers below 100, and thirty modules
# are too many to try all selections.
#
# Taking the best first reaches 96.2 % of what is possible. Reach **99.8 %**.


# %%
def fill_slots(
    gains: Tensor, sizes: list[int], slots: list[int], traffic: Tensor, budget: int
) -> list[int]:
    """Choose the modules to install.

    gains: (M, D) nats that module m saves on kind d, below 0 where it costs. sizes: M whole numbers
    of bytes. slots: M numbers, the slot each module goes into. traffic: (D,) shares of the kinds.
    budget: bytes. Gains add up, weighted by the traffic.
    Returns numbers of modules, in any order: together within the budget, at most one of a slot.
    """
    ### BEGIN SOLUTION
    worth = (gains @ traffic).tolist()
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for slot in sorted(set(slots)):
        extended = dict(best)
        for module, own in enumerate(slots):
            for used, (gain, chosen) in best.items():
                room = used + sizes[module]
                if own != slot or room > budget:
                    continue
                total = gain + worth[module]
                if room not in extended or total > extended[room][0]:
                    extended[room] = (total, [*chosen, module])
        best = extended
    return max(best.values(), key=lambda entry: entry[0])[1]
    ### END SOLUTION


# %%
check("12.7", fill_slots)
