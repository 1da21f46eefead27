# %% [markdown]
# # 02 Mixtures
#
# **Claim: a router does not make specialists. Which experts you get depends on the error you train
# them with, and on how long you train: what holds after 400 steps need not hold after 6,000.**
#
# The idea is from 1991: Jacobs, Jordan, Nowlan and Hinton, *Adaptive Mixtures of Local Experts*,
# Neural Computation 3(1), doi 10.1162/neco.1991.3.1.79. You will rebuild it on a square you can
# look at, see which experts it makes, and then use fewer and fewer of them per input. That last
# step is where sparse models begin.

# %%
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures import experiments as longer
from moe_teach.chapters.ch02_mixtures.figures import error_by_k, paint, regions_and_errors, strips
from moe_teach.course import by_mode, check
from moe_teach.course.experiments import stored
from moe_teach.plots.horizons import over_lengths
from moe_teach.plots.style import show_figure
from moe_teach.train.horizons import at_best, best_rates, read_at

# %% [markdown]
# ## A square with six rules
#
# The input is a place on a square. The output is its colour: three numbers. Six regions share the
# square, and each has a rule of its own, a random linear map from place to colour. We know the
# regions; the model is never told.
#
# All data carries a leading axis S, one entry per seed, so that several runs train at once. Every
# place has a constant 1 as its third coordinate: one matrix then holds slopes and offset.


# %%
class World(NamedTuple):
    """Places x (S, T, 3), noisy colours y (S, T, 3) and the true region (S, T) of each place."""

    x: Tensor
    y: Tensor
    region: Tensor


CENTRES = torch.tensor(
    [[0.55, 0.6], [-0.2, 0.65], [-0.7, 0.1], [-0.4, -0.6], [0.25, -0.1], [0.65, -0.55]]
)

# %% [markdown]
# A place belongs to the nearest centre. Places close to a border are left out, and colours carry
# noise of standard deviation 0.1.


# %%
def one_world(n_places: int, seed: int, noise: float = 0.1) -> tuple[World, Tensor]:
    """Draw one world and the maps (6, 3, 3) behind it."""
    random = torch.Generator().manual_seed(seed)
    xy = 2 * torch.rand(10 * n_places, 2, generator=random) - 1
    distance, nearest = torch.cdist(xy, CENTRES).sort(dim=-1)
    clear = distance[:, 1] - distance[:, 0] > 0.1
    x = torch.nn.functional.pad(xy[clear][:n_places], (0, 1), value=1.0)
    region = nearest[clear][:n_places, 0]
    maps = torch.randn(6, 3, 3, generator=random)
    y = torch.einsum("tod,td->to", maps[region], x)
    y = y + noise * torch.randn(y.shape, generator=random)
    return World(x, y, region), maps


# %% [markdown]
# Half of the places train the model; the other half stays unseen and gives every number below.


# %%
def worlds(n_places: int, seeds: range) -> tuple[World, World, Tensor]:
    """Stack one world per seed: places to train on, new places, and the true maps."""
    drawn = [one_world(2 * n_places, seed) for seed in seeds]
    fields = [torch.stack(field) for field in zip(*(world for world, _ in drawn), strict=True)]
    train = World(*(field[:, :n_places] for field in fields))
    new = World(*(field[:, n_places:] for field in fields))
    return train, new, torch.stack([maps for _, maps in drawn])


# %%
seeds = range(by_mode(full=8, fast=3))
world, new_world, true_maps = worlds(400, seeds)
list(world.x.shape)

# %% [markdown]
# ## The model: twelve experts and a router
#
# An expert is one matrix. It can paint one rule and no more. The router is one matrix too: its
# softmax gives a gate for every expert, at every place. Linear borders between regions are within
# its reach, so a perfect answer exists.


# %%
class Mixture(NamedTuple):
    """The parameters: experts (S, E, 3, 3) and router (S, E, D)."""

    experts: Tensor
    router: Tensor


