# %% [markdown]
# # 11 Reading the router
#
# **Claim: what a router did is easy to record and easy to misread. Experts here do know something
# about the domain of a text. How much of that is chance, how much any router would know, and how
# much is only the token: each has a null of its own, and a picture without them proves nothing.**
#
# Two sentences are tested: "experts become specialists for mathematics, language, code", and "a
# model whose path depends on its input can be audited, and treats everybody alike". All is
# measured at this size and on this corpus; what carries over to large models are the questions, the
# nulls and the traps.

# %%
import math
from statistics import median

import torch

from moe_teach.analysis.audit.gather import gather
from moe_teach.analysis.interventions.capacity import with_capacity
from moe_teach.analysis.interventions.knock_out import knock_out_damage, without_expert
from moe_teach.analysis.interventions.untrained import with_untrained_routers
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.analysis.specialisation.information import (
    conditional_information,
    mutual_information,
)
from moe_teach.analysis.specialisation.nulls import (
    permutation_null,
    permuted,
    permuted_by_sequence,
)

# %%
from moe_teach.chapters.ch11_reading_the_router import figures as plots
from moe_teach.chapters.ch11_reading_the_router.experiments.cells import drops_by_domain
from moe_teach.chapters.ch11_reading_the_router.experiments.models import (
    Trial,
    held_back,
    requests,
    trained_model,
    untrained_model,
)
from moe_teach.chapters.ch11_reading_the_router.experiments.reading import (
    counted,
    routed_by_table,
    told_of_domain,
)
from moe_teach.chapters.ch11_reading_the_router.story import story_of
from moe_teach.course import by_mode, check, show
from moe_teach.course.experiments import stored
from moe_teach.data.batches import evaluation_batches
from moe_teach.data.corpus import build_corpus
from moe_teach.data.tokenizer import encode_domains
from moe_teach.nn.model import Model
from moe_teach.plots.audit_page import audit_page
from moe_teach.plots.style import show_figure
from moe_teach.train.differences import paired
from moe_teach.train.evaluate import evaluate
from moe_teach.train.shipped import load_shipped
from moe_teach.train.sources import open_source
from moe_teach.widgets.route_explorer import RouteExplorer

# %% [markdown]
# ## Specialists, plainly to be seen
#
# Here is the model that comes with the course: four layers of 16 experts, two of them for each
# token, trained on four domains. Held-out text of all four goes through it, and for every token it
# is written down whom each layer chose.

# %%
model, tokenizer, card = load_shipped()
corpus = build_corpus()
DOMAINS = corpus.domains
ids = encode_domains(corpus.validation, tokenizer)
texts = evaluation_batches(ids, 16, 128, by_mode(full=24, fast=8))
routes = record_routes(model, texts, DOMAINS)
print(f"{len(routes):,} tokens, {routes.n_layers} layers, {routes.top_k} choices in each")

# %% [markdown]
# For whom do the experts of the last layer work?

# %%
last = routes.n_layers - 1
show_figure(plots.workers(counted(routes)[last].tolist(), DOMAINS, "The trained model, last layer"))

# %% [markdown]
# **What to see.** Each bar is an expert; the dotted line is the quarter that each domain would
# have if experts did not care. There are experts for arithmetic, for languages, for code. Whoever
# sees this believes that experts are specialists, and it is tempting to stop here.
#
# ## Predict
#
# Before you believe it: what would the same picture look like for a model that has never seen a
# text? Put your letter where the dots are.

# %%
check("11.q1", ...)

# %%
torch.manual_seed(0)
begun = Model(model.config).eval()
untaught = record_routes(begun, texts, DOMAINS)
show_figure(
    plots.workers(counted(untaught)[last].tolist(), DOMAINS, "Before the first step, last layer")
)

# %% [markdown]
# Nobody has learned anything here, and the bars are not even. A picture has no scale on which the
# two could be compared. A number has.
#
# ## A number: bits
#
# Give each token a label y, here its domain, and let $p(e, y)$ be the share of choices that fell on
# expert e in tokens of label y. The **mutual information** (Shannon 1948) says by how much hearing
# the expert shortens the guess of the label:
#
# $$I(E; Y) = \sum_{e, y} p(e, y) \log_2 \frac{p(e, y)}{p(e)\, p(y)}$$
#
# 0 bits: the expert tells nothing. $\log_2 4 = 2$ bits: the expert tells the domain. By hand:

