"""Exercise 6.4: what known mistakes come from, and how to mend them."""

from torch import Tensor

from moe_teach.judging.reasons import Why

WORDS = {
    "max_violation": Why(
        "The busiest load, or the fair share, is another number.",
        "It is load.max() * E - 1, with the load of all E experts over all steps.",
    ),
    "each step alike": Why(
        "The loads of the steps were averaged, so that a choice in a small step weighs more.",
        "Add the counts of all steps, and divide once.",
    ),
    "of steps": Why(
        "This is the mean of the steps' own violations.",
        "Add the counts of all steps first: whoever is busy in turn is not busy in the sum.",
    ),
    "step_violation": Why(
        "It is the violation of each step's own load, averaged over the steps.",
        "Divide each row by its own sum, take its maximum times E, minus 1, and the mean of these.",
    ),
    "of all": Why(
        "This is the violation of all steps together. Batches that swing do not show in it.",
        "Take the maximum in each step before you average.",
    ),
    "worst": Why("The worst step was taken.", "Take the mean over the steps."),
    "middle": Why("The median step was taken.", "Take the mean over the steps."),
    "weighed": Why(
        "Large steps weigh more here.", "Every step counts once: a machine waits in each of them."
    ),
    "summed": Why("The violations were summed up.", "Take their mean over the steps."),
    "0 ln 0": Why(
        "With an idle expert the entropy is not a number: 0 * log(0) is none in floating point, "
        "and its limit is 0.",
        "`torch.special.entr` knows that; or leave the idle experts out of this sum.",
    ),
    "something added": Why(
        "Something small was added under the logarithm, to save 0 ln 0. With many experts it is "
        "not small any more: every load is near 1/E, and the error grows with E.",
        "`torch.special.entr`, or a sum over the loads above 0, needs nothing added.",
    ),
    "entropy of steps": Why(
        "This is the mean of the steps' own entropies.",
        "Take the entropy of the load of all steps together.",
    ),
    "no minus": Why(
        "This is the busiest load over the fair share, and MaxVio is that minus 1.",
        "Subtract 1: even routing must give 0.",
    ),
    "difference": Why(
        "This is the difference between the busiest load and the fair share, which shrinks as "
        "experts become more.",
        "Take their ratio, minus 1.",
    ),
    "alive": Why(
        "The mean was taken over the experts that have tokens. The idle ones belong to it, with 0.",
        "The fair share is 1/E.",
    ),
    "both sides": Why(
        "The deviation to either side was taken.",
        "MaxVio looks up only, at the busiest expert.",
    ),
    "entropy": Why(
        "The loads, or what their entropy was divided by, are other numbers.",
        "It is minus the sum of f ln f over the loads of all experts, divided by ln E.",
    ),
    "nats": Why(
        "The entropy is in nats and grows with the number of experts.",
        "Divide it by its maximum, ln E.",
    ),
    "bits": Why(
        "The entropy is in bits and grows with the number of experts.",
        "Divide it by its maximum: log2(E) for bits.",
    ),
    "two bases": Why(
        "Two different logarithms were mixed, one of base 2.",
        "Take both of one base: then it cancels.",
    ),
    "sign": Why("The sign is wrong: f ln f is never positive.", "The entropy is minus its sum."),
    "alive entropy": Why(
        "The entropy was divided by the logarithm of the number of experts that have tokens. Then "
        "two of 100 experts look even.",
        "Divide by ln E.",
    ),
}


def is_dead(load: Tensor) -> Tensor:
    """Say of each expert whether its load, along the last axis, is under a tenth of the fair."""
    return load < 0.1 / load.shape[-1]


# Who is called dead by a mistake, by the load of all steps (E,) and of each step (S, E).
DEAD = (
    (
        lambda load, loads: load == 0,
        Why(
            "Only experts without any choice were counted. With less than a tenth of the fair "
            "share an expert hardly learns.",
            "Count those with a load below 0.1 / E.",
        ),
    ),
    (
        lambda load, loads: is_dead(loads).all(dim=0),
        Why(
            "Only experts that are dead at every step were counted.",
            "Take the load of all steps together.",
        ),
    ),
    (
        lambda load, loads: is_dead(loads.mean(dim=0)),
        Why(
            "The loads of the steps were averaged, so that a choice in a small step weighs more.",
            "Add the counts of all steps, and divide once.",
        ),
    ),
    (
        lambda load, loads: load < 0.1,
        Why("The limit is a tenth of all choices here.", "Take a tenth of the *fair share*."),
    ),
    (
        lambda load, loads: ~is_dead(load),
        Why("These are the experts that live.", "Count those below the limit."),
    ),
    (
        lambda load, loads: load < 1 / len(load),
        Why(
            "Everyone below the whole fair share was called dead.",
            "The limit is a tenth of the fair share.",
        ),
    ),
    (
        lambda load, loads: load <= 0.1 / len(load),
        Why(
            "An expert with exactly a tenth of the fair share was called dead.",
            "*Less* than a tenth is: compare with <.",
        ),
    ),
    (
        lambda load, loads: load < 0.1 * load.max(),
        Why(
            "The limit is a tenth of the busiest expert's load here.",
            "Take a tenth of the fair share, 1/E.",
        ),
    ),
    (
        lambda load, loads: load < 0.1 * load[load > 0].mean(),
        Why(
            "The fair share was taken among the experts that have choices.",
            "It is 1/E, the idle ones included.",
        ),
    ),
)
# Who is said to rest by a mistake.
RESTING = (
    (
        lambda load, loads: is_dead(loads).double().mean(dim=0) > 0.5,
        Why(
            "Dead experts were counted as well. They do not rest, they are gone.",
            "Count only those that are alive over all steps together.",
        ),
    ),
    (
        lambda load, loads: ~is_dead(load) & (is_dead(loads).double().mean(dim=0) >= 0.5),
        Why(
            "An expert that is dead in exactly half of the steps was counted.",
            "In *more* than half of them: compare with >.",
        ),
    ),
    (
        lambda load, loads: ~is_dead(load) & is_dead(loads).any(dim=0),
        Why(
            "Experts that are dead in a single step were counted.",
            "In more than half of the steps.",
        ),
    ),
    (
        lambda load, loads: ~is_dead(load) & ((loads == 0).double().mean(dim=0) > 0.5),
        Why(
            "A step counts only where the expert has no choice at all.",
            "Dead means less than a tenth of that step's fair share.",
        ),
    ),
)