def fresh(n_experts: int, seeds: range, d_router: int = 3) -> Mixture:
    """Draw experts that all differ and a router that hardly prefers anyone."""
    random = [torch.Generator().manual_seed(1000 + seed) for seed in seeds]
    experts = [torch.randn(n_experts, 3, 3, generator=one) for one in random]
    router = [0.1 * torch.randn(n_experts, d_router, generator=one) for one in random]
    return Mixture(torch.stack(experts), torch.stack(router))


# %%
def forward(model: Mixture, x: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Give every expert's output (S, T, E, 3) and the logarithm of its gate (S, T, E).

    `seen` is what the router looks at, where that is not x itself.
    """
    outputs = torch.einsum("seod,std->steo", model.experts, x)
    logits = torch.einsum("sed,std->ste", model.router, x if seen is None else seen)
    return outputs, logits.log_softmax(dim=-1)


# %% [markdown]
# What to minimise? The natural choice is the error of the answer you will use: blend the experts by
# their gates, compare with the target $d$. This is equation (1.1) of the paper, the **cooperative**
# error. ($p_i$ is the gate of expert $i$, $o_i$ its output.)
#
# $$E = \Big\lVert d - \sum_i p_i\, o_i \Big\rVert^2$$


# %%
def blend(outputs: Tensor, log_gates: Tensor) -> Tensor:
    """Weigh the experts' outputs by their gates: (S, T, 3)."""
    return torch.einsum("ste,steo->sto", log_gates.exp(), outputs)


def cooperative(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
    """Compare the blend with the target: one error per seed."""
    return (y - blend(outputs, log_gates)).square().sum(dim=-1).mean(dim=-1)


# %% [markdown]
# Plain gradient descent does the rest. `learn` says which parameters may move and `record` which
# steps to keep; both are needed later.

# %%
Error = Callable[[Tensor, Tensor, Tensor], Tensor]


def train(
    error: Error,
    world: World,
    start: Mixture,
    record: tuple[int, ...] = (400,),
    learn: tuple[str, ...] = ("experts", "router"),
    seen: Tensor | None = None,
) -> dict[int, Mixture]:
    """Minimise `error` with Adam and give the mixture after each step in `record`."""
    model = Mixture(*(part.clone() for part in start))
    moving = [getattr(model, name).requires_grad_() for name in learn]
    optimiser = torch.optim.Adam(moving, lr=0.05)
    history = {}
    for step in range(max(record) + 1):
        if step in record:
            history[step] = Mixture(*(part.detach().clone() for part in model))
        optimiser.zero_grad()
        error(*forward(model, world.x, seen), world.y).sum().backward()
        optimiser.step()
    return history


# %%
steps = (0, 25, 50, 100, 150, 200, 300, 400)
start = fresh(12, seeds)
histories = {"cooperative": train(cooperative, world, start, steps)}

# %% [markdown]
# ## A surprise
#
# Now ask two questions of the trained model. How good is the blend? And how good is, at each place,
# the expert with the largest gate, on its own? For that we need a blend of only the top k experts,
# with gates that sum to one again.


# %%
def keep_top(log_gates: Tensor, k: int) -> Tensor:
    """Give the k largest gates of each place a sum of one, in logarithms; the rest are -inf."""
    chosen = log_gates.topk(k, dim=-1)
    kept = chosen.values.log_softmax(dim=-1)
    return torch.full_like(log_gates, -math.inf).scatter(-1, chosen.indices, kept)


def error_with(model: Mixture, world: World, k: int, seen: Tensor | None = None) -> Tensor:
    """Measure the squared error of the blend of the top k experts, one number per seed."""
    outputs, log_gates = forward(model, world.x, seen)
    return cooperative(outputs, keep_top(log_gates, k), world.y)


# %%
def spread(values: Tensor) -> str:
    """Write the median over seeds and the range."""
    return f"{values.quantile(0.5):6.3f}  ({values.min():.3f} to {values.max():.3f})"


together = histories["cooperative"][400]
print("all 12 blended  ", spread(error_with(together, new_world, 12)))
print("top expert alone", spread(error_with(together, new_world, 1)))

# %% [markdown]
# The same experts, the same gates. Look at one seed: three pictures of the whole square.


# %%
def grid(size: int = 81) -> Tensor:
    """Give the places of a regular grid, (1, size * size, 3), lower edge first."""
    axis = torch.linspace(-1, 1, size)
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([right, down, torch.ones_like(right)], dim=-1).view(1, -1, 3)


def painted(colours: Tensor) -> np.ndarray:
    """Turn outputs (1, n, 3) at the places of a grid into a picture, 0.5 being zero."""
    size = math.isqrt(colours.shape[1])
    return (0.5 + colours / 5).view(size, size, 3).numpy()


# %%
def only(model: Mixture, seed: int) -> Mixture:
    """Take the mixture of one seed out of the stack."""
    return Mixture(model.experts[seed : seed + 1], model.router[seed : seed + 1])


def picture(model: Mixture, k: int, seed: int = 0, off: tuple[int, ...] = ()) -> np.ndarray:
    """Paint the square with the top k experts of one seed, the experts in `off` left out."""
    outputs, log_gates = forward(only(model, seed), grid())
    log_gates[..., list(off)] = -math.inf
    return painted(blend(outputs, keep_top(log_gates, k)))


# %%
places = grid()[0]
true_region = torch.cdist(places[:, :2], CENTRES).argmin(dim=-1)
truth = painted(torch.einsum("tod,td->to", true_maps[0][true_region], places)[None])
figure = paint(
    {
        "the truth": truth,
        "all 12 blended": picture(together, k=12),
        "top expert alone": picture(together, k=1),
    }
)
show_figure(
    figure,
    alt="Three squares painted in colours: six smooth patches in the first; the blend of all "
    "experts looks much like it; the top expert alone shows patches of quite different colours.",
)

# %% [markdown]
# The team paints well. Its members do not, at least not after 400 steps. Each expert holds what is
# left over after all others have spoken, and that means little without them. A model that may run
# only one or two experts per input cannot use such a team.
#
# ## Predict
#
# The paper's remedy moves one symbol. Equation (1.2), the **competitive** error, squares first and
# weighs afterwards, as if one expert were drawn by its gate and had to answer alone:
#
# $$E = \sum_i p_i\, \lVert d - o_i \rVert^2$$
#
# After training with it, how will the top expert alone compare with the blend of all twelve? Answer
# before you read on.

# %%
check("2.q1", ...)

# %% [markdown]
# ## Two experts by hand
#
# Let the target be 0. Two experts answer +1 and −1, with gates of one half. Which error complains?

# %%
duet = torch.tensor([[[[1.0], [-1.0]]]])  # (S, T, E, outputs) = (1, 1, 2, 1)
halves = torch.tensor([[[0.5, 0.5]]]).log()
target = torch.zeros(1, 1, 1)
print("cooperative", cooperative(duet, halves, target).item())


# %% tags=["nbval-check-output"]
def squared_errors(outputs: Tensor, y: Tensor) -> Tensor:
    """Give the squared error of every expert on its own: (S, T, E)."""
    return (y.unsqueeze(2) - outputs).square().sum(dim=-1)


def competitive(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
    """Weigh the experts' own errors by their gates: one error per seed."""
    return (log_gates.exp() * squared_errors(outputs, y)).sum(dim=-1).mean(dim=-1)


print("competitive", round(competitive(duet, halves, target).item(), 3))

# %% [markdown]
# The blend is perfect, and each expert is wrong by one. The gap between the two errors has a name:
# it is the variance of the answers under the gates, and it is never negative. Only experts that
# agree, or gates that choose, can close it.
#
# The third error of the paper is the one its authors preferred. Read the gates as probabilities:
# nature picks expert $i$ with probability $p_i$, and $d$ is its output plus Gaussian noise. The
# negative log-likelihood of this **mixture** is equation (1.3), here with the noise variance
# $\sigma^2$ written out (the paper has 1):
#
# $$E = -\log \sum_i p_i\, e^{-\lVert d - o_i\rVert^2 / 2\sigma^2}$$
#
# Why bother? Compare how hard an expert is pulled towards the target. Under (1.2) the pull is
# weighted by its gate $p_i$ (eq. 1.4). Under (1.3) it is weighted by its gate *times how well it
# did*, normalised over the experts (eq. 1.5): whoever is best on an example learns most from it.


# %%
def likelihood(variance: float) -> Error:
    """Give the negative log-likelihood of the mixture with this noise variance."""

    def error(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
        log_fit = -squared_errors(outputs, y) / (2 * variance)
        return -torch.logsumexp(log_gates + log_fit, dim=-1).mean(dim=-1)

    return error


# %% [markdown]
# See the pulls. The target is 0, and three experts with equal gates answer 0.1, 1 and 2.

# %%
trio = torch.tensor([[[[0.1], [1.0], [2.0]]]], requires_grad=True)
thirds = torch.full((1, 1, 3), 1 / 3).log()
pulls = {"cooperative": cooperative, "competitive": competitive, "likelihood": likelihood(0.5)}
for name, error in pulls.items():
    (pull,) = torch.autograd.grad(error(trio, thirds, target).sum(), trio)
    print(f"{name:12s}", [round(value, 2) for value in pull.flatten().tolist()])

# %% [markdown]
# Cooperative: all three are pulled alike, since only the blend counts. Competitive: the worst
# expert is pulled hardest, so the three grow alike. Likelihood: the worst is pulled less than the
# middle one, for it has lost this example to others and may look for work elsewhere.
#
# ## Three errors, one race
#
# Same worlds, same starting points, three errors. For the likelihood we take $\sigma^2 = 0.02$,
# twice the variance of the noise. You will see below what other values do.

# %%
errors = {
    "cooperative": cooperative,
    "competitive": competitive,
    "likelihood": likelihood(0.02),
}
for name in ("competitive", "likelihood"):
    histories[name] = train(errors[name], world, start, steps)
    print(f"{name} trained")

# %%
print(f"{len(seeds)} seeds        all 12 blended              top expert alone")
for name, history in histories.items():
    both = [spread(error_with(history[400], new_world, k)) for k in (12, 1)]
    print(f"{name:12s}", *both, sep="  ")

# %% [markdown]
# After 400 steps:
#
# - Cooperative experts need each other: alone they are several times worse.
# - Competitive experts can be used alone at no loss. But look at the level: most of the error
#   stays.
# - With the likelihood the top expert alone is *better* than the blend. Noise alone would cost
#   3 · 0.1² = 0.03, and most seeds get there.
#
# ## Who owns which part of the square?
#
# The expert with the largest gate owns a place. To compare owners with the truth, name every expert
# after the region where most of its training places lie. The **matching score** is the share of
# *new* places whose owner is named after their region. One expert may not carry two names, so a
# score of 1 needs an expert for each region. It says nothing about two experts sharing one region.


# %%
def owners(model: Mixture, x: Tensor, seen: Tensor | None = None) -> Tensor:
    """Give the expert with the largest gate at every place, (S, T)."""
    return forward(model, x, seen)[1].argmax(dim=-1)


def names(owner: Tensor, region: Tensor, n_experts: int) -> Tensor:
    """Name each expert after its most frequent region, (S, E); -1 where it owns nothing."""
    mine = torch.nn.functional.one_hot(owner, n_experts).float()
    there = torch.nn.functional.one_hot(region, len(CENTRES)).float()
    counts = torch.einsum("ste,str->ser", mine, there)
    return counts.argmax(dim=-1).masked_fill(counts.sum(dim=-1) == 0, -1)


# %%
def matching_score(model: Mixture, train: World, new: World, lift=None) -> Tensor:
    """Give the share of new places that lie in their owner's region, one number per seed."""
    see = lift or (lambda x: x)
    n_experts = model.experts.shape[1]
    named = names(owners(model, train.x, see(train.x)), train.region, n_experts)
    owner = owners(model, new.x, see(new.x))
    return (named.gather(1, owner) == new.region).float().mean(dim=-1)


def n_owners(model: Mixture, x: Tensor, seen: Tensor | None = None) -> Tensor:
    """Count the experts that own at least one place in a hundred, one number per seed."""
    mine = torch.nn.functional.one_hot(owners(model, x, seen), model.experts.shape[1])
    return (mine.float().mean(dim=1) >= 0.01).sum(dim=-1)


# %%
scores = {
    name: np.stack([matching_score(model, world, new_world).numpy() for model in history.values()])
    for name, history in histories.items()
}
for name, values in scores.items():
    alive = n_owners(histories[name][400], new_world.x).tolist()
    print(f"{name:12s}", spread(torch.tensor(values[-1])), "  owners per seed", alive)

# %% [markdown]
# ## The figure of this chapter
#
# Above: the owners of the square over training with the likelihood, for one seed. Experts carry
# their number, regions their letter; an expert is drawn in the colour of the region it is named
# after. Below: the matching score over training (median and range over seeds), and both errors,
# one line per seed.


# %%
def owner_map(model: Mixture, train: World, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Give the owner of every place of the grid and the names of one seed's experts."""
    one = only(model, seed)
    owner = owners(one, grid())
    named = names(owners(one, train.x[seed : seed + 1]), train.region[seed : seed + 1], 12)
    size = math.isqrt(owner.shape[1])
    return owner.view(size, size).numpy(), named[0].tolist()


def both_errors(model: Mixture, new: World) -> tuple[np.ndarray, np.ndarray]:
    """Measure the blend and the top expert alone."""
    return error_with(model, new, 12).numpy(), error_with(model, new, 1).numpy()


# %%
panels = {}
for step in (0, 25, 100, 400):
    score = scores["likelihood"][steps.index(step)][0]
    panels[f"step {step}: {score:.2f}"] = owner_map(histories["likelihood"][step], world)
measured = {name: both_errors(history[400], new_world) for name, history in histories.items()}
figure = regions_and_errors(true_region.view(81, 81).numpy(), panels, steps, scores, measured)
show_figure(
    figure,
    alt="Above, six true regions and the experts' regions at four training steps, which come to "
    "agree with the truth. Below, the matching score rises to 1 only for the likelihood; the top "
    "expert alone is far worse than the blend for the cooperative error, equal for the "
    "competitive one and better for the likelihood.",
)

# %% tags=["nbval-check-output"]
ratio = {name: alone / blended for name, (blended, alone) in measured.items()}
assert np.median(ratio["cooperative"]) > 3, "cooperative experts should need each other"
assert ratio["competitive"].max() < 1.3, "competitive experts should stand alone"
assert np.median(ratio["likelihood"]) < 0.6, "the blend should hurt likelihood experts"
final = {name: values[-1] for name, values in scores.items()}
assert np.median(final["likelihood"]) > 0.95 > np.median(final["cooperative"])
assert (final["likelihood"] > final["competitive"]).all()
print("PASS: after 400 steps, three errors have made three kinds of experts from the same start")

# %% [markdown]
# ## The same race, fifteen times as long
#
# We chose 400 steps, and we chose a learning rate of 0.05 for all three. Neither is part of any of
# the errors. So the race was run again: up to 6,000 steps, at five learning rates, over eight seeds
# and four more worlds. For each error and each length the rate with the lowest error of its own
# kind on those **four other worlds** is taken; the eight seeds have no say in it.
#
# Before you look: does any of the three change its place?

# %%
race = read_at(stored("02_errors"))
rates = best_rates(race, "own", lowest=True, seeds=longer.SEARCH_SEEDS)
for n_steps, best in rates.items():
    print(f"{n_steps:5,} steps, best rates:", {name: best[name] for name in errors})


# %%
def over_steps(key: str, names=tuple(errors)) -> dict[str, list[list[float]]]:
    """Give a measurement of the eight stored seeds at each length."""
    return {name: at_best(race, name, key, rates, longer.SEEDS) for name in names}


lengths = tuple(rates)
alone, score = over_steps("alone"), over_steps("score")
show_figure(
    over_lengths(
        lengths,
        {"squared error of the top expert alone": alone, "matching score": score},
        logarithmic=["squared error of the top expert alone"],
    ),
    alt="Left: the error of the top expert alone over 400 to 6,000 steps. The likelihood is at the "
    "noise level from the start; the cooperative error falls from about 0.8 to the same level; the "
    "competitive one stays near 0.4. Right: the matching score of the cooperative error rises to "
    "1, the level of the likelihood; the competitive one stays near 0.7.",
)

# %% [markdown]
# **What to see.** The cooperative team comes apart by itself. After 6,000 steps nearly every one of
# its experts can stand alone, as well as those of the likelihood, and has found its region. The
# competitive error, which "made experts that can be used alone", is the one that stays behind: its
# experts can be used alone, and are wrong alone. So the first table of this lesson was right, and
# it was a picture of step 400.

# %% tags=["nbval-check-output"]
blended = over_steps("blend")["cooperative"]
lonely = [sum(a > 1.35 * b for a, b in zip(*pair, strict=True))
          for pair in zip(alone["cooperative"], blended, strict=True)]  # fmt: skip
print(
    "seeds of 8 in which a cooperative expert alone is clearly worse:",
    dict(zip(lengths, lonely, strict=True)),
)
beaten = sum(a < b for a, b in zip(alone["cooperative"][-1], alone["competitive"][-1], strict=True))
assert lonely[0] >= 6 and lonely[-1] <= 2 and beaten >= 6
assert max(score["competitive"][-1]) < 0.9 and np.median(score["cooperative"][-1]) > 0.98
print(
    f"PASS: after 6,000 steps cooperative experts beat competitive ones alone, {beaten} seeds of 8"
)

# %% [markdown]
# Why does it come apart? Here every place *has* one right rule, so in the end the best blend is one
# that chooses, and a long training finds it. In a world without hard borders there would be no such
# pull; we have not tried one.
#
# ## From soft to sparse: fewer experts per place
#
# Nothing so far saved work: all twelve experts ran everywhere. Now use only the top k of each
# place. At k = 12 this must be the dense mixture, to the last digits, and the order in which
# experts are stored must not matter. Two properties, two tests; every sparse layer of this course
# will have to pass them.

# %% tags=["nbval-check-output"]
model = histories["likelihood"][400]
outputs, log_gates = forward(model, new_world.x)
dense = blend(outputs, log_gates)
torch.testing.assert_close(blend(outputs, keep_top(log_gates, 12)), dense)
print("PASS: k = E is the dense mixture")

# %% tags=["nbval-check-output"]
order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
shuffled = Mixture(model.experts[:, order], model.router[:, order])
for k in (1, 2, 12):
    torch.testing.assert_close(error_with(shuffled, new_world, k), error_with(model, new_world, k))
print("PASS: the order of the experts does not matter")

# %%
ks = (1, 2, 3, 4, 6, 12)
curves = {
    name: np.stack([error_with(history[400], new_world, k).numpy() for k in ks])
    for name, history in histories.items()
}
show_figure(
    error_by_k(ks, curves),
    alt="Error against the number of experts used: the cooperative curve falls steeply from one "
    "expert to three, the competitive one is flat, the likelihood one is lowest at one expert.",
)

# %% [markdown]
# Read it from right to left, and as a picture of step 400. Dropping experts ruins the cooperative
# team, leaves the competitive one as it was, and *improves* the likelihood model: with a linear
# router the gates stay soft near borders, and blending there mixes two rules into none.
#
# ## What today's models do
#
# A modern layer does not train soft and cut later. It uses top-k already in training, and its error
# looks at the blend of the chosen ones. Try the two common rules: k = 2 with gates that sum to
# one (as in Mixtral), and k = 1 with the gate left as a probability (as in Switch).


# %%
def sparse(k: int, renormalise: bool) -> Error:
    """Give the cooperative error of the top k experts."""

    def error(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
        kept = keep_top(log_gates, k)
        if not renormalise:
            kept = log_gates.masked_fill(kept == -math.inf, -math.inf)
        return cooperative(outputs, kept, y)

    return error


# %%
for label, error in [
    ("k = 2, gates sum to 1", sparse(2, renormalise=True)),
    ("k = 1, raw gate      ", sparse(1, renormalise=False)),
]:
    model = train(error, world, start)[400]
    used = error(*forward(model, new_world.x), new_world.y)
    print(label, " as trained", spread(used), "  alone", spread(error_with(model, new_world, 1)))
    print(" " * 22, "score     ", spread(matching_score(model, world, new_world)))

# %% [markdown]
# Within the k chosen, a modern layer is **cooperative**: its experts are trained to be used k at a
# time, and using fewer costs. After 400 steps neither rule has found the regions. And later?

# %%
SPARSE = ("k = 2, gates sum to 1", "k = 1, raw gate")
for name in SPARSE:
    for n_steps, found, own in zip(
        lengths, over_steps("score", SPARSE)[name], over_steps("own", SPARSE)[name], strict=True
    ):
        print(f"{name:22} {n_steps:5,} steps: score {np.median(found):.2f}, error as trained "
              f"{np.median(own):.2f}, found by {sum(s > 0.95 for s in found)} of 8")  # fmt: skip

# %% tags=["nbval-check-output"]
found = {name: over_steps("score", SPARSE)[name][-1] for name in SPARSE}
assert max(found["k = 1, raw gate"]) < 0.9
assert 1 <= sum(s > 0.95 for s in found["k = 2, gates sum to 1"]) <= 4
print("PASS: after 6,000 steps k = 2 finds all regions in some seeds, k = 1 in none")

# %% [markdown]
# With k = 2 it is mostly a matter of luck and a little of steps: a run that has all its regions
# keeps them, and most runs stop with four or five. With k = 1 and the raw gate no seed gets there,
# at any length or rate. The likelihood of 1991 does, from the first 400 steps on. Do not read this
# as "1991 was better": here a single expert *can* be right about a place, and a large language
# model gives no expert such a job. Chapter 05 measures sparse layers where they are used.
#
# ## A control that must fail
#
# Is it the router that finds the regions? Then freeze the experts at their random start and train
# the router alone, with the same likelihood. If the score stays high, our score is worthless. Two
# more controls tell what the failure means: a frozen router with learning experts, and experts
# frozen at the *true* maps (six of the twelve).

# %%
told = Mixture(torch.cat([true_maps, start.experts[:, 6:]], dim=1), start.router)
frozen = {
    "random experts,\nrouter learns": train(errors["likelihood"], world, start, learn=("router",)),
    "router frozen,\nexperts learn": train(errors["likelihood"], world, start, learn=("experts",)),
    "true experts,\nrouter learns": train(errors["likelihood"], world, told, learn=("router",)),
}

# %%
controls = {"nothing\ntrained": scores["likelihood"][0]}
for label, history in frozen.items():
    controls[label] = matching_score(history[400], world, new_world).numpy()
controls["both learn"] = final["likelihood"]
show_figure(
    strips(controls, "matching score", (0, 1.03)),
    alt="Matching score per seed for five conditions: untrained and frozen router near one half, "
    "frozen random experts around two thirds, frozen true experts and full training near one.",
)

# %% tags=["nbval-check-output"]
random_experts, true_experts = (
    controls[f"{kind} experts,\nrouter learns"] for kind in ("random", "true")
)
assert np.median(random_experts) < 0.85 < np.median(true_experts)
assert (random_experts < true_experts).all()
assert (random_experts >= final["likelihood"]).sum() <= 1
print("PASS: a router cannot find regions that its experts do not know")

# %% [markdown]
# With random experts the router still does better than nothing: it learns which of twelve wrong
# experts is least wrong where, and these borders follow the true ones in part. Mind where
# "nothing" stands: an untrained router already scores about one half. A matching score without its
# baseline would have flattered us.

# %%
check("2.q2", ...)

# %% [markdown]
# ## What did not work
#
# **The likelihood needs to know the noise.** The paper's form has variance 1 in the units of the
# data. Our noise has 0.01.

# %%
variances = by_mode(full=(1.0, 0.3, 0.1, 0.02, 0.005), fast=(1.0, 0.005))
for variance in variances:
    model = train(likelihood(variance), world, start)[400]
    found = matching_score(model, world, new_world)
    alone = error_with(model, new_world, 1)
    print(f"variance {variance:5.3f}  score {spread(found)}  top expert alone {spread(alone)}")

# %% [markdown]
# With variance 1 nearly all experts fit "well enough", so hardly anybody loses an example, and the
# result lies between the competitive error and the sharper likelihoods. Too small a variance costs
# little in the median, but look at the upper ends of the ranges: single seeds fail badly.
#
# **A more flexible router does not cure the competitive error.** Let the router look at 64 random
# bends of the square and no longer at the bare coordinates. It can now draw almost any border.

# %%
bends = 2 * torch.randn(64, 3, generator=torch.Generator().manual_seed(5))


def lift(x: Tensor) -> Tensor:
    """Give the router 64 smooth, bent features of each place."""
    return torch.tanh(x @ bends.T)


flexible = fresh(12, seeds, d_router=64)

# %%
for name in ("competitive", "likelihood"):
    model = train(errors[name], world, flexible, seen=lift(world.x))[400]
    seen = lift(new_world.x)
    print(name, " score", spread(matching_score(model, world, new_world, lift)))
    print("    top alone", spread(error_with(model, new_world, 1, seen)))
    print("    owners per seed", n_owners(model, new_world.x, seen).tolist())

# %% [markdown]
# The competitive error leaves most of the twelve experts without any place, whichever router it
# gets. This is the first sight of **expert collapse**. A story comes to mind at once: an expert
# ahead at the start gets larger gates, so more of the pull, so it stays ahead. Chapter 06 is about
# collapse, and puts such stories to a test.
#
# ## Play
#
# Change the arguments and run the cell again: the error, how many experts paint each place (k), the
# training step, and experts to switch off. Three things to try:
#
# 1. `"cooperative"` with k = 1, 2, 3, 12. When does the picture come back?
# 2. `"likelihood"` at step 0, 25, 100, 400. Which region is found last?
# 3. `"likelihood"` with k = 1 and one of the owners in `off`. Who takes its place, and how well?
#    Then do the same with `"cooperative"` and k = 11.


# %%
def look(histories: dict, error: str, k: int, step: int, off: tuple[int, ...] = ()) -> None:
    """Paint the first seed's square and tell how far it is from the truth."""
    shown = picture(histories[error][step], k, off=off)
    away = ((shown - truth) * 5) ** 2
    title = f"{error}, step {step}, k = {k}, off: {list(off) or 'none'}"
    show_figure(
        paint({"the truth": truth, f"error {away.sum(axis=-1).mean():.2f}": shown}),
        alt=f"The true square beside the one painted with {title}.",
    )
    print(
        title,
        "| owners:",
        sorted(set(owner_map(histories[error][step], world)[0].ravel().tolist())),
    )


# %%
look(histories, "likelihood", k=1, step=400, off=())

# %% [markdown]
# ## What could be wrong with these results
#
# - The world was made for mixtures: six rules, straight borders, a gap between regions. Without
#   the gap, or with regions that overlap, the cooperative error sharpens its gates more or less by
#   itself.
# - 6,000 steps are not for ever, and the learning rate stayed the same all the time. A rate that
#   falls at the end may help the competitive error and k = 2 out of where they stop.
# - Twelve experts for six regions is generous. With six, every method gets stuck more often,
#   because a region that nobody starts near may never get an expert of its own.
# - The naming rule lets several experts share a region. The number of owners, printed beside it,
#   guards against the trivial winner with one expert per place.
# - Now and then the likelihood fails too: read the lower ends of its ranges of scores above, and
#   not the medians alone.
#
# ## Check yourself
#
# One more, with a number.

# %%
check("2.q3", ...)

# %% [markdown]
# ## What you take with you
#
# - Square the blend, and experts cooperate; blend the squares, and they can stand alone; take the
#   likelihood, and whoever is best on an example learns most from it.
# - A comparison has a length. At 400 steps the cooperative experts were useless alone, at 6,000
#   they were the better specialists. Ask for the number of steps before you believe an order.
# - k = E must be the dense mixture, and the order of experts must not matter. Test both, always.
# - Modern sparse layers cooperate within the k chosen. That is why you may not lower k after
#   training and expect the same model.
# - A router finds only differences that experts offer. Give every score its untrained baseline.
#
# In the exercises you write an expert, the soft mixture, two of the three errors, and the sparse
# mixture.