# %%
counts = torch.tensor([[6.0, 2.0], [0.0, 4.0], [2.0, 2.0]])  # 3 experts, 2 domains
p = counts / counts.sum()
apart = p.sum(dim=1, keepdim=True) * p.sum(dim=0)
by_hand = torch.xlogy(p, p / apart).sum().item() / math.log(2)
print(f"{by_hand:.4f} bits of at most 1")

# %% tags=["nbval-check-output"]
pairs = [(e, d) for e in range(3) for d in range(2) for _ in range(int(counts[e, d]))]
experts, of_domain = torch.tensor(pairs).T
assert math.isclose(mutual_information(experts[:, None], of_domain), by_hand, rel_tol=1e-6)
print("PASS: by hand and by library, the same bits")

# %%
for name, record in (("trained", routes), ("before the first step", untaught)):
    told = [mutual_information(own, record.domain_ids) for own in record.expert_ids.unbind(1)]
    print(f"{name:22}", "  ".join(f"layer {i}: {bits:.2f}" for i, bits in enumerate(told)))

# %% [markdown]
# So the trained router does tell more. But more than *what*? Three questions, each with its null.
#
# ## Null 1: would chance do it?
#
# Counts are never exactly even, so this number is above 0 for every router. Deal the domains anew
# and measure again: what is left is chance. But what is dealt? Tokens of one text hang together. If
# every token gets a domain of its own, chance looks smaller than it is; so whole texts are dealt.

# %%
own, domains, rows = routes.expert_ids[:, last], routes.domain_ids, routes.sequence_ids
drawn = torch.Generator().manual_seed(0)
by_token = [mutual_information(own, permuted(domains, drawn)) for _ in range(9)]
by_text = [mutual_information(own, permuted_by_sequence(domains, rows, drawn)) for _ in range(9)]
print(f"measured {mutual_information(own, domains):.3f} bits")
print(f"highest of nine deals, tokens dealt singly: {max(by_token):.4f}, whole texts: "
      f"{max(by_text):.4f}")  # fmt: skip

# %% tags=["nbval-check-output"]
assert max(by_token) < min(by_text) and max(by_text) < mutual_information(own, domains)
print("PASS: above chance; and tokens dealt singly would have made chance too small")

# %% [markdown]
# It is not chance. That null is the usual one, and the weakest of the three.
#
# ## Null 2: would any router do it?
#
# You have seen it above: domains differ in their input, and a router that never learned is a fixed
# function of its input. There are two such routers to compare with: the whole model before its
# first step, and **new routers** with first random weights in the *trained* model. The second asks
# what the training of the routers alone has added.
#
# ## Null 3: or is it the token?
#
# Arithmetic is digits. A router that sends digits to expert 3 looks like a specialist for
# arithmetic and knows nothing of arithmetic. Take the extreme: a table, drawn by lot, that sends
# each token to its experts.

# %%
check("11.q2", ...)

# %%
table = routed_by_table(routes, seed=0)
chosen = table.expert_ids[:, last]
show_figure(plots.workers(counted(table)[last].tolist(), DOMAINS, "A table drawn by lot"))
print(f"nothing known: {mutual_information(chosen, domains):.2f} bits of the domain")
print(f"token known:   {conditional_information(chosen, domains, table.token_ids):.2f} bits")

# %% [markdown]
# The second number is the one to ask for: what the expert tells of the domain **to somebody who
# knows the token**. With g for what is given, here the token, it is the same sum inside each group
# of equal tokens, every group with its share $p(g)$:
#
# $$I(E; Y \mid G) = \sum_{g, e, y} p(g, e, y)
# \log_2 \frac{p(g, e, y)\, p(g)}{p(g, e)\, p(g, y)}$$
#
# Its chance is larger, since a token that occurs twice is easily split, and it must be measured
# with deals that leave each token its domains: **within the token**.

# %%
show(permuted)

# %%
tokens = routes.token_ids
for layer, own in enumerate(routes.expert_ids.unbind(1)):
    null = permutation_null(
        lambda d, own=own: conditional_information(own, d, tokens), domains, n=9, within=tokens
    )
    print(f"layer {layer}: {null.measured:.3f} bits beyond the token; dealt within the token "
          f"{null.low:.3f} to {null.high:.3f}")  # fmt: skip

