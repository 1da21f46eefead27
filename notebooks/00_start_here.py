# %% [markdown]
# # 00 Start here
#
# **Claim: a mixture of experts reads every token with only a part of its parameters, and the rest
# could be anything.** You will see it in a model so small that you can check each number by hand.
#
# Welcome! In this course you build a Mixture-of-Experts language model, from the first router to
# the last kernel, on whatever computer you have. No GPU is needed. You should know Python and
# have met a transformer before; everything else is built in front of you.
#
# To read and run this first lesson takes about 25 minutes. The line below tells you what your
# machine offers. If it looks wrong, `moe-teach doctor` in a terminal says what to do.

# %% [markdown]
# ## A surprise first
#
# Here is a sentence of twelve tokens. It is true, too: in 1991 Jacobs, Jordan, Nowlan and Hinton
# published the idea this course is about.

# %% tags=["nbval-check-output"]
SENTENCE = "In 1991 , 4 researchers split one task among small networks ."
tokens = SENTENCE.split()
print(len(tokens), "tokens:", tokens)

# %% [markdown]
# A tiny model reads it. It has three **experts**, and each is one small matrix. One expert likes
# numbers, one likes glue (short words and punctuation), one likes content (long words). A
# **router** chooses two of the three for every token.
#
# First we describe each token by four features: a constant 1, whether it is a number, whether it is
# punctuation, and its length in units of ten letters.

# %%
import torch
from torch import Tensor


def features(tokens: list[str]) -> Tensor:
    """Describe T tokens by four features each: (T, 4)."""
    rows = [[1.0, float(t.isdigit()), float(not t.isalnum()), len(t) / 10.0] for t in tokens]
    return torch.tensor(rows)


x = features(tokens)
x[:4]

# %% [markdown]
# The router is a matrix as well, one row per expert. We write it by hand and do not train it. A
# row says how much an expert wants each feature: the content expert, for example, wants length.

# %%
EXPERT_NAMES = ["numbers", "glue", "content"]

w_router = torch.tensor(
    [
        # 1    number  punct  length
        [-3.0, 5.0, 0.0, 0.0],  # numbers
        [2.0, 0.0, 2.0, -3.0],  # glue
        [-0.3, 0.0, 0.0, 3.0],  # content
    ]
)
logits = x @ w_router.T  # a score of each expert for each token
logits.shape

# %% [markdown]
# Now a rule that many models use. Turn the scores, called **logits**, into probabilities, keep the
# most probable experts of every token, here two, and rescale their probabilities so that they sum
# to one. What remains are the **gates**: the weights with which the two experts' answers will be
# mixed. `Routing` does no work of its own: it keeps the four results of one routing together.

# %%
from moe_teach.types import Routing


def choose(logits: Tensor, top_k: int) -> Routing:
    """Keep the `top_k` most probable experts of every token, with gates that sum to one."""
    probs = logits.softmax(dim=-1)
    gates, expert_ids = probs.topk(top_k, dim=-1)
    return Routing(logits, probs, gates / gates.sum(dim=-1, keepdim=True), expert_ids)


routing = choose(logits, top_k=2)

# %% tags=["nbval-check-output"]
for token, chosen in zip(tokens, routing.expert_ids.tolist(), strict=True):
    print(f"{token:12}", [EXPERT_NAMES[expert] for expert in chosen])

# %% [markdown]
# Last, the experts and the mixture. With gates $g_i$ and experts $f_i$, the answer for a token is
#
# $$y(x) = \sum_{i \in \text{chosen}} g_i \, f_i(x)$$
#
# This is equation 1 of Shazeer et al. (2017, arXiv 1701.06538), where all gates that were not
# chosen are zero. An expert that is not chosen is **never called**.

# %%
w_experts = torch.arange(48.0).reshape(3, 4, 4) / 48.0  # three 4-by-4 matrices, never mind which


def mix(x: Tensor, routing: Routing, w_experts: Tensor) -> Tensor:
    """Sum the chosen experts' answers, each times its gate: (T, 4) -> (T, 4)."""
    y = torch.zeros_like(x)
    for token in range(len(x)):
        for gate, expert in zip(routing.gates[token], routing.expert_ids[token], strict=True):
            y[token] += gate * (w_experts[expert] @ x[token])
    return y


y = mix(x, routing, w_experts)

# %% [markdown]
# Now we **destroy** the numbers expert: every one of its 16 parameters becomes "not a number",
# which spoils whatever it is added to. Then we read the sentence again. How many of the twelve
# answers will be spoilt? Decide before you look.

# %% tags=["nbval-check-output"]
destroyed = w_experts.clone()
destroyed[0] = float("nan")
same = (mix(x, routing, destroyed) == y).all(dim=-1)
print(int(same.sum()), "of", len(tokens), "tokens did not notice at all")
print("noticed:", [token for token, kept in zip(tokens, same.tolist(), strict=True) if not kept])

# %% [markdown]
# That is the surprise. Two of twelve tokens noticed. For the other ten the answer is the same to
# the last bit, although a third of all expert parameters is gone. Those parameters took no part, so
# they cost no work. That is the whole trick, and also where all the trouble of the next chapters
# comes from.

# %% [markdown]
# ## Predict, then run
#
# Before you scroll on: suppose we destroy the **content** expert instead. How many of the twelve
# tokens will notice? Count in the table above, where the two chosen experts are listed.
#
# This is also your first check. We typed a wrong number for you, so that you can see how a check
# answers. Put your own number there and run the cell again.

