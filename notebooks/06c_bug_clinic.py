# %% [markdown]
# # 06c The bug clinic
#
# **Claim: a mistake in an MoE layer need not raise an error. What finds it is an observation whose
# right answer is known before anybody looks.**
#
# In lessons 06 and 06b the code was sound, and only the method was in question. Published code is
# not always sound. Here lie twelve layers, eleven with one real mistake each. You examine them and
# write down what each of them has.

# %%
import numpy as np
import torch

from moe_teach.chapters.ch06_load_balancing.clinic.set_up import SetUp
from moe_teach.course import check, clinic, show
from moe_teach.ops.losses import load_balance_loss
from moe_teach.types import Routing

# %% [markdown]
# ## Two logs, one of them of a broken layer
#
# Here is what two trainers log for a batch in which **every** second choice fell on expert 7. Both
# compute E times the sum of load times mean probability, and their loads are not the same.

# %%
torch.manual_seed(0)
first = torch.arange(56) % 7
expert_ids = torch.stack([first, torch.full_like(first, 7)], dim=1)
sure = torch.tensor([[0.5, 0.4]]).expand(56, 2)  # of the two choices, in that order
probs = torch.full((56, 8), 0.1 / 6).scatter(1, expert_ids, sure)


# %%
def logged(ids: torch.Tensor) -> float:
    """The balance loss with the load counted over `ids`."""
    load = torch.bincount(ids.flatten(), minlength=8) / ids.numel()
    return 8 * float(load @ probs.mean(dim=0))


print(f"trainer 1 logs {logged(expert_ids[:, :1]):.2f}, trainer 2 logs {logged(expert_ids):.2f}")
share = torch.bincount(expert_ids.flatten(), minlength=8) / expert_ids.numel()
print("share of the choices, in per cent:", (100 * share).round().int().tolist())

# %% [markdown]
# Half of all work lies at one expert, and trainer 1 logs *less* than 1, better than even. It counts
# first choices only. Nothing crashed, its loss goes down, and its log looks healthier than the
# sound one. (Somebody published it: you will meet the project in the sources.)
#
# Such mistakes are common. minimind computed a balancing loss and did not add it (issue 140).
# nanoMoE's load sums to k. In vLLM (12002) and in transformers (41647) the selection bias leaked
# into the gates. Not one of them raised an error.
#
# ## Predict
#
# The plot that everybody draws is the load of the experts over training. You will see twelve
# layers, eleven of them ill. How many of the eleven will that plot give away: a load plainly less
# even than the healthy layer's? Put a number where the dots are; you may answer again later.

# %%
check("6.q7", ...)

# %% [markdown]
# ## How to examine a layer
#
# This is what all twelve believe they are running: the library's own layer with softmax gates, a
# balance loss, and a bias that a trainer moves. A patient replaces **one** of these methods.

# %%
show(SetUp)

# %% [markdown]
# Everybody is put through the same examination. It has eight panels, and the point of each is that
# the healthy answer is known **before** anybody looks:
#
# 1. **Load** over a short training: each band is an expert. Healthy: even at the end.
# 2. **The loss it logs** for routings made by hand: even ones at k = 1, 2, 4 (healthy: 1); a crowd
#    at two experts, and even first choices with all second choices at one expert (above 1).
# 3. **Gradients on the router**: of the task's loss; of the balance loss as logged; and of what the
#    total contains of it, divided by the prescribed coefficient. Healthy: none is 0, and the last
#    two are equal.
# 4. **Gates**: their sum for one token (1, for k = 2 and 4), and the largest change when *all*
#    biases rise by 0.25 (0).
# 5. **Bias**: what one batch with a crowd at experts 0 and 1 does to each expert's bias (down for
#    these two, up for the others).
# 6. **Evaluated twice**: the same tokens, the same weights (no change).
# 7. **Alone or in a batch**: by how much a token's output changes when others are beside it (0).
# 8. **Output over input**: their norms, as it is; with the weights of all routed experts at zero
#    (0); and how much that silent output looks like the input x.
#
# Two of these you can do yourself in a few lines. Panel 2, even routing: every expert is chosen
# equally often, so the sum of load times probability is 1 / E, whatever the probabilities are.

# %%
dealt = torch.arange(64).view(32, 2) % 8
any_probs = torch.randn(32, 8).softmax(dim=-1)
even = Routing(any_probs.log(), any_probs, any_probs.gather(1, dealt), dealt)
print(f"even routing, any probabilities: {load_balance_loss(even):.6f}")

# %% [markdown]
# And panel 4, the bias: what is added to *all* scores changes no ranking, so it may change no gate.