# %% tags=["nbval-check-output"]
wrong = permutation_null(lambda d: conditional_information(chosen, d, tokens), domains, n=3)
right = permutation_null(
    lambda d: conditional_information(chosen, d, tokens), domains, n=3, within=tokens
)
assert right.measured < 1e-9 and max(right.values) < 1e-9 and max(wrong.values) < 1e-9
print("PASS: a table tells nothing beyond the token, however domains are dealt")

# %% [markdown]
# ## All of it, for your own model
#
# Tokens of the shipped model are pieces of words, and most of them occur in one domain. The cleaner
# test has few tokens that all domains share: **bytes**. Train such a model (d = 64, four layers of
# 16 experts, two chosen, balancing loss 0.01); the seed is yours. In fast mode it gets 30 steps;
# the texts describe the full 150.

# %%
seed = 0  # yours to change
trial = Trial(steps=by_mode(full=150, fast=30))
mine_model = trained_model(trial, seed, keep=False, progress=True)
batches = held_back(by_mode(full=64, fast=16))
print(f"loss {evaluate(mine_model, batches).loss:.2f} nats per byte; guessing evenly: 5.55")

# %%
mine_routes = record_routes(mine_model, batches, DOMAINS)
routers = with_untrained_routers(mine_model, seed)
subjects = {
    "trained": mine_routes,
    "new routers": record_routes(routers, batches, DOMAINS),
    "untrained": record_routes(untrained_model(trial, seed), batches, DOMAINS),
}
n_deals = by_mode(full=5, fast=2)
OWN = {name: told_of_domain(record, n_deals) for name, record in subjects.items()}

# %%
ROUTES = stored("11_routes")
NAME = {"trained": "trained", "new routers": "new routers, trained model",
        "untrained": "untrained model", "table": "a table drawn by lot"}  # fmt: skip


def seeds_of(name: str, key: str, cell: str = "150 steps") -> list[list[float]]:
    """Give a measure of the stored runs: a list of layers for each seed."""
    return [told[key] for told in ROUTES.column(cell, name)]


# %%
rows = {NAME["trained"]: plots.Bits(seeds_of("trained", "bits"), OWN["trained"]["bits"])}
rows["of these, a table of tokens"] = plots.Bits(
    seeds_of("trained", "by_token"), OWN["trained"]["by_token"]
)
for name in ("new routers", "untrained"):
    rows[NAME[name]] = plots.Bits(seeds_of(name, "bits"), OWN[name]["bits"])
rows["chance (texts dealt)"] = plots.Bits(seeds_of("trained", "chance"))
show_figure(plots.over_layers(rows, "bits that an expert tells of the domain, of 2"))

# %% tags=["nbval-check-output"]
for cell in ROUTES.names:
    for told, fresh in zip(ROUTES.column(cell, "trained"), ROUTES.column(cell, "untrained"),
                           strict=True):  # fmt: skip
        for layer in range(4):
            assert told["chance"][layer] < fresh["bits"][layer] < told["bits"][layer]
            assert told["by_token"][layer] < told["bits"][layer]
print("PASS: in every layer of every stored run, chance < untrained < trained; and tokens alone "
      "explain a part, never all")  # fmt: skip

# %%
print("what the training of the routers added, bits, 95 % intervals over five seeds:")
for cell in ROUTES.names:
    taught, new = (seeds_of(name, "bits", cell) for name in ("trained", "new routers"))
    gains = [paired([x[i] for x in taught], [x[i] for x in new]) for i in range(4)]
    print(f"{cell}:", ", ".join(f"layer {i} {gain:+.2f}" for i, gain in enumerate(gains)))

# %% [markdown]
# **What to see** (bands: the range of five stored seeds; dashed: yours). Chance is far below. The
# untrained model tells a tenth or two of a bit: domains do look different, even to it. The trained
# one tells about three times as much. But look at the lines between: a table of tokens would tell
# half of it, and after these 150 steps **routers that never learned, put into the trained model,
# come near the trained ones**. Most of what the experts seem to know is in the vectors that every
# router there is given. What the routers' own training has added stands in the intervals: nothing
# that is clear in the lower layers, a tenth of a bit above.
#
# ## Beyond the token
#
# The same routers, asked by somebody who knows the byte. The mean of the null within the token is
# taken off, so that chance is at 0; the highest deal of domains to whole texts is drawn as well.

# %%
rows = {
    NAME[name]: plots.Bits(seeds_of(name, "beyond"), OWN[name]["beyond"] if name in OWN else None)
    for name in NAME
}
rows["chance (texts dealt)"] = plots.Bits(seeds_of("trained", "beyond_texts"))
show_figure(plots.over_layers(rows, "bits of the domain beyond the token"))

