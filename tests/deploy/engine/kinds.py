"""Every kind of layer that the engine may meet."""

from dataclasses import replace

import torch

from tests.deploy.engine.tiny import ATTENTION

KINDS = {
    "norm-per-head": {"attention": replace(ATTENTION, qk_norm="head")},
    "norm-over-all-heads": {"attention": replace(ATTENTION, qk_norm="full")},
    "with-bias": {"attention": replace(ATTENTION, bias=True)},
    "one-key-head": {"attention": replace(ATTENTION, n_kv_heads=1)},
    "one-dense-layer": {"n_dense_layers": 1},
    "all-layers-dense": {"n_dense_layers": 2},
    "gelu": {"activation": "gelu"},
    "relu": {"activation": "relu"},
    "one-expert": {"n_experts": 1, "top_k": 1},
    "sigmoid-and-groups": {
        "n_experts": 6, "score_fn": "sigmoid", "n_groups": 3, "top_groups": 2, "gate_scale": 2.5
    },
    "mixtral": {"topk_first": True},
    "raw-gates": {"normalize_gates": False},
    "shared-expert": {"n_shared_experts": 1},
    "noisy": {"noisy": True, "jitter": 0.2},
    "with-a-capacity": {"capacity_factor": 0.3},
    "capacity-in-each-sequence": {"capacity": 1},
    "biased-experts": {"bias": True},
    "bounded": {"swiglu_limit": 0.3, "swiglu_shift": 1.0},
    "geglu": {"activation": "geglu"},
    "gates-on-inputs": {"gates_on": "input"},
    "experts-that-give-back": {"n_identity_experts": 2},
    "table": {"choice": "table", "table_size": 29},
}  # fmt: skip


def randomised(model):
    """Take biases, norms and selection biases off their start."""
    generator = torch.Generator().manual_seed(1)
    tensors = [p for name, p in model.named_parameters() if p.dim() == 1 or ".b_" in name]
    tensors += [b for name, b in model.named_buffers() if "expert_bias" in name]
    for tensor in tensors:
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        tensor.data += 0.1 * noise
    return model
