"""Set-ups whose balancing is sound and whose forward pass is not.

Do not read on before you have made your diagnoses: every class names its fault. The citations say
where such a fault was reported or seen; no code comes from there.
"""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.chapters.ch06_load_balancing.clinic.set_up import D_FF, D_MODEL, SetUp, WardLayer
from moe_teach.config import RouterConfig
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.types import Routing


class ConstantGate(SetUp):
    """Softmax after top-k at every k, 1 included (nanoMoE allows it; lmdeploy, issue 3030)."""

    def router_config(self) -> RouterConfig:
        """Take the softmax over the chosen logits."""
        return replace(super().router_config(), topk_first=True)


class GatesNotNormalised(SetUp):
    """The gates stay raw where the configuration says otherwise."""

    def router_config(self) -> RouterConfig:
        """Never divide by the sum."""
        return replace(super().router_config(), normalize_gates=False)


class CutOff(SetUp):
    """The gates are detached on their way to the mixture (chapter 03 has the same patient)."""

    class _Router(Router):
        def forward(self, x: Tensor, token_ids: Tensor | None = None) -> Routing:
            routing = super().forward(x, token_ids)
            return replace(routing, gates=routing.gates.detach())

    router_class = _Router


class BiasInGates(SetUp):
    """The gates are read where the bias was added (vLLM 12002; transformers 41647)."""

    class _Router(Router):
        def forward(self, x: Tensor, token_ids: Tensor | None = None) -> Routing:
            routing = super().forward(x, token_ids)
            gates = (routing.probs + self.expert_bias).gather(-1, routing.expert_ids)
            if self.config.normalize_gates:
                gates = gates / gates.sum(dim=-1, keepdim=True)
            return replace(routing, gates=gates)

    router_class = _Router


class NoiseAtEvaluation(SetUp):
    """The router's noise does not ask which mode it is in (makeMoE)."""

    class _Router(Router):
        def train(self, mode: bool = True) -> "NoiseAtEvaluation._Router":
            return super().train(True)

    router_class = _Router


class DropoutAtEvaluation(SetUp):
    """Dropout on the layer's output that nobody switches off: an old mistake of every network."""

    class _Layer(WardLayer):
        def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
            y, routing = super().forward(x)
            return F.dropout(y, 0.1, training=True), routing

    layer_class = _Layer


class ResidualTwice(SetUp):
    """Layer and block both add the input (DeepSeek-From-Scratch, chapter 4)."""

    class _Layer(WardLayer):
        def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
            y, routing = super().forward(x)
            return x + y, routing

    layer_class = _Layer


class UnaskedSharedExpert(SetUp):
    """A shared expert is on although the configuration has none."""

    def shared_expert(self) -> nn.Module:
        """Add one more expert for everybody."""
        return FeedForward(D_MODEL, D_FF, "swiglu")


class CapacityAtEvaluation(SetUp):
    """Tokens compete for places in evaluation too (makeMoE, part 2; compare Tutel, issue 230)."""

    layer_class = MoE


class ExpertsChoose(SetUp):
    """The experts choose their tokens, so the whole batch is looked at (OLMoE, issue 46)."""

    def router_config(self) -> RouterConfig:
        """Turn the choice round."""
        return replace(super().router_config(), choice="expert")
