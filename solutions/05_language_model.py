# %% [markdown]
# # 05 A language model with experts: exercises
#
# One module and four small instruments. The module puts experts into a transformer. The instruments
# keep you honest when you compare it with anything. In the last exercise you write the loop that
# trains it, and your own model learns beside the course's.

# %%
import math
from collections.abc import Callable, Sequence
from itertools import product
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_teach.course import check, mine
from moe_teach.ops.losses import load_balance_loss
from moe_teach.types import Routing

# %% [markdown]
# ## Exercise 5.1: A transformer block with experts
#
# Write one pre-norm block. Two branches read the stream of vectors and **add** to it, one after the
# other: first attention, then the MoE. Each branch reads through an RMSNorm of its own
# (`nn.RMSNorm(d_model)`), and the stream itself is never normalised.
#
# The MoE returns a pair, its output and its routing record. The residual is not inside. Hand the
# record on: the balancing loss of the next chapter needs it.


# %%
class MoEBlock(nn.Module):
    """Pre-norm residual block: attention, then a mixture of experts."""

    def __init__(self, d_model: int, attention: nn.Module, moe: nn.Module) -> None:
        """Keep the two modules and make the two norms.

        attention: (B, S, D) -> (B, S, D). moe: (B, S, D) -> ((B, S, D), Routing).
        """
        ### BEGIN SOLUTION
        super().__init__()
        self.attention_norm = nn.RMSNorm(d_model)
        self.attention = attention
        self.moe_norm = nn.RMSNorm(d_model)
        self.moe = moe
        ### END SOLUTION

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Return the new stream, (B, S, D) and dtype like x, and the routing of the experts.

        Attention and MoE are each called once, with (B, S, D).
        """
        ### BEGIN SOLUTION
        x = x + self.attention(self.attention_norm(x))
        y, routing = self.moe(self.moe_norm(x))
        return x + y, routing
        ### END SOLUTION


# %%
check("5.1", MoEBlock)

# %% [markdown]
# ## Exercise 5.2: The dense net to compare with
#
# Your MoE layer has `n_experts` experts of inner width `d_expert`, of which `top_k` work on a
# token, and perhaps a shared expert of width `d_shared` that always works. Every feed-forward,
# dense or expert, has `n_matrices` matrices of d_model times its width (3 for SwiGLU, 2 for GELU).
# The router is one matrix of d_model times n_experts, and it works on every token.
#
# How wide is the dense feed-forward that is its equal? With `equal="active"` it has as many
# parameters as **work on one token** (then it also has equal FLOPs). With `equal="total"` it has as
# many as the layer **stores**. Do not forget the router. d_model cancels.
#
# Round **up** to a multiple of `multiple_of`: a baseline must never lose because it was given less.


# %%
def iso_flop_hidden(
    n_experts: int,
    top_k: int,
    d_expert: int,
    d_shared: int = 0,
    n_matrices: int = 3,
    equal: str = "active",
    multiple_of: int = 1,
) -> int:
    """Find the inner width of the dense feed-forward that equals an MoE layer.

    equal: "active" (what works on one token) or "total" (what is stored); anything else is a
    ValueError. Returns the width, an integer and a multiple of multiple_of, rounded up.
    """
    ### BEGIN SOLUTION
    if equal not in ("active", "total"):
        raise ValueError(f"equal must be 'active' or 'total', not {equal!r}.")
    n_counted = top_k if equal == "active" else n_experts
    # In units of one row of d_model numbers; whole numbers, so that rounding up is exact.
    rows = n_matrices * (n_counted * d_expert + d_shared) + n_experts
    step = n_matrices * multiple_of
    return (rows + step - 1) // step * multiple_of
    ### END SOLUTION


# %%
check("5.2", iso_flop_hidden)

# %% [markdown]
# ## Exercise 5.3: A test for the first minute
#
# Before you train anything, ask two things of the untrained model.
#
# - **Does it know nothing?** Its loss in nats must be within `tolerance` of ln V, where V is
#   `vocab_size`. Far above: it starts out convinced of something. *Below*: the answers leak.
#   The logits at position t are for the token at t + 1, so a text of S tokens asks S - 1 questions.
# - **Is it causal?** Replace the **last** token of every row by another one. The logits at all
#   earlier positions must stay as they were, but for rounding (`atol=1e-5`).


# %%
def initial_loss_test(
    model: Callable[[Tensor], Tensor], token_ids: Tensor, vocab_size: int, tolerance: float = 0.2
) -> tuple[float, bool, bool]:
    """Measure the first loss of a model, and look for leaks.

    model: token ids (B, S) -> logits (B, S, V). token_ids: (B, S), integers below vocab_size; leave
    them as they are.
    Returns the mean loss in nats (float), whether it is within tolerance of ln V on either side
    (bool), and whether the model is causal (bool).
    """
    ### BEGIN SOLUTION
    logits = model(token_ids)
    asked, answers = logits[:, :-1], token_ids[:, 1:]
    loss = functional.cross_entropy(asked.flatten(0, 1).float(), answers.flatten()).item()
    knows_nothing = abs(loss - math.log(vocab_size)) <= tolerance

    other = token_ids.clone()
    other[:, -1] = (other[:, -1] + 1) % vocab_size
    is_causal = torch.allclose(model(other)[:, :-1], asked, rtol=0, atol=1e-5)
    return loss, knows_nothing, is_causal
    ### END SOLUTION


# %%
check("5.3", initial_loss_test)

# %% [markdown]
# ## Exercise 5.4: What had it learned when the money was gone?
#
# One run, three axes: a step can cost 1 (a step), so many FLOPs, or so many seconds. A run was
# measured after certain `steps` and had these `losses`. Every step cost `price`. Give the loss of
# the **last** measurement that `budget` pays for, the price of step 0 being nothing. Do not
# interpolate, and do not pick the best one: you would not have known.
#
# If the budget does not reach the first measurement, the answer is `math.inf`: it loses against
# everybody.


# %%
def loss_at_budget(
    steps: Sequence[int], losses: Sequence[float], price: float, budget: float
) -> float:
    """Read a learning curve at a budget.

    steps: after how many steps the run was measured, ascending. losses: what was measured then.
    price: of one step, in any unit. budget: in the same unit; spending all of it is allowed.
    Returns the loss of the last measurement that was paid for, or math.inf.
    """
    ### BEGIN SOLUTION
    affordable = [loss for step, loss in zip(steps, losses, strict=True) if step * price <= budget]
    return affordable[-1] if affordable else math.inf
    ### END SOLUTION


# %%
check("5.4", loss_at_budget)

# %% [markdown]
# ## Exercise 5.5: Is it a win, if nobody knows the distribution?
#
# The lesson's interval holds if the gains of many seeds would spread like a bell curve. Nobody has
# seen many seeds. Here is a test that needs no curve.
#
# Seed by seed, the **gain** is the baseline's loss minus the candidate's. Suppose that the two
# models were equally good. Then which of them got which loss would be an accident, seed by seed,
# and each gain might as well have had the **other sign**. So of n gains there are $2^n$ patterns of
# signs, all equally likely, and yours is one of them. Let **p** be the share of all patterns whose
# mean is at least as far from zero as yours, on either side. A small p says: hardly any accident
# looks so decided.
#
# Return the mean gain, p, and the verdict: `"better"` or `"worse"`, by the sign of the mean, if p
# is at most `level`, and otherwise `"inside the noise"`. Two means that differ by rounding only
# (1e-9) are equal.
#
# Before you start: three seeds, and every one of them says better. How small can p be?


# %%
def sign_flip_test(
    baseline: Sequence[float], candidate: Sequence[float], level: float = 0.05
) -> tuple[float, float, str]:
    """Compare two models over the same seeds, by flipping signs.

    baseline, candidate: one loss for each seed, in the same order of seeds; two to ten seeds.
    Returns the mean gain, p, and "better", "worse" or "inside the noise".
    """
    ### BEGIN SOLUTION
    gains = [old - new for old, new in zip(baseline, candidate, strict=True)]
    observed = abs(sum(gains))
    hits = 0
    for signs in product((1, -1), repeat=len(gains)):
        total = sum(sign * gain for sign, gain in zip(signs, gains, strict=True))
        hits += abs(total) >= observed - 1e-9  # as far from zero, but for rounding
    p = hits / 2 ** len(gains)
    verdict = "inside the noise"
    if p <= level:
        verdict = "better" if sum(gains) > 0 else "worse"
    return mean(gains), p, verdict
    ### END SOLUTION


# %%
check("5.5", sign_flip_test)

# %% [markdown]
# Now put the lesson's main result to your test: five stored seeds on the facts, dense against 16
# experts.

# %% tags=["play"]
from moe_teach.course.experiments import stored

facts = stored("05_facts")
dense, experts = (facts.column(name, "loss") for name in ("dense, equal active", "16 experts"))
for n_seeds in (3, 5):
    gain, p, verdict = mine("5.5")(dense[:n_seeds], experts[:n_seeds])
    print(f"{n_seeds} seeds: gain {gain:+.2f} nats, p = {p:.4f}, {verdict}")

# %% [markdown]
# Every seed agrees, the interval was clear of zero, and this test will not say "better": five seeds
# cannot bring p below 2 / 32. It asks for six. What the interval knows beyond that, it has from its
# assumption.

# %% [markdown]
# ## Exercise 5.6: A training loop with nothing hidden
#
# The lesson's loop took a batch whole. Yours can also take it in `accumulate` equal parts, cut
# along the rows, when the whole does not fit into memory. **What is learned must not depend on
# that**: the task loss of a batch is the mean over all the questions *of the whole batch* (targets
# of -100 are not asked for), in however many parts you go backward.
#
# Each step: empty the gradients; go backward through the parts; clip the norm of the gradient to
# `clip`; set the learning rate of every group of the optimiser to `lr_at(step)`; update; call
# `on_step`, if there is one. The balancing loss of a part is the mean of `balance_loss(routing)`
# over its layers, and that of a batch the mean over its parts.


# %%
def train_loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches,
    n_steps: int,
    lr_at: Callable[[int], float],
    balance_loss: Callable[[Routing], Tensor] = load_balance_loss,
    balance_coef: float = 0.01,
    clip: float = 1.0,
    accumulate: int = 1,
    on_step: Callable[[int, list], object] | None = None,
) -> list[float]:
    """Train the model in place, in training mode.

    model: token ids (B, S) -> output with `logits` (B, S, V) and `routings`, one for each layer.
    batches.at(step): the batch of a step, with `inputs` and `targets` (B, S), B a multiple of
    accumulate. The loss is task + balance_coef * balance. on_step(step, outputs) gets the outputs
    of all parts, in their order.
    Returns the task loss of each step, before its update, as plain floats in nats.
    """
    ### BEGIN SOLUTION
    losses = []
    model.train()
    for step in range(n_steps):
        batch, outputs, nats = batches.at(step), [], 0.0
        n_asked = (batch.targets != -100).sum()
        optimizer.zero_grad()
        parts = zip(batch.inputs.chunk(accumulate), batch.targets.chunk(accumulate), strict=True)
        for inputs, targets in parts:
            output = model(inputs)
            logits = output.logits.flatten(0, 1)
            wrong = functional.cross_entropy(logits, targets.flatten(), reduction="sum")
            balance = torch.stack([balance_loss(routing) for routing in output.routings]).mean()
            task = wrong / n_asked  # by the questions of the whole batch, not of this part
            (task + balance_coef * balance / accumulate).backward()
            outputs.append(output)
            nats += task.item()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        optimizer.step()
        losses.append(nats)
        if on_step is not None:
            on_step(step, outputs)
    return losses
    ### END SOLUTION


# %%
check("5.6", train_loop)

# %% [markdown]
# ### Your model
#
# Everything is there. `mine("4.7")` is your layer, with your router's rule, your sort and your
# experts in it; `mine("5.1")` your block. Attention and the norms come from the library.

# %% tags=["play"]
from moe_teach.config import AttentionConfig
from moe_teach.nn.attention import Attention
from moe_teach.nn.linear import Embedding
from moe_teach.nn.model import ModelOutput

WIDTH = 64


class MyModel(nn.Module):
    """Two of your blocks, each on one of your layers: bytes in, logits out."""

    def __init__(self, n_experts: int = 16, d_ff: int = 43) -> None:
        super().__init__()
        Block, Layer = mine("5.1"), mine("4.7")
        heads = AttentionConfig(n_heads=2, n_kv_heads=2, d_head=32)
        self.embedding = Embedding(256, WIDTH)
        self.blocks = nn.ModuleList(
            Block(WIDTH, Attention(WIDTH, heads), Layer(WIDTH, n_experts, 1, d_ff, False))
            for _ in range(2)
        )
        self.norm = nn.RMSNorm(WIDTH)
        self.unembedding = nn.Linear(WIDTH, 256, bias=False)
        nn.init.normal_(self.unembedding.weight, std=Embedding.STD)

    def forward(self, token_ids: Tensor) -> ModelOutput:
        x, routings = self.embedding(token_ids), []
        for block in self.blocks:
            x, routing = block(x)
            routings.append(routing)
        return ModelOutput(self.unembedding(self.norm(x)), tuple(routings))


# %% [markdown]
# An expert of yours has three matrices and those of the lesson two, so 43 hidden units of yours
# weigh what 64 of theirs do. Now your loop trains it, on the facts and with the schedule of the
# lesson's 800 steps. `N_STEPS` says how many of them you wait for; put 800 there when you have a
# minute.

# %% tags=["play"]
from moe_teach.chapters.ch05_language_model import experiments as lab
from moe_teach.course import by_mode
from moe_teach.train.config import TrainConfig, learning_rate
from moe_teach.train.evaluate import evaluate
from moe_teach.train.optimizer import build_optimizer

N_STEPS = by_mode(full=200, fast=50)
config = TrainConfig(steps=800)
batches, questions = lab.build_data("facts", seed=2026)
torch.manual_seed(2026)
model = MyModel()
steps, losses = [], []


def measure(step: int, outputs: list) -> None:
    """Ask the questions after every 50 steps."""
    if (step + 1) % 50 == 0:
        steps.append(step + 1)
        losses.append(evaluate(model, questions).loss)
        print(f"step {step + 1}: {losses[-1]:.2f} nats on the answers")
        model.train()


optimizer = build_optimizer(model, config.lr, config.weight_decay)
train = mine("5.6")
_ = train(model, optimizer, batches, N_STEPS, lambda step: learning_rate(step, config),
          on_step=measure)  # fmt: skip

# %% tags=["play"]
from moe_teach.chapters.ch05_language_model.figures import your_curve
from moe_teach.course.experiments import stored
from moe_teach.plots.style import show_figure

facts = stored("05_facts")
stored_steps = facts.of("16 experts")[0].result["steps"]
bands = {name: facts.column(name, "losses") for name in ("dense, equal active", "16 experts")}
show_figure(your_curve(stored_steps, bands, steps, losses))

# %% tags=["play"]
untrained = math.log(256)
assert losses[-1] < untrained - 2, "your model learns"
dense = [curve[len(steps) - 1] for curve in bands["dense, equal active"]]
print(f"yours {losses[-1]:.2f}, the dense seeds {min(dense):.2f} to {max(dense):.2f}")
print("PASS: layer, block and loop together learn; two nats and more below an untrained model")

# %% [markdown]
# **What to see.** Your curve beside those of the course. It is another model, with SwiGLU experts
# and other first weights, so do not read a win or a loss of a tenth of a nat out of one run: that
# is what exercise 5.5 is for.

# %% [markdown]
# ## Exercise 5.7: Find what is wrong: an evaluation
#
# Somebody measures every model with the function below. It promises:
#
# 1. the mean loss in nats of all tokens that are asked for (a target of -100 is not), over all
#    batches **together**: how a text is cut into batches must not matter;
# 2. right to six digits, whatever float dtype the logits have;
# 3. nothing drawn at random, and no gradients recorded;
# 4. the model is left as it was found, to the last of its parts.


# %%
@torch.no_grad()
def somebodys_evaluation(model: nn.Module, batches) -> float:
    """Measure a model."""
    model.eval()
    losses = []
    for batch in batches:
        logits = model(batch.inputs).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        losses.append(loss.item())
    model.train()
    return sum(losses) / len(losses)


# %% [markdown]
# It runs, and on two batches of the facts it says what the library says:

# %% tags=["play"]
from moe_teach.chapters.ch05_language_model import experiments as lab
from moe_teach.train.evaluate import evaluate

untrained = lab.build_model(lab.FACTS["16 experts"], seed=0)
batches, _ = lab.build_data("facts", seed=0)
two = [batches.at(0), batches.at(1)]
print(f"{somebodys_evaluation(untrained, two):.6f}   {evaluate(untrained, two).loss:.6f}")

# %% [markdown]
# It breaks its promises all the same, in more than one way. Find the cases, and write a function
# that keeps them.


# %%
def evaluate_model(model: nn.Module, batches) -> float:
    """Measure the loss of a model on all batches together, and leave the model as it was.

    model: token ids (B, S) -> an output with `logits` (B, S, V). batches: hands out, once, batches
    with `inputs` and `targets` (B, S), of any sizes; at least one token of all is asked for.
    """
    ### BEGIN SOLUTION
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    nats, n_asked = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            logits = model(batch.inputs).logits.float().flatten(0, 1)
            targets = batch.targets.flatten()
            nats += functional.cross_entropy(logits, targets, reduction="sum").item()
            n_asked += (targets != -100).sum().item()
    for module, was_training in modes:
        module.training = was_training
    return nats / n_asked
    ### END SOLUTION


# %%
check("5.7", evaluate_model)

# %% [markdown]
# ## Exercise 5.8: Open task: the lowest loss for a quarter of a GFLOP
#
# There is no single right answer here: reach the goal, and then see how far beyond it you get. The
# course keeps your best.
#
# The text is a table of facts: 32 rows, 32 columns, and at each of the 1,024 places one of 16
# values, drawn at random. Nothing can be worked out. The model adds a vector for the row and one
# for the column, sends the sum through **one feed-forward** with a residual around it, and reads
# the value off. You choose:
#
# | name | what | from | to |
# | --- | --- | --- | --- |
# | `width` | width of the vectors | 4 | 128 |
# | `n_experts` | 1 is a dense net, without a router | 1 | 64 |
# | `top_k` | experts at work on a fact | 1 | 4 |
# | `d_ff` | hidden units of one expert, two matrices | 1 | 512 |
# | `batch` | facts of a step, drawn at random | 16 | 1,600 |
# | `lr` | Adam's rate at the start; it falls in a straight line to 0 | 0.00001 | 1 |
#
# A step costs 6 FLOPs for each parameter **at work on a fact** (two matrices of each chosen expert,
# the router, the matrix of 16 values), times the batch. (So small a net computes all its experts,
# because that is quicker, and counts the chosen ones.) You have **0.25 GFLOP**. They buy as many
# steps as they buy, 1,000 at most.
#
# **The goal:** a loss over all facts of at most **0.5 nats**. A guess has ln 16 = 2.77; the
# lesson's dense feed-forward at the lesson's rate and batch ends at 2.82, no better than that; the
# best dense net that we found, at a rate of its own, at 1.2. Zero is the limit. A short search of
# the course's own got to about 0.15.
#
# Try what you like; a run takes about a second.

# %% tags=["play"]
from moe_teach.chapters.ch05_language_model.fact_table import LESSON, steps_of, try_recipe

for change in ({}, {"lr": 0.02}, {"batch": 64}):
    trial = LESSON | change
    print(f"{change}: {steps_of(trial)} steps, loss {try_recipe(trial):.2f}")


# %%
def budget_recipe() -> dict[str, float]:
    """Choose a model and a training that learn the table within the budget.

    Returns a dict with width, n_experts, top_k, d_ff, batch (whole numbers) and lr.
    """
    ### BEGIN SOLUTION
    experts = {"n_experts": 16, "top_k": 1, "d_ff": 24}  # room, and no cost but a router's row
    return {"width": 16, **experts, "batch": 128, "lr": 0.025}
    ### END SOLUTION


# %%
check("5.8", budget_recipe)