# %%
layer = SetUp().layer(seed=0).eval()
x = torch.randn(64, layer.router.proj.in_features)
with torch.no_grad():
    before = layer.router(x).gates
    layer.router.expert_bias += 0.25
    after = layer.router(x).gates
print(f"the largest change of a gate: {(after - before).abs().max():.7f}")

# %% [markdown]
# Now the whole chart of the healthy layer. Orange is the layer on the table; hollow diamonds are
# the healthy one with the same seed, which is here the same.

# %%
clinic.show("health")

# %% tags=["nbval-check-output"]
health = clinic.examined("health")
assert all(abs(value - 1) < 1e-5 for value in health.even) and health.crowd > 1.5
assert np.allclose(health.own_gradient, health.arriving) and min(health.task_gradient) > 0.01
assert max(health.gate_moves) < 1e-6 and max(health.company) < 1e-4
assert health.other_output == 0 and health.silent == 0
print("PASS: the healthy layer gives every answer that was known beforehand")

# %% [markdown]
# One entry may surprise: at k = 1 the gate is 0.23 and not 1. A gate that is divided by its own sum
# is 1 whatever the router says, and teaches it nothing (lesson 03). So in health the gates are
# divided by their sum for k of 2 and more, and left alone at k = 1.
#
# ## One patient together
#
# The practice patient lies in no bed of the ward. Find the panels in which orange and diamonds
# part, before you read on.

# %%
clinic.show("practice")

# %%
practice = clinic.examined("practice")
print(f"sum of the gates at k = 2: {practice.gate_sums[1]:.2f}, healthy {health.gate_sums[1]:.2f}")
print(f"output / input: {practice.speaking:.2f}, healthy {health.speaking:.2f}")
print("task gradient at k = 1, 2, 4:", [round(value, 2) for value in practice.task_gradient],
      "healthy", [round(value, 2) for value in health.task_gradient])  # fmt: skip

# %% [markdown]
# The gates of a token do not sum to one, although k is 2 or 4. So nobody divided them by their sum.
# Does that explain the rest? Smaller gates make a quieter mixture: panel 8. They pass on another
# gradient of the task for k = 2 and 4, and the same one at k = 1: panel 3. The load takes another
# way and is even all the same. Nothing is left over.
#
# **A diagnosis has to explain every panel that differs, and predict no difference where there is
# none.** "A cut gradient" would explain panel 3 in part and is out, as the gradient is not 0.
# Dropout would make it quieter and is out, as two evaluations agree.
#
# These are the words for a diagnosis. There are more of them than patients:

# %%
clinic.vocabulary()

# %% [markdown]
# Two pairs are easily mixed up. *loss-not-added* and *loss-detached* both leave the router without
# a balancing gradient: the first forgets a sound loss, the second adds a number that has no
# gradient to begin with. And *noise* and *dropout* both answer otherwise the second time. Which
# panel tells the two of a pair apart? One question on the first pair:

# %%
check("6.q8", ...)

# %% [markdown]
# ## The ward
#
# Twelve patients, four to a sheet, with all panels on the same scales. A number is written only
# where a patient leaves the diamonds. Write down a word for each letter before you go on.
# `clinic.show("A")` draws one of them as large as above.

# %%
clinic.compare("ABCD")

# %%
clinic.compare("EFGH")

# %%
clinic.compare("IJKL")

# %% [markdown]
# The findings as numbers, if you prefer to read them:

# %%
clinic.table()

# %% [markdown]
# ## How far does the usual plot get?
#
# Now count. An uneven load is one whose busiest expert ends more than 65 % above the fair share;
# the healthy layer stays far below, for every seed that we tried.

# %% tags=["nbval-check-output"]
charts = {case: clinic.examined(case) for case in clinic.cases()}
uneven = [case for case, chart in charts.items() if chart.violation > 0.65]
print(f"{len(uneven)} of {len(charts)} patients have an uneven load")
assert len(uneven) == 3

# %% [markdown]
# Three stand out, with three different faults behind one and the same plot. Of the other nine eight
# are ill: they train, they balance, and they are wrong. So what would you add to the log? Count how
# many patients leave the healthy finding in each panel.


# %%
def differs(chart, panel: str) -> bool:
    """Whether a patient's finding is plainly another one than in health."""
    found, sound = (np.array(getattr(each, panel), dtype=float) for each in (chart, health))
    return bool((abs(found - sound) > 0.02 * np.maximum(1, abs(sound))).any())


PANELS = {
    "2 loss it logs": ("even", "crowd", "second"),
    "3 router's gradient": ("task_gradient", "own_gradient", "arriving"),
    "4 gates": ("gate_sums", "gate_moves"),
    "5 bias": ("bias_step",),
    "6 evaluated twice": ("other_experts", "other_output"),
    "7 alone or in a batch": ("company",),
    "8 output / input": ("speaking", "silent"),
}