# %% tags=["nbval-check-output"]
for cell in ROUTES.names:
    for i in range(5):
        trained, blind = (ROUTES.column(cell, name)[i] for name in ("trained", "table"))
        assert max(blind["beyond"]) < 0.001
        assert (
            min(b - c for b, c in zip(trained["beyond"], trained["beyond_texts"], strict=True)) > 0
        )
print("PASS: every layer tells something beyond the token, and the table tells nothing")

# %% [markdown]
# So the control comes out at 0, and the trained routers do not: beside the byte, they use what
# attention has brought together of its context. "Experts are byte experts" would be wrong as well.
# (The untrained model's line is hardly above the chance of dealt texts, the stricter of the two.)
#
# Does it grow with training? Three times and ten times your steps, medians over seeds:

# %%
LONG = stored("11_routes_long")
grids = {150: ROUTES, 500: ROUTES, 1500: LONG}
print(
    f"{'steps':>6}  loss   bits in layers 0 to 3         beyond the token        new routers, bits"
)
for steps, grid in grids.items():
    cell = f"{steps} steps"
    parts = [
        [median(told[key][layer] for told in grid.column(cell, name)) for layer in range(4)]
        for name, key in (("trained", "bits"), ("trained", "beyond"), ("new routers", "bits"))
    ]
    shown = "    ".join(" ".join(f"{x:.2f}" for x in part) for part in parts)
    print(f"{steps:6}  {median(grid.column(cell, 'loss')):.2f}   {shown}")

# %% tags=["nbval-check-output"]
added = [
    min(
        told["bits"][3] - new["bits"][3]
        for told, new in zip(
            grid.column(f"{steps} steps", "trained"),
            grid.column(f"{steps} steps", "new routers"),
            strict=True,
        )
    )
    for steps, grid in grids.items()
]
assert added[2] > 0.2 and added[2] > added[1] > 0
print("PASS: after ten times the steps the last layer's routers have added 0.2 bits and more")

# %% [markdown]
# **The answer changes with the length.** What the trained routers tell hardly moves. What new
# routers would tell in their place falls and falls: the longer the model has trained, the more of
# the last layer's bits are the router's own. Whoever had stopped at 150 steps would say that
# routers learn next to nothing of domains; at 1,500 steps that is false for the upper layers, and
# still about right for the first.
#
# And is it the learning rate? 500 steps at three other rates, three seeds each; all above is at
# 0.004, which has the lowest loss of the four.

# %%
RATES = stored("11_routes_rates")
for grid, cell in ((ROUTES, "500 steps"), *((RATES, name) for name in RATES.names)):
    last = [median(told["bits"][3] for told in grid.column(cell, name)[:3])
            for name in ("trained", "new routers")]  # fmt: skip
    print(f"{cell:22} loss {median(grid.column(cell, 'loss')[:3]):.2f}, last layer: trained "
          f"{last[0]:.2f} bits, new routers {last[1]:.2f}")  # fmt: skip

# %% [markdown]
# Who decides how special experts look? One more control, of a cause (Qiu et al. 2025, arXiv
# 2501.11873; chapter 07 has more of it): the same model and data, and the balancing loss counted
# within each sequence instead of the whole batch. A text of one domain must then use all experts.

# %%
SCOPE = stored("11_scope")
(cell,) = SCOPE.names
for name, grid, key in (("whole batch", ROUTES, "500 steps"), ("each sequence", SCOPE, cell)):
    told = [told["bits"] for told in grid.column(key, "trained")[:3]]
    losses = ", ".join(f"{loss:.3f}" for loss in grid.column(key, "loss")[:3])
    print(f"balanced over {name:13}: bits in the last layer "
          f"{', '.join(f'{bits[-1]:.2f}' for bits in told)}; loss {losses}")  # fmt: skip

# %% tags=["nbval-check-output"]
whole = [told["bits"][-1] for told in ROUTES.column("500 steps", "trained")[:3]]
each = [told["bits"][-1] for told in SCOPE.column(cell, "trained")]
assert all(b < a for a, b in zip(whole, each, strict=True))
print("PASS: balancing each sequence takes domain information out of the last layer, in 3 of 3")

