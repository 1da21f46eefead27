# %% [markdown]
# # 11 Reading the router: exercises
#
# What a router did is easy to record and easy to misread. Here you build the instruments of an
# audit: a measure, its null, the damage that an expert's absence does, the distance of two paths.
# Then you find the mistake in other people's audits, try how few experts a domain can live on, and
# join your parts into an audit of your own.

# %%
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moe_teach.course import check, mine

# %% [markdown]
# ## Exercise 11.1: What an expert tells beyond the token
#
# The lesson counts what an expert tells of a domain. But somebody who sees the token knows much of
# the domain already. How much does the expert tell **them**? With $p$ the shares of a table of
# counts over three columns, expert e, label y, and what is given, g:
#
# $$I(E; Y \mid G) = \sum_{g, e, y} p(g, e, y)
# \log_2 \frac{p(g, e, y)\, p(g)}{p(g, e)\, p(g, y)}$$
#
# Every one of a token's K choices is a row of the table, and counts 1/K of the token; all shares
# add up to 1. Empty cells add nothing. With nothing given, $p(g)$ is 1 and this is the lesson's
# $I(E; Y)$.


# %%
def information(expert_ids: Tensor, labels: Tensor, given: Tensor | None = None) -> float:
    """Tell in bits what a token's expert says of its label, to somebody who knows `given`.

    expert_ids: (T, K); labels and given: (T,); all integers from 0 on, of any integer dtype (int8,
    too), with gaps perhaps: numbers of some hundreds of which few occur.
    Returns one number, exact to 0.0001 for tens of thousands of tokens.
    """
    ### BEGIN SOLUTION
    given = torch.zeros_like(labels) if given is None else given
    top_k = expert_ids.shape[1]
    columns = [
        given.repeat_interleave(top_k),
        expert_ids.flatten(),
        labels.repeat_interleave(top_k),
    ]
    sizes = [int(column.max()) + 1 for column in columns]
    table = torch.zeros(sizes, dtype=torch.float64)
    rows = torch.ones(len(columns[0]), dtype=torch.float64)
    table.index_put_(tuple(column.long() for column in columns), rows, accumulate=True)
    p = table / table.sum()
    known = p.sum(dim=(1, 2), keepdim=True)
    apart = p.sum(dim=2, keepdim=True) * p.sum(dim=1, keepdim=True)
    seen = p > 0
    return (p[seen] * ((p * known)[seen] / apart[seen]).log2()).sum().item()
    ### END SOLUTION


# %%
check("11.1", information)

# %% [markdown]
# A toy to see what it is for: a router that looks at the token alone, in two domains that use
# tokens differently.

# %% tags=["play"]
from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes

bits = mine("11.1")
for beyond, name in ((0.0, "looks at the token alone"), (1.5, "looks further")):
    drawn = some_routes(3, 4001, n_experts=8, n_ids=20, beyond=beyond)
    plain = bits(drawn.expert_ids, drawn.domains)
    further = bits(drawn.expert_ids, drawn.domains, drawn.tokens)
    print(f"{name:24} {plain:.3f} bits of the domain, {further:.3f} beyond the token")

# %% [markdown]
# The first router's second number should be 0, and is not: with few tokens in a cell, counts are
# never exactly even. How large is that error? That is the next exercise.
#
# ## Exercise 11.2: A null that keeps the token
#
# Deal the labels anew, but only among tokens whose `given` is the same. Each token keeps its
# experts, each `given` keeps its labels, and what else tied expert and label is gone.