# %% tags=["nbval-check-output"]
found = {
    panel: [case for case, chart in charts.items() if any(differs(chart, key) for key in keys)]
    for panel, keys in PANELS.items()
}
for panel, seen in found.items():
    print(f"{panel:22} {len(seen):2} of 12")
missed = set(charts) - {case for seen in found.values() for case in seen}
print(f"in none of these panels: {len(missed)} patients, though one alone is healthy")

# %% [markdown]
# (Which ones, the charts say; exercise 6.5 asks for the letters.) Panel 5 found nobody. The changes
# there are of the size of the bias rate, 0.0002, and `differs` asks for 0.02: a threshold that fits
# one quantity hides another. On its own scale:

# %% tags=["nbval-check-output"]
still = [case for case, chart in charts.items() if chart.bias_step != health.bias_step]
print(f"5 bias, on its own scale: {len(still)} of 12")
sound = missed - set(still)
assert len(sound) == 1, "one healthy patient, and every ill one is seen somewhere"
print(f"PASS: {len(charts) - len(sound)} of 12 show themselves outside the load plot, one does not")

# %% [markdown]
# **What to see.** The router's gradients, which hardly anybody logs, find most: seven. Every other
# panel finds one to three. All together find every one, and each takes a few lines.
#
# ## Control: the same ward, another seed
#
# A chart of one seed may show an accident. Examine everybody again with other weights and other
# tokens. If the clinic is sound, the same patients leave health in the same panels.

# %% tags=["nbval-check-output"]
again = {case: clinic.examined(case, seed=1) for case in clinic.cases()}
uneven_again = [case for case, chart in again.items() if chart.violation > 0.65]
assert uneven_again == uneven
assert [c for c, chart in again.items() if max(chart.gate_moves) > 1e-5] == [
    c for c, chart in charts.items() if max(chart.gate_moves) > 1e-5
]
print("PASS: the same loads are uneven and the same gates move, with another seed")

# %% [markdown]
# And the control that must fail: an examination that looks at the falling loss alone. Here are all
# twenty set-ups of the vocabulary, the nineteen faults and the healthy one.

# %% tags=["nbval-check-output"]
from moe_teach.chapters.ch06_load_balancing.clinic.examination import task_losses
from moe_teach.chapters.ch06_load_balancing.clinic.faults import FAULTS

left = {}
for word, fault in FAULTS.items():
    losses = task_losses(fault)
    left[word] = losses[-1] / losses[0]
assert max(left.values()) < 0.35
below = sum(share < left["healthy"] for share in left.values())
print(f"PASS: the task's loss falls by 65 % and more in all {len(left)} set-ups")
assert below > 1  # how many depends on how a processor rounds
print("and in some of them further than in the healthy one")

# %% [markdown]
# A falling loss tells nobody ill. Some faults even help it in this toy: an expert nobody asked for
# is more parameters. That is how such code lives for years.

# %% [markdown]
# ## What could be wrong with these results
#
# - The clinic is kinder than life. Its patients have one fault each, they are tiny, and a healthy
#   twin lies beside them. With two faults a panel may look healthy because they cancel.
# - You know that eleven of twelve are ill. Nobody tells you that about your own layer.
# - The faults were chosen because each shows itself in some panel. What no panel shows is not in
#   the ward: a wrong learning rate of the router, for example, or tokens that were never shuffled.
# - "Uneven" means more than 65 % above the fair share after 50 steps. In a longer training the
#   faults of the loss may show later, or the bias may cover them up.
# - The issues that we cite were found by their users, mostly after a training. How many were not
#   found, nobody knows.
#
# ## Check yourself

# %%
check("6.q9", ...)

# %% [markdown]
# ## What you take with you
#
# - A falling loss and an even load are compatible with most of these mistakes.
# - Ask for what you know beforehand: 1 for even routing at every k; equal gradients for what is
#   logged and what arrives; no change under a common bias; the same answer twice, alone and in a
#   batch; nothing out of silent experts.
# - A diagnosis explains every difference and predicts no other. One observation is seldom enough.
#
# Hand in your twelve diagnoses in exercise 6.5: a wrong one is answered with an observation that
# speaks against it. In exercise 6.6 you repair a patient. Afterwards the sources of the faults are
# worth reading, with the projects in which they were found:
# `moe_teach/chapters/ch06_load_balancing/clinic/loss_faults.py` and `layer_faults.py`. The issues:
# [minimind 140](https://github.com/jingyaogong/minimind/issues/140),
# [vLLM 12002](https://github.com/vllm-project/vllm/issues/12002),
# [transformers 41647](https://github.com/huggingface/transformers/issues/41647).
