"""The plain router: logits, probabilities, choice and gates; one contract, two implementations.

    logits = x @ weight.T        probs = softmax(logits) or sigmoid(logits)
    expert_ids = the top_k of probs + expert_bias        gates = probs at expert_ids

"Ranking" is what experts are chosen by (probabilities plus bias); gates are always read from the
probabilities themselves. A router with noise or groups, or one in which experts choose their
tokens, composes these functions with those of `moe_teach.ops.route.variants`.

**A logit of minus infinity closes its expert to the token**, as in a mask: its probability is 0,
and so is its gate where it is chosen all the same. Plus infinity, NaN and a token to whom every
expert is closed are refused.
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import RouterConfig, ScoreFn
from moe_teach.ops.demand import demand_rows
from moe_teach.ops.operation import Kernel, Operation, kernels_serve
from moe_teach.ops.route.gates import gates_of
from moe_teach.types import Routing

Backend = Literal["reference", "triton"]
ROUTER_INPUT = "The router's input"
MOST_ROUTED_EXPERTS = 512
"""How many experts the kernel can choose from: their weights have to fit in shared memory."""
_FEW = 1024  # numbers that are sorted as fast as searched, measured on one core


def route(
    x: Float[Tensor, "T D"],
    weight: Float[Tensor, "E D"],
    expert_bias: Float[Tensor, " E"] | None,
    config: RouterConfig,
    *,
    backend: Backend | None = None,
) -> Routing:
    """Score every expert for every token, at least in float32, and choose the best.

    Args:
        x: one row per token.
        weight: one row per expert, as in `nn.Linear`.
        expert_bias: added to the probabilities for the choice, never for the gates.
        config: how to score, choose and weigh; its noise is not made here.
        backend: "reference" (the definition) or "triton" (one kernel, or two where there are few
            tokens and much weight); by default the kernel on a GPU.

    Returns:
        The decision, differentiable in `x` and `weight`. Broken logits are refused, but on a GPU
        the kernel does not wait to look at them: the gates of such a token are NaN, and its
        experts are the first ones.

    Raises:
        ValueError: if shapes do not fit, or logits are broken: NaN, plus infinity, or nothing but
            minus infinity.
    """
    demand_rows(x, ROUTER_INPUT, weight.shape[-1])
    if config.top_k > len(weight):
        raise ValueError(f"top_k is {config.top_k}, but weight scores only {len(weight)} experts.")
    if not is_plain(config):
        raise ValueError(
            "route() knows tokens that choose freely, by softmax or sigmoid, and gates divided by "
            "their sum or by nothing. For groups, tables, experts that choose, other scores and "
            "norms, and biases of the router use a Router."
        )
    return ROUTE(x, weight, expert_bias, config, backend=backend)


def is_plain(config: RouterConfig) -> bool:
    """Tell whether tokens choose freely among all experts, in a way that the kernels know."""
    is_free = config.choice == "token" and config.n_groups == 1 and not config.bias
    is_summed = config.norm_order == 1 and config.norm_floor == 0
    return is_free and is_summed and config.score_fn != "sqrt_softplus"


def route_reference(
    x: Tensor, weight: Tensor, expert_bias: Tensor | None, config: RouterConfig
) -> Routing:
    """Compute logits, then probabilities, then the choice, then the gates."""
    logits = precise_logits(x, weight)
    probs = score_of(logits, config.score_fn)
    ranking = probs if expert_bias is None else probs + expert_bias
    if torch.compiler.is_dynamo_compiling():
        expert_ids = _decided_in_graph(logits, ranking, config.top_k, config.score_fn)
    else:
        demand_decidable(logits, ranking, config.score_fn)
        expert_ids = top_experts(ranking, config.top_k)
    return Routing(logits, probs, gates_of(config, logits, probs, expert_ids), expert_ids)


def precise_logits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x @ weight.T + bias at least in float32, also where autocast asks for less.

    Rounding can swap two experts of nearly equal score, so bfloat16 is not enough here.
    """
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return precise_logits(x, weight, bias)
    precise = torch.promote_types(x.dtype, torch.float32)
    bias = None if bias is None else bias.to(precise)
    return F.linear(x.to(precise), weight.to(precise), bias)


def score(logits: Float[Tensor, "T E"], score_fn: ScoreFn = "softmax") -> Float[Tensor, "T E"]:
    """Turn logits into probabilities: experts compete (softmax) or stand alone (the others).

    The result is at least float32, because rounding can swap two experts of nearly equal
    probability. In a compiled graph nobody looks at the numbers: a broken token gets NaN.

    Raises:
        ValueError: if the largest logit of a token is not a finite number.
    """
    probs = score_of(logits, score_fn)
    if torch.compiler.is_dynamo_compiling():
        is_broken = ~logits.amax(dim=-1, keepdim=True).isfinite()
        return probs.masked_fill(is_broken, torch.nan)
    demand_decidable(logits, probs, score_fn)
    return probs