# %%
def shuffled_within(labels: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
    """Deal labels anew within each group of equal `given`; every deal is as likely as any other.

    labels, given: (T,) integers, not always of the same dtype, T at least 1; a group's members may
    stand anywhere, and numbers have gaps. All luck is drawn from `generator` itself: with the same
    seed the deal is the same, and the next call with the same generator deals anew.
    Returns the labels in their new places: (T,), of the dtype of `labels`.
    """
    ### BEGIN SOLUTION
    mixed = torch.randperm(len(labels), generator=generator)
    come = mixed[given[mixed].argsort(stable=True)]
    dealt = torch.empty_like(labels)
    dealt[given.argsort(stable=True)] = labels[come]
    return dealt
    ### END SOLUTION


# %%
check("11.2", shuffled_within)

# %% tags=["play"]
deal, generator = mine("11.2"), torch.Generator().manual_seed(0)
for beyond, name in ((0.0, "looks at the token alone"), (1.5, "looks further")):
    drawn = some_routes(3, 4001, n_experts=8, n_ids=20, beyond=beyond)
    real = bits(drawn.expert_ids, drawn.domains, drawn.tokens)
    null = [
        bits(drawn.expert_ids, deal(drawn.domains, drawn.tokens, generator), drawn.tokens)
        for _ in range(20)
    ]
    print(
        f"{name:24} {real:.3f} bits beyond the token; by chance {min(null):.3f} to {max(null):.3f}"
    )

# %% [markdown]
# ## Exercise 11.3: Without each expert, domain by domain
#
# An expert that is often chosen need not be one that is needed. Take each one away and measure, in
# every domain, by how much the loss rises. Somebody runs the model for you: `losses(batch, expert)`
# gives the loss of every token without that expert, `losses(batch, None)` with all of them.


# %%
def knock_out_damage(losses: Callable, batches: Sequence, n_experts: int, n_domains: int) -> Tensor:
    """Measure by how many nats a domain's mean loss rises without each expert.

    losses(batch, expert) -> (B, S). A batch has domain_ids (B,) and targets (B, S); where a target
    is -100 nobody is asked, and the loss there means nothing and may be NaN. Batches are of
    different sizes. The mean of a domain is over all its asked tokens in all batches.
    Returns (n_experts, n_domains) in nats, float32 or float64: below 0 where the loss falls, NaN
    for a domain of which nobody was asked.
    """

    ### BEGIN SOLUTION
    def means(expert: int | None) -> Tensor:
        sums, counts = torch.zeros(2, n_domains, dtype=torch.float64)
        for batch in batches:
            asked = batch.targets != -100
            found = losses(batch, expert).double().masked_fill(~asked, 0).sum(dim=1)
            sums.index_add_(0, batch.domain_ids, found)
            counts.index_add_(0, batch.domain_ids, asked.sum(dim=1).double())
        return sums / counts

    whole = means(None)
    return torch.stack([means(expert) - whole for expert in range(n_experts)])
    ### END SOLUTION


# %%
check("11.3", knock_out_damage)

# %% [markdown]
# The last layer of the model that comes with the course, measured with your function: is the expert
# that is needed the one that is busy?

# %% tags=["play"]
from contextlib import nullcontext

from torch.nn.functional import cross_entropy

from moe_teach.analysis.interventions.knock_out import without_expert
from moe_teach.chapters.ch11_reading_the_router.keeping import stored_sample, stored_texts
from moe_teach.data.batches import Batch
from moe_teach.train.shipped import load_shipped

model, tokenizer, _ = load_shipped()
names = list(stored_texts())
batches = [Batch(texts[0][:, :-1], texts[0][:, 1:], torch.full((len(texts[0]),), i))
           for i, texts in enumerate(stored_texts().values())]  # fmt: skip


def without(batch: Batch, expert: int | None) -> Tensor:
    """Run the model, with one expert of its last layer away if one is named."""
    away = nullcontext() if expert is None else without_expert(model, 3, expert)
    with torch.no_grad(), away:
        logits = model(batch.inputs).logits
    return cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")


# %% tags=["play"]
table = mine("11.3")(without, batches, 16, len(names))
load = sum(sample.counts[3] for sample in stored_sample().values())
print("busiest experts:", load.topk(4).indices.tolist())
print("most damage, mean of the domains:", table.mean(dim=1).topk(4).indices.tolist())
for name, column in zip(names, table.T, strict=True):
    expert = int(column.argmax())
    print(f"{name:11} needs expert {expert:2} most: {column[expert]:.3f} nats")

# %% [markdown]
# ## Exercise 11.4: Two texts, one changed word
#
# Is somebody treated differently because of one word? Put two texts side by side that have equally
# many tokens and differ in a few. Their paths can be compared where
#
# - both have **the same token**, and
# - at least one token **before** it differs (before the first change, a causal model cannot
#   differ).
#
# A token's K experts are a set; the order does not matter. The divergence of a layer is the mean
# over those places of the share of the K experts that the two texts do **not** share there.


# %%
def path_divergence(ids_a: Tensor, ids_b: Tensor, tokens_a: Tensor, tokens_b: Tensor) -> Tensor:
    """Tell for each layer how far the paths of two texts part.

    ids_a, ids_b: (T, L, K) experts; tokens_a, tokens_b: (T,). At least one place can be compared.
    Returns (L,), each between 0 and 1, in float32 or float64.
    """
    ### BEGIN SOLUTION
    same = tokens_a == tokens_b
    compared = same & ((~same).cumsum(dim=0) > 0)
    shared = (ids_a[..., :, None] == ids_b[..., None, :]).any(dim=-1)
    return 1 - shared[compared].float().mean(dim=(0, 2))
    ### END SOLUTION


# %%
check("11.4", path_divergence)

# %% [markdown]
# *His* or *her*: does it change the path of the rest of a sentence? Beside it pairs of words that
# have nothing to do with people.

# %% tags=["play"]
part = mine("11.4")


def paths(text: str) -> tuple[Tensor, Tensor]:
    """Route a text through the shipped model."""
    ids = torch.as_tensor(tokenizer.encode(text))
    with torch.no_grad():
        routings = model(ids[None]).routings
    return torch.stack([routing.expert_ids for routing in routings], dim=1), ids


# %% tags=["play"]
sentence = "The function returns {} first value if the list is not empty, or raises an error."
words = ["his", "her", "the", "its", "any", "all", "one", "set", "get", "for", "and", "not"]
n_tokens = {word: len(tokenizer.encode(sentence.format(word))) for word in words}
as_long = [word for word in words if n_tokens[word] == n_tokens["his"]]
for pair in zip(as_long[::2], as_long[1::2], strict=False):
    (ids_a, a), (ids_b, b) = (paths(sentence.format(word)) for word in pair)
    print(pair, [f"{share:.2f}" for share in part(ids_a, ids_b, a, b).tolist()])

# %% [markdown]
# One sentence is an anecdote; the lesson asks it of many.
#
# ## Exercise 11.5: Find what is wrong: Somebody's audit
#
# An audit report holds data and five claims. At most one of them is false. The data, for T tokens,
# K choices each, E experts and D domains: `expert_ids` (T, K), `tokens` (T,), `domains` (T,);
# `batches` (T,), in which batch a token was measured; `kept` (T, K), False where a full expert
# turned the choice away; `damage` (E, D), by how many nats a domain's loss rises without an expert.
# The claims, and what each of them *should* be:
#
# | claim | should be |
# | --- | --- |
# | `load` | the share of all choices that fell on each expert: E numbers |
# | `information` | what the expert tells of the domain, nothing given, in bits |
# | `null` | the same for domains dealt anew **within the token**, nothing given: a mean of many |
# | `drops` | for each domain the share of **its** choices that were not kept: D numbers |
# | `needed` | the expert whose absence does most damage, every domain counting the same |
#
# Numbers are rounded, and a null has some luck in it: what is off by less than 0.03 is not false.
# What is false is off by more than 0.06. An expert's number is exact.


# %%
def wrong_claim(report) -> str:
    """Name the claim that is false: "load", "information", "null", "drops" or "needed".

    All parts are attributes: report.expert_ids, report.load, ... Your own 11.1 and 11.2 are
    mine("11.1") and mine("11.2"). Returns the name, or "healthy".
    """
    ### BEGIN SOLUTION
    measure, deal = mine("11.1"), mine("11.2")
    ids, domains, generator = report.expert_ids, report.domains, torch.Generator().manual_seed(0)
    n_experts, n_domains = report.damage.shape
    deals = [measure(ids, deal(domains, report.tokens, generator)) for _ in range(20)]
    truth = {
        "load": torch.bincount(ids.flatten(), minlength=n_experts) / ids.numel(),
        "information": measure(ids, domains),
        "null": sum(deals) / len(deals),
        "drops": [1 - report.kept[domains == d].float().mean() for d in range(n_domains)],
        "needed": report.damage.mean(dim=1).argmax(),
    }
    for name, value in truth.items():
        claimed = torch.as_tensor(getattr(report, name), dtype=torch.float64)
        if (claimed - torch.as_tensor(value, dtype=torch.float64)).abs().max() > 0.03:
            return name
    return "healthy"
    ### END SOLUTION


# %%
check("11.5", wrong_claim)

# %% tags=["play"]
from moe_teach.chapters.ch11_reading_the_router.reports import FAULTS, report_of

audit = mine("11.5")
for number, fault in enumerate(("", *FAULTS)):
    report = report_of(fault, seed=11)
    print(f"report {number}: {report.information:.2f} bits against {report.null:.2f} by chance;",
          audit(report))  # fmt: skip

# %% [markdown]
# ## Exercise 11.6: Open task: a domain with fewer experts
#
# Somebody wants to read code only, or arithmetic only, with the model that comes with the course,
# and has memory for 24 of its 64 experts. Which? You are given what a sample of the domain's
# training text did: how often each expert was chosen, the sum of its gates, and the damage of
# taking it away **alone**. What you keep is judged on held-out text of the same domain. Tokens
# choose their two best among the experts that are left.
#
# Keeping the most used ones raises the loss by 0.47 nats, mean of the four domains. Keep 24 with
# which it rises by **at most 0.37**.


# %%
def experts_to_keep(counts: Tensor, gates: Tensor, damage: Tensor, n_keep: int) -> Tensor:
    """Choose the experts that stay, for one domain.

    counts, gates, damage: (L, E) floats; damage in nats, negative perhaps. n_keep, of all layers
    together: at least 2 L.
    Returns (L, E) booleans: at most n_keep are True, and at least 2 in each layer.
    """
    ### BEGIN SOLUTION
    score = damage.clamp(min=0) * gates
    kept = torch.zeros_like(score, dtype=torch.bool)
    for layer, own in enumerate(score):
        kept[layer, own.topk(2).indices] = True
    others = score.masked_fill(kept, -torch.inf).flatten()
    kept.view(-1)[others.topk(n_keep - int(kept.sum())).indices] = True
    return kept
    ### END SOLUTION


# %%
check("11.6", experts_to_keep)

# %% [markdown]
# Who keeps whom? If experts were specialists, domains would keep different ones.

# %% tags=["play"]
keep = mine("11.6")
chosen = {name: keep(*sample, 24) for name, sample in stored_sample().items()}
for name, kept in chosen.items():
    both = [int((kept & other).sum()) for other in chosen.values()]
    print(f"{name:11} shares with {', '.join(chosen)}: {both}; by chance it would be 9")

# %% [markdown]
# ## Exercise 11.7: Your audit of a router
#
# Join your measure and your deal. For each layer:
#
# - `"bits"`: what the experts tell of the domain, nothing given;
# - `"by chance"`: the mean of the same over `n_deals` deals of the domains among **all** tokens
#   (`shuffled` with zeros for `given`);
# - `"by the token"`: the mean over `n_deals` deals **within the token**. Nothing is given to the
#   measure here either: it is what a table of tokens would tell;
# - `"verdict"`: `"more than the token"` if the bits are above every deal of both kinds; else
#   `"the token"` if they are above every deal among all tokens; else `"nothing"`.
#
# Every number has deals of its own.

# %%
AUDIT = {"information": "11.1", "shuffled": "11.2"}


def my_audit(
    expert_ids: Tensor,
    tokens: Tensor,
    domains: Tensor,
    n_deals: int,
    generator: torch.Generator,
    **parts: Callable,
) -> list[dict]:
    """Audit every layer of a router.

    expert_ids: (T, L, K); tokens, domains: (T,). information and shuffled are called as in 11.1
    and 11.2. Returns a dictionary for each layer with the four entries above.
    """
    information, shuffled = (parts.get(name) or mine(item) for name, item in AUDIT.items())
    ### BEGIN SOLUTION
    rows = []
    for ids in expert_ids.unbind(dim=1):
        bits = float(information(ids, domains))
        chance, token = (
            [float(information(ids, shuffled(domains, given, generator))) for _ in range(n_deals)]
            for given in (torch.zeros_like(tokens), tokens)
        )
        verdict = "nothing"
        if bits > max(chance):
            verdict = "more than the token" if bits > max(token) else "the token"
        rows.append(
            {
                "bits": bits,
                "by chance": sum(chance) / n_deals,
                "by the token": sum(token) / n_deals,
                "verdict": verdict,
            }
        )
    return rows
    ### END SOLUTION


# %%
check("11.7", my_audit)

# %% [markdown]
# ### Audit the model that comes with the course
#
# And three others: the same model with its first random weights, a table that looks at the token
# alone, and lots. The verdict of which surprises you?

# %% tags=["play"]
from moe_teach.nn.model import Model

torch.manual_seed(0)
untrained = Model(model.config).eval()
texts = torch.cat([texts[number][:, :-1] for texts in stored_texts().values() for number in (0, 1)])
tokens = texts.flatten()
domains = torch.arange(len(names)).repeat_interleave(len(tokens) // len(names))


def routes(asked: Model) -> Tensor:
    """Return (T, L, K) experts."""
    with torch.no_grad():
        return torch.stack([routing.expert_ids for routing in asked(texts).routings], dim=1)


# %% tags=["play"]
generator = torch.Generator().manual_seed(0)
table = torch.rand(1024, 1, 16, generator=generator).topk(2, dim=-1).indices
lots = torch.rand(len(tokens), 1, 16, generator=generator).topk(2, dim=-1).indices
subjects = {"trained": routes(model), "untrained": routes(untrained)}
for name, ids in (subjects | {"a table": table[tokens], "lots": lots}).items():
    for layer, row in enumerate(mine("11.7")(ids, tokens, domains, 19, generator)):
        print(f"{name:9} layer {layer}: {row['bits']:.2f} bits, {row['by chance']:.2f} by chance, "
              f"{row['by the token']:.2f} by the token: {row['verdict']}")  # fmt: skip
