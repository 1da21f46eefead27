"""Chapter 06, exercises 6.5 and 6.6: wrong diagnoses, half repairs, and other right ways."""

import torch

from moe_teach.course import clinic
from moe_teach.course.clinic.diagnoses import DIAGNOSES
from moe_teach.course.clinic.examination import examine
from moe_teach.course.clinic.faults import FAULTS
from moe_teach.course.clinic.signs import read
from moe_teach.course.clinic.ward import behind
from moe_teach.judging.exercise import right, wrong

# --- 6.5 my_diagnoses -------------------------------------------------------------------------


def _all_but(**mistaken):
    return {case: behind(case) for case in clinic.cases()} | mistaken


@wrong("6.5", stage="a dictionary", says="the letter of each case")
def lists_them():
    return [behind(case) for case in clinic.cases()]


@wrong("6.5", stage="a dictionary", says="in capitals")
def writes_small_letters():
    return {case.lower(): behind(case) for case in clinic.cases()}


@wrong("6.5", stage="a dictionary", says="No diagnosis yet for B, C")
def stops_after_the_first():
    return {"A": behind("A")}


@wrong("6.5", stage="words of the clinic", says="Did you mean 'k-not-divided'")
def writes_spaces():
    return _all_but(A="k not divided")


@wrong("6.5", stage="diagnoses", says="Right: 1 of 12 (G).")
def calls_everybody_healthy():
    return dict.fromkeys(clinic.cases(), "healthy")


@wrong("6.5", stage="diagnoses", says="(B, C, D, E, F, G, H, I, J, K, L).")
def suspects_the_coefficient():
    return _all_but(A="coefficient-too-large")


@wrong("6.5", stage="diagnoses", says="Right: 10 of 12 (A, B, C, D, F, G, H, I, K, L).")
def swaps_the_forgotten_and_the_detached():
    return _all_but(E="loss-detached", J="loss-not-added")


@wrong("6.5", stage="diagnoses", says="(A, B, D, E, F, G, H, I, J, K, L).")
def takes_the_wrong_axis_for_a_detached_loss():
    return _all_but(C="loss-detached")


@wrong("6.5", stage="diagnoses", says="(A, B, C, D, E, G, H, I, J, K, L).")
def blames_the_loss_for_the_gate():
    return _all_but(F="loss-reads-gates")


@wrong("6.5", stage="diagnoses", says="(A, B, C, E, F, G, H, I, J, K, L).")
def sees_a_shared_expert():
    return _all_but(D="unasked-shared-expert")


@wrong("6.5", stage="diagnoses", says="(A, B, C, D, E, F, G, H, I, J, L).")
def thinks_that_experts_choose():
    return _all_but(K="experts-choose")


@wrong("6.5", stage="diagnoses", says="(A, C, D, E, F, G, H, I, J, K, L).")
def takes_noise_for_dropout():
    return _all_but(B="dropout-at-evaluation")


@right("6.5")
def one_by_one():
    found = {}
    for case in clinic.cases():
        found[case] = behind(case)
    return found


@right("6.5")
def by_reading_the_signs():
    """Diagnose from the charts: the one word that no sign contradicts, the load left aside."""
    found = {}
    for case in clinic.cases():
        seen = read(examine(FAULTS[behind(case)], seed=0, n_steps=2))
        found[case] = next(word for word, it in DIAGNOSES.items() if _fits(seen, it.signs))
    return found


def _fits(seen, signs):
    return all(signs[name] in (None, word) for name, word in seen.items() if name != "load")


# --- 6.6 repaired_step ------------------------------------------------------------------------


def _gated(logits, top_k):
    probs = logits.softmax(-1)
    gates, ids = probs.topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if top_k > 1 else gates), ids, probs


def _logged(probs, ids):
    load = torch.bincount(ids.flatten(), minlength=probs.shape[-1]) / ids.numel()
    return probs.shape[-1] * (load * probs.mean(0)).sum()


@wrong("6.6", stage="gates", says="At k = 1 every gate is the constant 1")
def leaves_the_gate(logits, top_k, task_loss, coef):
    values, ids = logits.topk(top_k)
    logged = _logged(logits.softmax(-1), ids)
    return values.softmax(-1), ids, logged, task_loss + coef * logged


@wrong("6.6", stage="gates", says="divided by the sum of the chosen")
def never_divides(logits, top_k, task_loss, coef):
    probs = logits.softmax(-1)
    gates, ids = probs.topk(top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged


@wrong("6.6", stage="even routing", says="logs k and not 1")
def divides_by_the_tokens(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = top_k * _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged


@wrong("6.6", stage="second choices", says="only first choices are counted")
def counts_the_first_column(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids[:, 0])
    return gates, ids, logged, task_loss + coef * logged


@wrong("6.6", stage="second choices", says="the mean runs over the tokens")
def averages_the_other_axis(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    load = torch.bincount(ids.flatten(), minlength=probs.shape[-1]) / ids.numel()
    logged = probs.shape[-1] * (load * probs.mean()).sum()
    return gates, ids, logged, task_loss + coef * logged


@wrong("6.6", stage="what arrives", says="has the right value and no graph")
def adds_a_bare_number(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged.item()


@wrong("6.6", stage="what arrives", says="must be task_loss + coef * logged")
def forgets_the_coefficient(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + logged


@wrong("6.6", stage="task gradient", says="no graph any more")
def detaches_the_gates(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates.detach(), ids, logged, task_loss + coef * logged


@right("6.6")
def with_one_hot_in_float64(logits, top_k, task_loss, coef):
    probs = logits.double().softmax(-1)
    ids = probs.argsort(-1, descending=True)[:, :top_k]
    gates = probs.gather(1, ids)
    if top_k > 1:
        gates = gates / gates.sum(-1, keepdim=True)
    chosen = torch.nn.functional.one_hot(ids, probs.shape[-1]).double().mean((0, 1))
    logged = (chosen * probs.mean(0)).sum() * probs.shape[-1]
    return gates, ids, logged, coef * logged + task_loss


@right("6.6")
def with_the_library(logits, top_k, task_loss, coef):
    from moe_teach.ops.losses import load_balance_loss
    from moe_teach.ops.route import score, topk_gates
    from moe_teach.types import Routing

    probs = score(logits)
    gates, ids = topk_gates(probs, top_k, normalize=top_k > 1)
    logged = load_balance_loss(Routing(logits, probs, gates, ids))
    return gates, ids, logged, task_loss + coef * logged
