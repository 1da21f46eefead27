"""What an engine rounds besides the weights: the rows that meet them.

llama.cpp multiplies whole numbers with whole numbers. So it rounds the input of every product with
quantised weights to 8 bits, in the same blocks of 32 (with weights in BF16 or F16, to those). This
is the difference between a model with rounded weights and the file of the same weights in
llama.cpp; `with_rounded_inputs` makes it here too, so that nothing of it remains unexplained.
"""

import copy

import torch
from torch import Tensor, nn

from moe_teach.deploy.quantise.plans import moe_layers
from moe_teach.nn.experts import Experts
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.ops.activation import activate
from moe_teach.ops.quantise import Kind, dequantise, kind_named, quantise

_AS_THEY_ARE = ("F32", "F16", "BF16")


def with_rounded_inputs(model: Model, kind: Kind | str) -> Model:
    """Return a copy of a model whose experts' inputs are rounded as llama.cpp would round them.

    Args:
        model: with weights that are rounded to `kind` already.
        kind: of the experts' weights.
    """
    name = kind_named(kind).name
    inputs = name if name in _AS_THEY_ARE else "Q8_0"
    changed = copy.deepcopy(model)
    for place, ffn in list(moe_layers(changed)):
        experts = _RoundedInputs(ffn.experts, kind_named(inputs))
        parent, _, leaf = place.rpartition(".")
        layer = MoE(ffn.router, experts, ffn.shared_expert, ffn.capacity_factor, ffn.drop_policy)
        setattr(changed.get_submodule(parent), leaf, layer)
    return changed.train(model.training)


class _RoundedInputs(nn.Module):
    """Experts that round what they are given, and what they make of it on the way."""

    def __init__(self, experts: Experts, kind: Kind) -> None:
        super().__init__()
        self.experts = experts
        self.kind = kind

    def forward(self, rows: Tensor, expert_offsets: Tensor) -> Tensor:
        """Run each expert on its own slice of rows (N, D), which ends at `expert_offsets[e]`."""
        weights = self.experts.weights
        outputs, start = [], 0
        for expert, end in enumerate(expert_offsets.tolist()):
            x = self._rounded(rows[start:end])
            gate = None if weights.w_gate is None else x @ weights.w_gate[expert].T
            inner = activate(x @ weights.w_up[expert].T, gate, self.experts.activation)
            outputs.append(self._rounded(inner) @ weights.w_down[expert].T)
            start = end
        return torch.cat(outputs)

    def _rounded(self, rows: Tensor) -> Tensor:
        return dequantise(quantise(rows, self.kind)).to(rows.dtype)