# %%
from moe_teach.course import check

check("0.q1", 12)

# %% [markdown]
# Every exercise and every question of the course has a check like this one. It never marks you
# down for trying, and it never blocks the way: later cells do not depend on your answers.

# %% [markdown]
# ## The picture of a routing
#
# The same table as a picture. Each disc is one choice: its area is the gate, and so is the number
# below it. Read it by column to follow a token, or by row to see the work of an expert.

# %%
from moe_teach.chapters.ch00_start_here.figures import routing_picture
from moe_teach.plots.style import show_figure

picture = routing_picture(tokens, routing, EXPERT_NAMES)
show_figure(picture)

# %% [markdown]
# What the picture claims is checked here: every token is read by exactly two experts, the gates
# of a token sum to one, and only the two numbers ever reach the numbers expert.

# %% tags=["nbval-check-output"]
assert (routing.expert_ids[:, 0] != routing.expert_ids[:, 1]).all()
assert torch.allclose(routing.gates.sum(dim=-1), torch.ones(len(tokens)))
reached = (routing.expert_ids == 0).any(dim=-1).tolist()
assert [token for token, hit in zip(tokens, reached, strict=True) if hit] == ["1991", "4"]
print("PASS: two experts a token, gates sum to one, two tokens reach the numbers expert")

# %% [markdown]
# ## Count the work
#
# A token passes through the router and two experts. The third expert rests. So of the 60
# parameters that this model stores, how many take part in one token?

# %% tags=["nbval-check-output"]
n_router, n_expert = w_router.numel(), w_experts[0].numel()
total = n_router + 3 * n_expert
active = n_router + 2 * n_expert
print(f"stored {total}, active for one token {active}: {active / total:.1%}")

# %% [markdown]
# One of these two numbers says how much memory the model needs. Which one? Replace the three dots
# by your answer and run the cell. A check without an answer shows the question.

# %%
check("0.q2", ...)

# %% [markdown]
# You will meet the same two numbers, total and active, for every published model in chapter 01.
#
# ## Who decides?
#
# The token `1991` went to the numbers expert. Somebody must have decided that.

# %%
check("0.q3", ...)

# %% [markdown]
# ## Play
#
# Write a sentence of your own, with spaces between the tokens, and run the cell. Can you find a
# token that sends more than half of its weight to the numbers expert without being a number? If
# you find none, look at the four features: can a word look like a number to this router at all?

# %%
yours = "Write 3 words , or 30 , and see where they go !"
your_tokens = yours.split()
your_routing = choose(features(your_tokens) @ w_router.T, top_k=2)
show_figure(routing_picture(your_tokens, your_routing, EXPERT_NAMES))

# %% [markdown]
# ## A control that must fail
#
# Perhaps tokens never notice a destroyed expert, and the surprise was empty. So we switch the
# sparsity off: with `top_k=3` every expert is asked about every token. Now all of them must notice.

# %% tags=["nbval-check-output"]
dense = choose(logits, top_k=3)
before, after = mix(x, dense, w_experts), mix(x, dense, destroyed)
noticed = (before != after).any(dim=-1)
assert noticed.all()
print(int(noticed.sum()), "of", len(tokens), "tokens notice when every expert is asked")

# %% [markdown]
# ## The same thing in the library
#
# What you just built is a `Router` of the course's library. Give the library our matrix and it
# makes the same choices with the same gates. Whenever a chapter builds something by hand, it ends
# with such a comparison.

# %% tags=["nbval-check-output"]
from moe_teach.config import RouterConfig
from moe_teach.nn.router import Router

router = Router(d_model=4, config=RouterConfig(n_experts=3, top_k=2))
with torch.no_grad():
    router.proj.weight.copy_(w_router)
    theirs = router(x)

assert torch.equal(theirs.expert_ids, routing.expert_ids)
assert torch.allclose(theirs.gates, routing.gates)
print("PASS: the library chooses the same experts with the same gates")

# %% [markdown]
# Lessons never retype library code. They show the real thing with `show`. Of this record you know
# four fields; `kept` and `claimed` belong to later chapters.

# %%
from moe_teach.course import show

show(Routing)

# %% [markdown]
# ## What could be wrong with this result
#
# - **We wrote the router by hand.** Real routers are trained together with the experts, and
#   nobody tells them what a number is. Whether they then specialise like this is a question, not
#   a fact; the planned chapter 11 measures it.
# - **Work was saved, memory was not.** All 60 parameters must be stored, because the next sentence
#   may need any of them. Chapter 01 is about that bill, and so is the planned chapter 14.
# - **Our loop is slow.** Two nested Python loops save multiplications and waste time. Making the
#   saving real is the subject of chapter 04.

# %% [markdown]
# ## How the exercises work
#
# Each chapter has a notebook of exercises beside its lesson. A stub tells you what to write, and
# `check` answers at once in one of four ways: *passed*, *wrong*, *raised* or *not attempted*. Wrong
# answers earn the smallest example that fails and the likely cause.
#
# - `hint("0.1")` opens the next of three hints. They are free.
# - `solution("0.1")` shows our solution and why it is as it is.
# - `progress()` shows what you have done so far. It is kept on your computer and goes nowhere.
# - `reset("0.1")` gives you the starting code back.
#
# Try the last but one now; the table below is yours to fill.

# %%
from moe_teach.course import progress

progress()
