# %% [markdown]
# # 15 Serving
#
# **Claim: x.**
