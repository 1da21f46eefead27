# %% [markdown]
# # 08 Real models
#
# **Claim: x.**

# %%
from moe_teach.course import check

# %%
check("8.q1", ...)

# %%
check("8.q2", ...)

# %%
check("8.q3", ...)

# %%
check("8.q4", ...)
