"""Exercise 6.5: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch06_load_balancing.clinic.diagnoses import DIAGNOSES
from moe_teach.chapters.ch06_load_balancing.clinic.examination import examine
from moe_teach.chapters.ch06_load_balancing.clinic.faults import FAULTS
from moe_teach.chapters.ch06_load_balancing.clinic.signs import read
from moe_teach.chapters.ch06_load_balancing.clinic.ward import behind, cases
from moe_teach.chapters.ch06_load_balancing.my_diagnoses import EXERCISE


def _all_but(**mistaken):
    return {case: behind(case) for case in cases()} | mistaken


@EXERCISE.wrong(stage="a dictionary", says="the letter of each case")
def lists_them():
    return [behind(case) for case in cases()]


@EXERCISE.wrong(stage="a dictionary", says="in capitals")
def writes_small_letters():
    return {case.lower(): behind(case) for case in cases()}


@EXERCISE.wrong(stage="a dictionary", says="No diagnosis yet for B, C")
def stops_after_the_first():
    return {"A": behind("A")}


@EXERCISE.wrong(stage="words of the clinic", says="Did you mean 'k-not-divided'")
def writes_spaces():
    return _all_but(A="k not divided")


@EXERCISE.wrong(stage="diagnoses", says="Right: 1 of 12 (G).")
def calls_everybody_healthy():
    return dict.fromkeys(cases(), "healthy")


@EXERCISE.wrong(stage="diagnoses", says="(B, C, D, E, F, G, H, I, J, K, L).")
def suspects_the_coefficient():
    return _all_but(A="coefficient-too-large")


@EXERCISE.wrong(stage="diagnoses", says="Right: 10 of 12 (A, B, C, D, F, G, H, I, K, L).")
def swaps_the_forgotten_and_the_detached():
    return _all_but(E="loss-detached", J="loss-not-added")


@EXERCISE.wrong(stage="diagnoses", says="(A, B, D, E, F, G, H, I, J, K, L).")
def takes_the_wrong_axis_for_a_detached_loss():
    return _all_but(C="loss-detached")


@EXERCISE.wrong(stage="diagnoses", says="(A, B, C, D, E, G, H, I, J, K, L).")
def blames_the_loss_for_the_gate():
    return _all_but(F="loss-reads-gates")


@EXERCISE.wrong(stage="diagnoses", says="(A, B, C, E, F, G, H, I, J, K, L).")
def sees_a_shared_expert():
    return _all_but(D="unasked-shared-expert")


@EXERCISE.wrong(stage="diagnoses", says="(A, B, C, D, E, F, G, H, I, J, L).")
def thinks_that_experts_choose():
    return _all_but(K="experts-choose")


@EXERCISE.wrong(stage="diagnoses", says="(A, C, D, E, F, G, H, I, J, K, L).")
def takes_noise_for_dropout():
    return _all_but(B="dropout-at-evaluation")


@EXERCISE.right
def one_by_one():
    found = {}
    for case in cases():
        found[case] = behind(case)
    return found


def _fits(seen, signs):
    return all(signs[name] in (None, word) for name, word in seen.items() if name != "load")


@EXERCISE.right
def by_reading_the_signs():
    """Diagnose from the charts: the one word that no sign contradicts, the load left aside."""
    found = {}
    for case in cases():
        seen = read(examine(FAULTS[behind(case)], seed=0, n_steps=2))
        found[case] = next(word for word, it in DIAGNOSES.items() if _fits(seen, it.signs))
    return found
