"""Sparse upcycling: a trained dense model becomes an MoE that answers the same, and then parts.

Komatsuzaki et al. 2022 (arXiv 2212.05055): every expert starts as a copy of the dense feed-forward
and the router is new. A layer of equal copies answers as the dense one did, times the sum of the
gates of the token:

    sum over k of gates[t, k] * f(x[t]) = f(x[t]) * sum over k of gates[t, k]

Normalised gates sum to 1, and step 0 of the MoE is the last step of the dense model. Raw gates sum
to less, with top-1 and a new router to little more than 1 / E: the layer's answer shrinks by as
much, and the loss jumps. With top-1, though, a normalised gate is always 1, and no loss can teach
the router; so take two experts a token or more. At step 0 it learns nothing there either, because
it does not matter which of equal copies is asked; the copies part first, since each learns from
its own tokens, unless noise has parted them before.
"""

from dataclasses import replace

import torch
from torch import Tensor

from moe_teach.config import ModelConfig, MoEConfig, RouterConfig, refuse
from moe_teach.nn.feed_forward import DenseFFN
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


@torch.no_grad()
def upcycle(
    dense: Model,
    n_experts: int,
    top_k: int,
    *,
    noise: float = 0.0,
    normalize_gates: bool = True,
    seed: int = 0,
) -> Model:
    """Return a new MoE with copies of a dense model's feed-forwards as experts.

    Args:
        dense: stays as it is. Each of its layers gets experts; all else is copied.
        n_experts: copies in each layer (E).
        top_k: experts of a token (K). Each is as wide as the dense layer was, so the new model
            computes K times as much in its feed-forwards.
        noise: how far the copies are from each other at the start: normal noise of this many
            standard deviations of each matrix. At 0 they are equal, and part by what the router
            sends them.
        normalize_gates: whether the gates of a token sum to 1. With False, they are the raw
            probabilities, and the answer changes at once.
        seed: of the router and the noise.

    Raises:
        ValueError: the model has experts already, or the numbers make no router.
    """
    refuse(dense.config.moe is not None, "This model has experts already: upcycle a dense one.")
    refuse(noise < 0, f"The noise is a share of a standard deviation, and {noise} is below 0.")
    router = RouterConfig(n_experts=n_experts, top_k=top_k, normalize_gates=normalize_gates)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(_with_experts(dense.config, router))
    model.to(next(dense.parameters()).dtype)
    drawn = torch.Generator().manual_seed(seed)
    rest = {name: tensor for name, tensor in dense.state_dict().items() if ".ffn." not in name}
    model.load_state_dict(rest, strict=False)
    for there, here in zip(dense.blocks, model.blocks, strict=True):
        _copy(there.ffn, here.ffn, noise, drawn)
    return model.to(next(dense.parameters()).device).train(dense.training)


def _with_experts(config: ModelConfig, router: RouterConfig) -> ModelConfig:
    moe = MoEConfig(router=router, d_ff=config.d_ff_dense, activation=config.activation)
    return replace(config, moe=moe, n_dense_layers=0, moe_every=1)


def _copy(dense: DenseFFN, moe: MoE, noise: float, drawn: torch.Generator) -> None:
    for name, experts in moe.experts.named_parameters():
        matrix: Tensor = dense.get_parameter(f"{name}.weight")
        experts.copy_(matrix)  # to every expert
        if noise:
            spread = noise * matrix.float().std()
            experts += (spread * torch.randn(experts.shape, generator=drawn)).to(experts)