# %% [markdown]
# The domain goes out of the routes. **How specialised experts look is, here, a choice of whoever
# set the balancing loss.**
#
# ## Busy is not needed
#
# An expert that works for arithmetic most of the time: can arithmetic do without it? Close it, let
# tokens take their next best, and measure the loss again.

# %%
few = held_back(by_mode(full=16, fast=1))
counts = counted(mine_routes)[3]  # (E, D)
favourite = int((counts[:, 3] / counts.sum(dim=1).clamp(min=1)).argmax())
before = evaluate(mine_model, few, DOMAINS).loss_per_domain
with without_expert(mine_model, 3, favourite):
    after = evaluate(mine_model, few, DOMAINS).loss_per_domain
print(f"without expert {favourite}, arithmetic's favourite of the last layer:")
print("  ".join(f"{name} {after[name] - before[name]:+.3f}" for name in DOMAINS), "nats")

# %%
knocked = knock_out_damage(mine_model, few, DOMAINS)
load = counted(mine_routes).sum(dim=-1).double()
load = load / load.sum(dim=-1, keepdim=True)
show_figure(plots.use_and_need(load.tolist(), knocked.damage.mean(dim=-1).tolist()))

# %%
layers_agreeing, correlations = [], []
for counts, damage in zip(ROUTES.column("500 steps", "counts"),
                          ROUTES.column("500 steps", "damage"), strict=True):  # fmt: skip
    used, need = torch.tensor(counts).sum(dim=-1), torch.tensor(damage).mean(dim=-1)
    layers_agreeing += (used.argmax(dim=-1) == need.argmax(dim=-1)).tolist()
    correlations += [torch.corrcoef(torch.stack([u, n]))[0, 1].item()
                     for u, n in zip(used.double(), need.double(), strict=True)]  # fmt: skip
print(f"500 steps, five seeds, four layers: the busiest expert is the most needed one in "
      f"{sum(layers_agreeing)} of {len(layers_agreeing)}")  # fmt: skip
print(f"correlation of load and damage: median {median(correlations):.2f}, "
      f"from {min(correlations):.2f} to {max(correlations):.2f}")  # fmt: skip

# %% tags=["nbval-check-output"]
assert sum(layers_agreeing) < len(layers_agreeing) / 2
print("PASS: in most layers of the stored runs the busiest expert is not the most needed one")

# %% [markdown]
# **What to see.** Load and damage go together a little, and no more. And damage is small nearly
# everywhere: tokens take their next best expert, and it does nearly as well. So neither "expert 7
# is arithmetic" nor "without expert 7 no arithmetic" follows from a picture of shares.
#
# ## Two texts that differ in one word
#
# Is somebody routed differently because of one word? Eight sentences, once with *his* and once with
# *her*; how many of the later choices differ, for the same later bytes? Let C be the places after
# the first change at which both texts hold the same byte, and $A_t$ and $B_t$ the sets of the K
# experts that place t chooses in the one text and in the other. The **divergence** of a layer is
# the share of the experts that the two do not have in common:
#
# $$d = \frac{1}{|C|} \sum_{t \in C} \left(1 - \frac{|A_t \cap B_t|}{K}\right)$$
#
# Any change of a word moves paths a little, so the same is asked of five pairs of words that have
# nothing to do with anybody.

# %%
for steps, grid in grids.items():
    paths = grid.column(f"{steps} steps", "paths")
    asked = [median(p["asked"][0][layer] for p in paths) for layer in range(4)]
    control = [[pair[layer] for p in paths for pair in p["control"]] for layer in range(4)]
    ranges = ", ".join(f"{min(c):.3f} to {max(c):.3f}" for c in control)
    print(f"{steps:5} steps: his/her {', '.join(f'{x:.3f}' for x in asked)}; others {ranges}")

# %% tags=["nbval-check-output"]
inside = [
    min(pair[layer] for pair in p["control"]) / 2
    < p["asked"][0][layer]
    < 2 * max(pair[layer] for pair in p["control"])
    for grid in (ROUTES, LONG)
    for cell in grid.names
    for p in grid.column(cell, "paths")
    for layer in range(4)
]
assert sum(inside) > 0.9 * len(inside)
print("PASS: his and her part like any two words, within a factor of two of the control's range")

