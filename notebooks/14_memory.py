# %% [markdown]
# # 14 Memory
#
# Claim.

# %%
from moe_teach.course import check

# %%
check("14.q1", ...)