def score_of(logits: Tensor, score_fn: str) -> Tensor:
    """Turn logits into probabilities as `score` does, and look at nothing."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    match score_fn:
        case "softmax":
            return precise.softmax(dim=-1)
        case "sigmoid":
            return precise.sigmoid()
        case "sqrt_softplus":
            # At 0 the slope of a square root is infinite.
            return F.softplus(precise).clamp_min(torch.finfo(precise.dtype).tiny).sqrt()
    raise ValueError(f"Unknown score_fn {score_fn!r}: choose one of {get_args(ScoreFn)}.")


def demand_decidable(logits: Tensor, ranking: Tensor, score_fn: str) -> None:
    """Refuse numbers with which nothing can be decided; costs one look where all is well.

    Raises:
        ValueError: if the largest logit of a token is not a finite number, or a rank is NaN.
    """
    # A softmax is NaN exactly where the largest logit is no finite number; a sigmoid hides it.
    is_well = not math.isnan(ranking.sum().item())
    if is_well and (score_fn == "softmax" or math.isfinite(logits.amax(dim=-1).sum().item())):
        return
    if broken := int((~logits.amax(dim=-1).isfinite()).sum()):
        raise ValueError(
            f"The router logits of {broken} of {len(logits)} tokens are NaN or infinite (minus "
            "infinity closes an expert, but not all of them): look for an overflow or a division "
            "by zero before the router."
        )
    if ranking.isnan().any():
        raise ValueError("expert_bias holds NaN: set it to numbers, or to zeros to start again.")


def top_experts(ranking: Float[Tensor, "T E"], top_k: int) -> Int[Tensor, "T K"]:
    """Choose the k best experts of each token, best first; at a tie the lowest id wins.

    `torch.topk` promises nothing about ties, so two machines could disagree: where there is one,
    a stable sort decides. For many tokens that takes several times as long; for a few it is the
    shorter way, and nobody looks for ties.
    """
    n_experts = ranking.shape[-1]
    if not 1 <= top_k <= n_experts:
        raise ValueError(
            f"top_k is {top_k}, but it must lie between 1 and the number of experts, {n_experts}."
        )
    if torch.compiler.is_dynamo_compiling():
        return _decided_in_graph(ranking, ranking, top_k, "softmax")
    return _best(ranking, top_k)


@torch.library.custom_op("moe_teach::top_experts", mutates_args=())
def _decided_in_graph(logits: Tensor, ranking: Tensor, top_k: int, score_fn: str) -> Tensor:
    # A compiled graph cannot look for NaN or ties on its way; this step of it can.
    demand_decidable(logits, ranking, score_fn)
    return _best(ranking, top_k).contiguous()


@_decided_in_graph.register_fake
def _shape_of_ids(logits: Tensor, ranking: Tensor, top_k: int, score_fn: str) -> Tensor:
    return ranking.new_empty(ranking.shape[0], top_k, dtype=torch.int64)


def _best(ranking: Tensor, top_k: int) -> Tensor:
    n_experts = ranking.shape[-1]
    if ranking.numel() > _FEW:
        values, expert_ids = ranking.topk(min(top_k + 1, n_experts), dim=-1)
        # A tie matters among the chosen, and between the last of them and the first that is not.
        if not bool((values[:, 1:] == values[:, :-1]).any()):
            return expert_ids[:, :top_k]
    return ranking.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]


def topk_gates(
    probs: Float[Tensor, "T E"],
    top_k: int,
    *,
    ranking: Float[Tensor, "T E"] | None = None,
    normalize: bool = True,
    scale: float = 1.0,
) -> tuple[Float[Tensor, "T K"], Int[Tensor, "T K"]]:
    """Choose by `ranking` (by `probs` when it is absent) and mix by `probs`.

    Returns:
        The gates and the ids of the chosen experts, best first.
    """
    expert_ids = top_experts(probs if ranking is None else ranking, top_k)
    sizes = {"n_experts": probs.shape[-1], "top_k": top_k}
    config = RouterConfig(**sizes, normalize_gates=normalize, gate_scale=scale)
    return gates_of(config, probs, probs, expert_ids), expert_ids


def _fitting(x: Tensor, weight: Tensor, *_: object) -> tuple[str, str]:
    """Choose a backend, and say why."""
    if kernels_serve(x) and kernels_serve(weight) and len(weight) <= MOST_ROUTED_EXPERTS:
        return "triton", "on a GPU one kernel replaces a dozen, and nobody waits for its choice"
    return "reference", "the functions of moe_teach.ops.route serve every device"


ROUTE = Operation(
    "route",
    {"reference": route_reference, "triton": Kernel("moe_teach.ops.route.fused:route_triton")},
    _fitting,
    in_graph=frozenset({"reference", "triton"}),
)