# %% [markdown]
# By itself "three in a hundred experts differ between *his* and *her*" sounds like a finding.
# Beside the control it is none: the paths part as they do for any other word. That does not show
# that the model is fair. It shows that this instrument, at this size, sees nothing; and that
# without the control it would have seen whatever one expected.
#
# ## Who is turned away
#
# Where experts take a fixed number of rows, a rule that is the same for all can fall on some. Here
# languages and arithmetic were 4 % of the training text each. Then requests come in equal parts.

# %%
check("11.q3", ...)

# %%
rare = Trial(steps=by_mode(full=150, fast=30), n_layers=2, rare=True)
rare_model = trained_model(rare, seed, keep=False, progress=True)
asked = requests(dict.fromkeys(DOMAINS, 1.0), seed)
mine_drops = drops_by_domain(with_capacity(rare_model, 1.0), asked)
print("dropped:", ", ".join(f"{n} {x:.0%}" for n, x in zip(DOMAINS, mine_drops, strict=True)))

# %%
DROPS = stored("11_drops")
shown = {
    "languages and arithmetic rare in training": "150 steps",
    "nobody rare in training": "150 steps, nobody rare",
}
drops = {
    name: [dropped["1.0"] for dropped in DROPS.column(cell, "dropped")]
    for name, cell in shown.items()
}
show_figure(plots.turned_away(drops, DOMAINS, mine_drops.tolist()))

# %%
LOSERS = (DROPS, stored("11_drops_long"), stored("11_drops_rates"))
for grid in LOSERS:
    for cell in grid.names:
        dropped, rise = grid.column(cell, "dropped"), grid.column(cell, "rise")
        own = grid.column(cell, "dropped from its own mix")
        print(f"{cell:24} arithmetic loses {median(d['1.0'][3] for d in dropped):.0%} of its "
              f"choices, English {median(d['1.0'][1] for d in dropped):.0%}; at factor 2 "
              f"{median(d['2.0'][3] for d in dropped):.0%}; its loss rises by "
              f"{median(r[3] for r in rise):.2f} nats; in the training mix "
              f"{median(o[3] for o in own):.0%}")  # fmt: skip

# %% tags=["nbval-check-output"]
for grid in LOSERS:
    for cell in grid.names:
        if "nobody" not in cell:
            for d in grid.column(cell, "dropped"):
                code, english, languages, arithmetic = d["1.0"]
                assert arithmetic > 1.5 * max(code, english, languages)
print("PASS: in every stored run arithmetic, rare in training, loses most of its choices")

# %% [markdown]
# ### Changed neighbours
#
# And what if the others in the batch had been others? The texts that are asked about stay the same.

# %%
for cell in DROPS.names:
    found = DROPS.column(cell, "changed")
    print(f"{cell:24}", "; ".join(
        f"{'without a capacity' if f == 'None' else 'factor ' + f}: "
        f"{median(c[f] for c in found):.1%}" for f in found[0]
    ))  # fmt: skip

# %% tags=["nbval-check-output"]
every = [c for cell in DROPS.names for c in DROPS.column(cell, "changed")]
assert all(c["None"] == 0 for c in every) and all(c["1.0"] > 0 for c in every)
print("PASS: without a capacity no answer depends on the neighbours; with one, some always do")

# %% [markdown]
# **What to see** in the figure: with the same architecture and the same requests, arithmetic loses
# about half of its choices where it was rare in training, and no more than the others where nobody
# was. In the training mix of the first model nothing looks wrong: whoever audits on the text that
# the model was balanced on finds it fair. More training makes it no better, and dearer. But look
# at languages, which were as rare: they lose little more than code. Rarity does it to one of two;
# what else it takes, these runs do not say.
#
# With a capacity an answer belongs to a batch. Whoever audits such a model text by text audits
# something that its users never meet. Reports of drops belong by domain and under the *requests'*
# mix; serving without drops takes the question away (chapter 15).
#
# ## Routes tell the text
#
# Logs of routes look harmless: numbers of experts, and no words. How much of the text is in them?

# %%
check("11.q4", ...)

# %%
for steps, grid in grids.items():
    leaks = grid.column(f"{steps} steps", "leak")
    parts = ", ".join(f"{name} {median(one[name] for one in leaks):.0%}" for name in leaks[0])
    guess = median(grid.column(f"{steps} steps", "most frequent"))
    print(f"{steps:5} steps: bytes told from the routes: {parts}; always the commonest {guess:.0%}")

# %% tags=["nbval-check-output"]
for grid in (ROUTES, LONG):
    for cell in grid.names:
        for one, guess in zip(grid.column(cell, "leak"), grid.column(cell, "most frequent"),
                              strict=True):  # fmt: skip
            assert one["all layers"] > one["first layer"] > guess
            assert one["new routers"] > 0.5 * one["all layers"]
