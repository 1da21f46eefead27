"""What a configuration costs: parameters, FLOPs, bytes and money. Needs no torch.

Convention, everywhere: the *active* count takes top_k / n_experts of the routed experts and all
the rest. With `input_embedding=False` it leaves out the input table, of which a token reads one
row; a tied table stays in, because it is also the output matrix. With `output_head=False` as well
it is "non-embedding". Published numbers use all three, and seldom say which.

Units are in the names (`_bytes`, `_flops`, `usd`).
"""

from moe_teach.cost.compute import forward_flops, training_flops
from moe_teach.cost.memory import (
    BITS_PER_PARAMETER,
    bytes_per_decode_step,
    bytes_per_parameter,
    expected_distinct_experts,
    kv_cache_bytes_per_token,
    weight_bytes,
)
from moe_teach.cost.money import (
    Machine,
    break_even_hours,
    break_even_million_tokens,
    decode_step_seconds,
    decode_tokens_per_second,
    usd_per_million_tokens,
)
from moe_teach.cost.offload import (
    distinct_experts_of,
    expert_bytes,
    experts_that_fit,
    fetched_bytes_per_step,
    offloaded_step_seconds,
    resident_bytes,
)
from moe_teach.cost.params import (
    ParamCount,
    active_share,
    count_params,
    n_params_active,
    n_params_total,
    shared_share,
)
from moe_teach.cost.plan import Plan, Workload, plan

__all__ = [
    "BITS_PER_PARAMETER",
    "Machine",
    "ParamCount",
    "Plan",
    "Workload",
    "active_share",
    "break_even_hours",
    "break_even_million_tokens",
    "bytes_per_decode_step",
    "bytes_per_parameter",
    "count_params",
    "decode_step_seconds",
    "decode_tokens_per_second",
    "distinct_experts_of",
    "expected_distinct_experts",
    "expert_bytes",
    "experts_that_fit",
    "fetched_bytes_per_step",
    "forward_flops",
    "kv_cache_bytes_per_token",
    "n_params_active",
    "n_params_total",
    "offloaded_step_seconds",
    "plan",
    "resident_bytes",
    "shared_share",
    "training_flops",
    "usd_per_million_tokens",
    "weight_bytes",
]
