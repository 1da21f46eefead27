"""Chapter 03: plausible wrong answers, each with what it must be told, and other right ones."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from moe_teach.course.answers._ch03_measures import (  # noqa: F401 - found by name
    by_looking_each_expert_up,
    by_python_sets,
    by_python_sorting,
    calls_a_dead_router_not_a_number,
    compares_positions,
    compares_sums,
    counts_the_unchanged,
    forgets_the_empty_batch,
    forgets_the_root,
    in_float64_with_a_padded_column,
    keeps_a_column_of_margins,
    leaves_its_flag_behind,
    lets_gradients_pile_up,
    margin_inside_the_chosen,
    pushes_ties_apart,
    returns_a_tensor,
    trusts_topk,
    with_a_dense_matrix_in_float64,
    with_backward_on_a_parameter,
    zero_when_nobody_is_left_out,
)
from moe_teach.course.answers._ch03_slips import (  # noqa: F401 - found by name
    asks_the_dead,
    computes_in_float64,
    counts_instead_of_sharing,
    gates_from_clean_logits,
    probabilities_of_all,
    reads_past_the_end,
    scores_by_softmax,
    seeds_by_itself,
)
from moe_teach.judging.exercise import right, wrong

# --- 3.1 topk_route ---------------------------------------------------------------------------


@wrong("3.1", stage="shape", says="values first and indices second")
def swaps_the_results(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(-1).topk(top_k)
    return ids, gates


@wrong("3.1", stage="shape", says="`gates` needs one row per token")
def keeps_every_gate(logits, top_k, normalize_gates=True):
    probs = logits.float().softmax(-1)
    return probs, probs.topk(top_k).indices


@wrong("3.1", stage="choice", says="not the k most probable")
def softmax_over_the_tokens(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(0).topk(top_k)
    return gates, ids


@wrong("3.1", stage="raw gates", says="among *all* experts")
def always_softmax_after_topk(logits, top_k, normalize_gates=True):
    chosen, ids = logits.float().topk(top_k)
    return chosen.softmax(-1), ids


@wrong("3.1", stage="normalised gates", says="Renormalise them")
def forgets_to_renormalise(logits, top_k, normalize_gates=True):
    return logits.float().softmax(-1).topk(top_k)


@wrong("3.1", stage="normalised gates", says="applied twice")
def renormalises_by_a_second_softmax(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(-1).topk(top_k)
    return (gates.softmax(-1) if normalize_gates else gates), ids


@wrong("3.1", stage="float32", says="before the softmax")
def scores_in_low_precision(logits, top_k, normalize_gates=True):
    gates, ids = logits.softmax(-1).topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if normalize_gates else gates).float(), ids


@wrong("3.1", stage="gradient", says="could never learn")
def cuts_the_gradient(logits, top_k, normalize_gates=True):
    with torch.no_grad():
        return _by_sorting(logits, top_k, normalize_gates)


def _by_sorting(logits: Tensor, top_k: int, normalize: bool) -> tuple[Tensor, Tensor]:
    ids = logits.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
    if normalize:
        return logits.float().gather(-1, ids).softmax(-1), ids
    return logits.float().softmax(-1).gather(-1, ids), ids


@right("3.1")
def by_sorting_the_logits(logits, top_k, normalize_gates=True):
    return _by_sorting(logits, top_k, normalize_gates)


@right("3.1")
def by_repeated_argmax_with_small_ids(logits, top_k, normalize_gates=True):
    probs = logits.to(torch.float32).softmax(-1)
    left, picks = probs.clone(), []
    for _ in range(top_k):
        best = left.argmax(-1, keepdim=True)
        left = left.scatter(-1, best, -1.0)
        picks.append(best)
    ids = torch.cat(picks, dim=-1)
    gates = torch.take_along_dim(probs, ids, dim=-1)
    return (gates / gates.sum(-1)[:, None] if normalize_gates else gates), ids.int()


# --- 3.2 noisy_topk_route ---------------------------------------------------------------------


def _noisy(logits, noise, top_k):
    chosen, ids = (logits + noise).topk(top_k)
    return chosen.softmax(-1), ids


@wrong("3.2", stage="evaluation", says="no noise at all")
def noise_in_evaluation_too(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator)
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@wrong("3.2", stage="repeatable", says="Hand `generator` on")
def ignores_the_generator(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn_like(logits) * softplus(noise_logits) * training
    return _noisy(logits, noise, top_k)


@wrong("3.2", stage="repeatable", says="no noise reaches them")
def clean_gates_of_a_noisy_choice(logits, noise_logits, top_k, training, generator=None):
    if not training:
        return _noisy(logits, 0.0, top_k)
    gates = _noisy(logits, 0.0, top_k)[0]
    return gates, (logits + torch.randn(logits.shape, generator=generator)).topk(top_k).indices


@wrong("3.2", stage="a draw for each", says="the choice was made on the clean logits")
def noisy_gates_of_a_clean_choice(logits, noise_logits, top_k, training, generator=None):
    ids = logits.topk(top_k).indices
    if training:
        noise = torch.randn(logits.shape, generator=generator)
        logits = logits + noise * softplus(noise_logits)
    return logits.gather(-1, ids).softmax(-1), ids


@wrong("3.2", stage="a draw for each", says="Every token met the same noise")
def one_draw_per_expert(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape[1:], generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@wrong("3.2", stage="size", says="not a uniform number")
def uniform_noise(logits, noise_logits, top_k, training, generator=None):
    noise = torch.rand(logits.shape, generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@wrong("3.2", stage="size", says="wrong size")
def forgets_softplus(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator) * training
    return _noisy(logits, noise * noise_logits, top_k)


@right("3.2")
def with_torch_normal(logits, noise_logits, top_k, training, generator=None):
    if training:
        logits = torch.normal(logits, (1 + noise_logits.exp()).log(), generator=generator)
    ids = logits.argsort(-1, descending=True)[:, :top_k]
    return logits.gather(-1, ids).softmax(-1), ids


@right("3.2")
def by_masking_with_minus_infinity(logits, noise_logits, top_k, training, generator=None):
    if training:
        noise = torch.empty(logits.shape, dtype=torch.float64).normal_(generator=generator)
        logits = logits + (noise * softplus(noise_logits.double())).to(logits.dtype)
    ids = logits.topk(top_k).indices
    masked = torch.full_like(logits, -torch.inf).scatter(-1, ids, logits.gather(-1, ids))
    return masked.softmax(-1).gather(-1, ids), ids


# --- 3.3 sigmoid_route ------------------------------------------------------------------------


@wrong("3.3", stage="choice", says="the one without any bias")
def ignores_the_bias(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = logits.sigmoid().topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@wrong("3.3", stage="choice", says="before the sigmoid")
def bias_inside_the_sigmoid(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = (logits + expert_bias).sigmoid().topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@wrong("3.3", stage="gates", says="the bias leaked in")
def bias_in_the_gates(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = (logits.sigmoid() + expert_bias).topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@wrong("3.3", stage="gates", says="do not do that by themselves")
def forgets_to_normalise(logits, expert_bias, top_k, gate_scale=1.0):
    ids = (logits.sigmoid() + expert_bias).topk(top_k).indices
    return gate_scale * logits.sigmoid().gather(-1, ids), ids


@wrong("3.3", stage="scale", says="Before the division it would cancel")
def scales_before_normalising(logits, expert_bias, top_k, gate_scale=1.0):
    ids = (logits.sigmoid() + expert_bias).topk(top_k).indices
    gates = gate_scale * logits.sigmoid().gather(-1, ids)
    return gates / gates.sum(-1, keepdim=True), ids


@right("3.3")
def with_the_exponential_written_out(logits, expert_bias, top_k, gate_scale=1.0):
    probs = 1 / (1 + torch.exp(-logits.double()))
    ids = (probs + expert_bias).argsort(dim=-1, descending=True, stable=True)[:, :top_k]
    gates = torch.take_along_dim(probs, ids, dim=-1)
    return gate_scale * gates / gates.sum(-1)[:, None], ids


@right("3.3")
def in_log_space(logits, expert_bias, top_k, gate_scale=1.0):
    log_probs = torch.nn.functional.logsigmoid(logits)
    ids = (log_probs.exp() + expert_bias[None]).topk(top_k).indices
    return log_probs.gather(-1, ids).softmax(-1) * gate_scale, ids
