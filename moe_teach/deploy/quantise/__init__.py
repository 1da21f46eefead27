"""Models of few bits: which weights are rounded how, what it costs, and whom it hurts.

Only weights are rounded, and in the kinds that llama.cpp opens (`moe_teach.ops.quantise`); what is
decided about them is a plan (`plans`), what becomes of the answers a divergence (`divergence`).

    plan = expert_plan(model, "Q4_0")
    small = rounded(model, plan)                       # computes as the model would in few bits
    found = diverge(small, reference(model, batches))  # loss and KL, window by window

The file of the same bits: `moe_teach.checkpoint.gguf.export.export_gguf(expert_type="Q4_0")`.
"""
