"""Chapter 07: wrong answers to reject and other right ones to accept."""

import torch
from torch.nn.functional import one_hot

from moe_teach.course.answers._ch07_designs import (  # noqa: F401 - found by name
    adds_the_shared_on_top,
    by_factorials,
    by_multiplying_up,
    by_transposing_down,
    chooses_with_repetition,
    copies_the_whole,
    counts_lists,
    counts_shared_routes_too,
    deals_units_out_in_one_matrix_only,
    deals_units_out_like_cards,
    divides_with_a_slash,
    forgets_to_choose_more,
    forgets_to_turn_down_back,
    keeps_the_width,
    leaves_the_shared_in_the_pool,
    orders_one_matrix_by_part,
    refuses_negative_places_only,
    reshapes_all_three,
    returns_the_error,
    rounds_the_width_down,
    shares_out_the_output,
    stacks_by_part,
    swaps_gate_and_up,
    with_loops,
)
from moe_teach.course.answers._ch07_layers import (  # noqa: F401 - found by name
    AddsTheResidual,
    Averages,
    DetachesTheShared,
    ForgetsTheGates,
    ForgetsTheShared,
    FromTheLibrary,
    InARow,
    KeepsAllPlaces,
    OneModuleForEach,
    OneWidthForAll,
    ReturnsTheOutputOnly,
    RoutesToEverybody,
    SharedFirst,
    SharedInAList,
    StaysFlat,
    WithTheWholeComputation,
)
from moe_teach.course.answers._ch07_routes import (  # noqa: F401 - found by name
    always_adds_two,
    biases_the_logits,
    by_gathering_the_open_groups,
    closes_with_zero,
    deals_groups_out_like_cards,
    forgets_groups,
    forgets_the_bias,
    forgets_the_groups,
    forgets_to_normalise,
    in_log_space,
    normalises_over_all,
    one_sum_for_all_tokens,
    opens_the_same_groups_for_all,
    ranks_groups_by_all_of_them,
    ranks_groups_by_their_best,
    returns_positions_in_the_group,
    scales_too_early,
    scores_by_softmax,
    sorts_the_numbers,
    stays_in_bfloat16,
    subtracts_the_bias,
    token_by_token,
    unbiased_groups,
    weighs_with_the_bias,
    with_library_parts,
    with_the_library_mask,
    without_gradient,
    zero_closes_groups,
)
from moe_teach.course.exercise import right, wrong
from moe_teach.ops.losses import load_balance_loss
from moe_teach.ops.losses import sequence_balance_loss as library_loss
from moe_teach.types import Routing

# --- 7.6 sequence_balance_loss ------------------------------------------------------------------


def _load(expert_ids, n_experts):
    return one_hot(expert_ids, n_experts).sum((1, 2)) / expert_ids[0].numel()


def _shares(probs):
    return (probs / probs.sum(-1, keepdim=True)).mean(1)


@wrong("7.6", stage="a scalar", says="Average over the sequences")
def one_number_per_sequence(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * _shares(probs)).sum(-1)


@wrong("7.6", stage="one sequence", says="The factor E is missing")
def forgets_the_factor(probs, expert_ids):
    return (_load(expert_ids, probs.shape[-1]) * _shares(probs)).sum(-1).mean()


@wrong("7.6", stage="one sequence", says="K times too large")
def divides_by_tokens_only(probs, expert_ids):
    n = probs.shape[-1]
    load = one_hot(expert_ids, n).sum((1, 2)) / expert_ids.shape[1]
    return n * (load * _shares(probs)).sum(-1).mean()


@wrong("7.6", stage="one sequence", says="Only the first choice")
def counts_the_first_choice(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids[..., :1], n) * _shares(probs)).sum(-1).mean()


@wrong("7.6", stage="one sequence", says="Average both over the sequence first")
def multiplies_token_by_token(probs, expert_ids):
    n = probs.shape[-1]
    chosen = one_hot(expert_ids, n).float().mean(2)
    return n * (chosen * probs / probs.sum(-1, keepdim=True)).sum(-1).mean()


@wrong("7.6", stage="one sequence", says="these are counts")
def forgets_to_divide_the_counts(probs, expert_ids):
    n = probs.shape[-1]
    return n * (one_hot(expert_ids, n).sum((1, 2)) * _shares(probs)).sum(-1).mean()


@wrong("7.6", stage="several sequences", says="the loss of the whole batch")
def pools_the_batch(probs, expert_ids):
    n = probs.shape[-1]
    flat = probs.flatten(0, 1), expert_ids.flatten(0, 1)
    load = one_hot(flat[1], n).sum((0, 1)) / flat[1].numel()
    return n * (load * (flat[0] / flat[0].sum(-1, keepdim=True)).mean(0)).sum()


@wrong("7.6", stage="several sequences", says="is their *mean*")
def adds_the_sequences_up(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * _shares(probs)).sum()


@wrong("7.6", stage="sigmoid scores", says="scoring everybody low")
def trusts_the_scores(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * probs.mean(1)).sum(-1).mean()


@wrong("7.6", stage="gradient", says="can change nothing")
def counts_without_gradient(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * _shares(probs.detach())).sum(-1).mean()


@right("7.6")
def one_sequence_at_a_time(probs, expert_ids):
    losses = []
    for scores, ids in zip(probs, expert_ids, strict=True):
        shares = scores / scores.sum(-1, keepdim=True)
        losses.append(load_balance_loss(Routing(scores.log(), shares, scores.gather(-1, ids), ids)))
    return torch.stack(losses).mean()


@right("7.6")
def with_the_library(probs, expert_ids):
    flat, ids = probs.flatten(0, 1), expert_ids.flatten(0, 1)
    return library_loss(Routing(flat.log(), flat, flat.gather(-1, ids), ids), len(probs))
