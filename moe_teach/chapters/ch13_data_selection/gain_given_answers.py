"""Exercise 13.3: wrong answers with what they must be told, and other right ones."""

import torch
import torch.nn.functional as F

from moe_teach.chapters.ch13_data_selection.gain_given import EXERCISE, gains


def _slipped(slip, learner_logits, reference_logits, chosen):
    given = {"learner_logits": learner_logits, "reference_logits": reference_logits}
    return gains(given | {"chosen": chosen}, slip)


def _scores(learner_logits, reference_logits):
    signs = 2 * torch.eye(len(learner_logits)) - 1
    return F.logsigmoid(signs * reference_logits) - F.logsigmoid(signs * learner_logits)


@EXERCISE.wrong(stage="a number each", says="the chosen were left out")
def leaves_the_chosen_out(learner_logits, reference_logits, chosen):
    found = _slipped("", learner_logits, reference_logits, chosen)
    return found[found.isfinite()]


@EXERCISE.wrong(stage="nobody is chosen", says="The reference's loss stands first")
def prefers_what_is_known(*args, **kwargs):
    return _slipped("sign", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="The reference was not asked")
def takes_what_is_hard(*args, **kwargs):
    return _slipped("learner", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="are swapped")
def swaps_the_losses(*args, **kwargs):
    return _slipped("turned", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="compared with all candidates")
def compares_with_everybody(*args, **kwargs):
    return _slipped("everybody", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="own pair is missing")
def forgets_the_own_pair(*args, **kwargs):
    return _slipped("no own", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="as if it belonged together")
def scores_all_as_true(*args, **kwargs):
    return _slipped("all belong", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="by its own pair alone")
def looks_at_nobody(*args, **kwargs):
    return _slipped("alone", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="Only the candidate's left side")
def asks_from_the_left(*args, **kwargs):
    return _slipped("left", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="Only the candidate's right side")
def asks_from_the_right(*args, **kwargs):
    return _slipped("right", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="were averaged")
def averages(*args, **kwargs):
    return _slipped("mean", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="own pair was counted twice")
def counts_the_own_pair_twice(*args, **kwargs):
    return _slipped("own twice", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="divided by the number of candidates")
def divides_by_all(*args, **kwargs):
    return _slipped("number", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="a softmax over a row")
def takes_a_softmax(*args, **kwargs):
    return _slipped("softmax", *args, **kwargs)


@EXERCISE.wrong(stage="nobody is chosen", says="The logits themselves")
def subtracts_the_logits(*args, **kwargs):
    return _slipped("logits", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="The first rows and columns")
def takes_the_first_rows(*args, **kwargs):
    return _slipped("first", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="Only the last of the chosen")
def looks_at_the_last_chosen(*args, **kwargs):
    return _slipped("latest", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="were one pair")
def halves_the_directions(*args, **kwargs):
    return _slipped("halves", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="s is not symmetric")
def doubles_one_direction(*args, **kwargs):
    return _slipped("left twice", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="size of the batch")
def divides_by_the_batch(*args, **kwargs):
    return _slipped("size", *args, **kwargs)


@EXERCISE.wrong(stage="some are chosen", says="learnability of the whole batch")
def gives_the_whole_batch(*args, **kwargs):
    return _slipped("total", *args, **kwargs)


@EXERCISE.wrong(stage="who is in", says="can be the highest")
def gives_the_chosen_0(*args, **kwargs):
    found = _slipped("", *args, **kwargs)
    return found.masked_fill(found.isinf(), 0.0)


@EXERCISE.wrong(stage="who is in", says="added up like those of the others")
@torch.no_grad()
def chooses_them_again(learner_logits, reference_logits, chosen):
    s = _scores(learner_logits, reference_logits)
    return s.diagonal() + (s + s.T)[:, chosen].sum(1)


@EXERCISE.wrong(stage="sure models", says="its logarithm minus infinity")
@torch.no_grad()
def takes_the_logarithm_of_a_sigmoid(learner_logits, reference_logits, chosen):
    signs = 2 * torch.eye(len(learner_logits)) - 1
    s = (signs * reference_logits).sigmoid().log() - (signs * learner_logits).sigmoid().log()
    return (s.diagonal() + (s + s.T)[:, chosen].sum(1)).index_fill(0, chosen, -torch.inf)


@EXERCISE.wrong(stage="no gradient", says="no part of it")
def carries_a_gradient(learner_logits, reference_logits, chosen):
    s = _scores(learner_logits, reference_logits)
    return (s.diagonal() + (s + s.T)[:, chosen].sum(1)).index_fill(0, chosen, -torch.inf)


@EXERCISE.right
@torch.no_grad()
def with_and_without(learner_logits, reference_logits, chosen):
    s = _scores(learner_logits, reference_logits)
    found = []
    for i in range(len(s)):
        batch = [*chosen.tolist(), i]
        gain = s[batch][:, batch].sum() - s[chosen][:, chosen].sum()
        found.append(-torch.inf if i in batch[:-1] else gain.item())
    return torch.tensor(found)


@EXERCISE.right
@torch.no_grad()
def with_a_mask(learner_logits, reference_logits, chosen):
    s = _scores(learner_logits.double(), reference_logits.double())
    is_in = torch.zeros(len(s), dtype=torch.float64).index_fill(0, chosen, 1.0)
    gain = s.diagonal() + s @ is_in + is_in @ s
    return torch.where(is_in > 0, -torch.inf, gain).float()


@EXERCISE.right
@torch.no_grad()
def by_cross_entropies(learner_logits, reference_logits, chosen):
    belong = torch.eye(len(learner_logits))
    ours, theirs = (
        F.binary_cross_entropy_with_logits(z.float(), belong, reduction="none")
        for z in (learner_logits, reference_logits)
    )
    gain = torch.diagonal_copy(ours - theirs)
    for k in chosen.tolist():
        gain += (ours - theirs)[:, k] + (ours - theirs)[k]
    gain[chosen] = -torch.inf
    return gain