print("PASS: routes give the bytes away, those of routers that never learned nearly as well")

# %% [markdown]
# A small net that sees the experts of one token, and nothing else, names the byte most of the time
# (on real models: 91 % of tokens from the ids alone, arXiv 2602.04105, as its abstract says). New
# routers tell as much, so this is no price of specialisation: a route is a hash of what is routed.
# Keep logs of routes like logs of texts.
#
# ## Look for yourself
#
# The shipped model once more, with everything above behind it. Guess before you press *measure*.
# Beside each text stands the same text with one token exchanged, and beside the paths what other
# pairs of words do. Sums with a plus for a minus are wrong sums: do their paths know?

# %%
beyond = {
    name: told_of_domain(record, n_deals=3)["beyond"]
    for name, record in (("trained", routes), ("untrained", untaught))
}
shown = {name: ids[name][700:748].long() for name in DOMAINS}
story = story_of(model, begun, tokenizer, shown, (routes, untaught), beyond)
RouteExplorer.of(story, text=story.pairs[-1][0], second=story.pairs[-1][1],
                 note="The model that comes with the course, on held-out text.")  # fmt: skip

# %% tags=["nbval-check-output"]
assert {name for pair in story.pairs for name in pair} == {text.name for text in story.texts}
print("PASS: every text has another one beside it")

# %% [markdown]
# ## A page for others
#
# `moe-teach audit CHECKPOINT --text FILE` writes what can be said of one text as a page: who worked
# on what, how surely, what it would have been without the busiest expert and without a middling
# one, what neighbours could have changed, and what the page cannot tell. It takes our models and
# folders of transformers. `docs/auditing.md` says how to read it. What the verb does, with a little
# of the English text:

# %%
opened = open_source("shipped")
report = gather(opened.model, opened.tokenizer_json, corpus.validation["english"][:3000],
                model_name="the shipped model", text_name="English", shown=60)  # fmt: skip
page = audit_page(report)  # write it to a file, and open that in a browser
for one in report.closed[:2]:
    print(f"{report.layers[one.layer].name} without its {one.kind} expert {one.expert} "
          f"({one.load:.0%} of the choices): {one.rise:+.3f} nats, {one.interval.low:+.3f} to "
          f"{one.interval.high:+.3f}; {one.changed:.0%} of the next tokens change")  # fmt: skip

# %% tags=["nbval-check-output"]
assert "What this page cannot tell" in page and "<script" not in page
assert report.crowds[0].changed_by_others == report.crowds[0].changed_by_flood == 0
print("PASS: one page, without a script; and without a capacity neighbours changed nothing")

# %% [markdown]
# ## What could be wrong with these results
#
# - One size (four layers of 16 experts, d = 64), one corpus whose domains differ in their very
#   letters, bytes instead of words. Domains that share their vocabulary would tell less.
# - 1,500 steps are few. Real models train a thousand times longer, and the table over steps shows
#   that the numbers were still moving.
# - One learning rate (0.004) for all lengths; three others were tried at 500 steps only. Models are
#   compared here with what their own routers would be, not with one another's losses.
# - "Beyond the token" knows one token. What remains may be the *previous* byte, seen through
#   attention, and no idea of a domain. A null that keeps pairs of bytes would be the next one.
# - Deals within the token treat the tokens of a text as independent. That is why the deals of
#   domains to whole texts are in the figure as well; they are the stricter line.
# - Knock-outs take away one expert at a time. Two that stand in for each other both look useless.
# - *His* and *her* in eight sentences of a model that hardly speaks English test the instrument,
#   not the fairness of anything.
# - New routers in a trained model meet vectors made for others, and upper layers then differ, too.
#
# ## What you take with you
#
# - Experts here do tell of the domain: above chance, above an untrained model, beyond the token, in
#   every layer and seed. About half of it is the token, and in a young model most of it would be
#   told by routers that never learned.
# - Never one number: bits, and beside them what chance, a router that never learned, and a table of
#   tokens would give.
# - Busy is not needed; different is not unfair; balanced in training is not balanced in use.
# - A path is data about the text. Treat it so.
#
# In the exercises you write the instruments, find the mistake in other people's audits, run a
# domain on three eighths of the experts, and audit four routers with your own parts.
