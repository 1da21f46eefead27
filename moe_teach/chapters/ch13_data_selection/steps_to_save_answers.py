"""Exercise 13.4: wrong answers with what they must be told, and other right ones."""

from fractions import Fraction

import torch

from moe_teach.chapters.ch13_data_selection.bills import billed
from moe_teach.chapters.ch13_data_selection.steps_to_save import EXERCISE, NAMES


def _slipped(slip, *args, **kwargs):
    return billed(dict(zip(NAMES, args, strict=False)) | kwargs, slip)


@EXERCISE.wrong(stage="a step", says="`/` gives a float")
def divides_into_floats(*args, **kwargs):
    per_step, saved = _slipped("", *args, **kwargs)
    return per_step / 1, saved


@EXERCISE.wrong(stage="a step", says="one forward pass")
def trains_forward_only(*args, **kwargs):
    return _slipped("forward", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="is known after scoring")
def scores_the_chosen(*args, **kwargs):
    return _slipped("chosen", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="rows that are not chosen were scored")
def scores_the_rest(*args, **kwargs):
    return _slipped("rest", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="The reference's scoring is missing")
def asks_the_learner_alone(*args, **kwargs):
    return _slipped("no reference", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="The learner's scoring is missing")
def asks_the_reference_alone(*args, **kwargs):
    return _slipped("no learner", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="as if it were training")
def goes_back_when_it_scores(*args, **kwargs):
    return _slipped("backward", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="training reads them again")
def reads_the_chosen_once(*args, **kwargs):
    return _slipped("reuse", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="came for nothing")
def takes_the_reference_as_a_gift(*args, **kwargs):
    return _slipped("free", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="counted as forward passes")
def trains_the_reference_forward_only(*args, **kwargs):
    return _slipped("once", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="counted with all candidates")
def trains_the_reference_on_everything(*args, **kwargs):
    return _slipped("super", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="round down")
def rounds_the_other_way(*args, **kwargs):
    return _slipped("rounded", *args, **kwargs)


@EXERCISE.wrong(stage="several runs", says="This run alone paid")
def pays_alone(*args, **kwargs):
    return _slipped("unshared", *args, **kwargs)


@EXERCISE.wrong(stage="as dear", says="As dear is not cheaper")
def is_content_with_a_draw(*args, **kwargs):
    return _slipped("at most", *args, **kwargs)


@EXERCISE.wrong(stage="it never pays", says="A run of no steps learns nothing")
def saves_more_than_there_is(*args, **kwargs):
    return _slipped("negative", *args, **kwargs)


@EXERCISE.wrong(stage="large numbers", says="53 bits")
def computes_in_floats(*args, **kwargs):
    return _slipped("floats", *args, **kwargs)


@EXERCISE.wrong(stage="a step", says="A number of torch or numpy")
def gives_a_tensor(*args, **kwargs):
    per_step, saved = _slipped("", *args, **kwargs)
    return torch.tensor(per_step), saved


@EXERCISE.wrong(stage="a step", says="All candidates were learned from")
def learns_from_everything(*args, **kwargs):
    return _slipped("all trained", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="with the learner's forward pass")
def lets_the_learner_pay(*args, **kwargs):
    return _slipped("by the learner", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="charged for all candidates")
def charges_the_plain_run_for_all(*args, **kwargs):
    return _slipped("super plain", *args, **kwargs)


@EXERCISE.wrong(stage="one run", says="not those that are saved")
def gives_what_is_left(*args, **kwargs):
    return _slipped("left", *args, **kwargs)


@EXERCISE.wrong(stage="as dear", says="was turned away")
def turns_one_step_away(*args, **kwargs):
    return _slipped("one", *args, **kwargs)


@EXERCISE.wrong(stage="it never pays", says="it always pays")
def says_0_for_never(*args, **kwargs):
    return _slipped("zero", *args, **kwargs)


@EXERCISE.wrong(stage="it never pays", says="all steps would be saved")
def saves_every_step(*args, **kwargs):
    return _slipped("no steps", *args, **kwargs)


@EXERCISE.right
def by_halving(
    learner_forward,
    reference_forward,
    n_chosen,
    n_candidates,
    n_steps,
    reference_steps,
    n_runs,
):
    plain = 3 * learner_forward * n_chosen
    per_step = plain + n_candidates * (learner_forward + reference_forward)
    share = Fraction(3 * reference_forward * n_chosen * reference_steps, n_runs)
    low, high = 0, n_steps  # a run of `low` steps costs less, or is none at all
    while low < high:
        middle = (low + high + 1) // 2
        if middle * per_step + share < n_steps * plain:
            low = middle
        else:
            high = middle - 1
    return per_step, n_steps - low if low else None


@EXERCISE.right
def rounds_up(**given):
    learner, reference, n_chosen, n_candidates, n_steps, before, n_runs = given.values()
    per_step = 3 * learner * n_chosen + n_candidates * (learner + reference)
    share = Fraction(3 * reference * n_chosen * before, n_runs)
    saved = (n_steps * (per_step - 3 * learner * n_chosen) + share) / per_step
    least = int(saved) + 1
    return per_step, least if least < n_steps else None


@EXERCISE.right
def shares_the_reference_in_whole_flops(**given):
    # T * per_step is a whole number, so what the division leaves over decides nothing.
    learner, reference, n_chosen, n_candidates, n_steps, before, n_runs = given.values()
    plain = 3 * learner * n_chosen
    per_step = plain + n_candidates * (learner + reference)
    share = 3 * reference * n_chosen * before // n_runs
    most = (n_steps * plain - share - 1) // per_step
    return per_step, n_steps - most if most >= 1 else None
