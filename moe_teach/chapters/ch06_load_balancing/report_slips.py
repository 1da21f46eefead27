"""Exercise 6.4: what known mistakes come from, and how to mend them."""

from moe_teach.judging.reasons import Why

WORDS = {
    "max_violation": Why(
        "The busiest load, or the fair share, is another number.",
        "It is load.max() * E - 1, with the load of all E experts.",
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
    "of counts": Why(
        "This is the difference between the busiest count and the mean count, which grows with the "
        "batch.",
        "Take their ratio, minus 1.",
    ),
    "alive": Why(
        "The mean was taken over the experts that have tokens. The idle ones belong to it, with 0.",
        "The fair share is 1/E.",
    ),
    "idlest": Why(
        "The busiest was compared with the idlest.",
        "MaxVio compares it with the fair share, 1/E.",
    ),
    "by tokens": Why(
        "The counts were divided by T, and each token makes k choices.",
        "The loads must sum to 1: divide by all choices.",
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
    "mean": Why("The entropy was averaged over the experts.", "It is a sum over them."),
    "sign": Why("The sign is wrong: f ln f is never positive.", "The entropy is minus its sum."),
    "alive entropy": Why(
        "The entropy was divided by the logarithm of the number of experts that have tokens. Then "
        "two of 100 experts look even.",
        "Divide by ln E.",
    ),
}
# Who is called dead by a mistake, by the load of the experts, their number, and k.
DEAD = (
    (
        lambda load, n_experts, top_k: load == 0,
        Why(
            "Only experts without any token were counted. With less than a tenth of the fair share "
            "an expert hardly learns.",
            "Count those with a load below 0.1 / E.",
        ),
    ),
    (
        lambda load, n_experts, top_k: load < 0.1,
        Why("The limit is a tenth of all choices here.", "Take a tenth of the *fair share*."),
    ),
    (
        lambda load, n_experts, top_k: load >= 0.1 / n_experts,
        Why("These are the experts that live.", "Count those below the limit."),
    ),
    (
        lambda load, n_experts, top_k: load < 1 / n_experts,
        Why(
            "Everyone below the whole fair share was called dead.",
            "The limit is a tenth of the fair share.",
        ),
    ),
    (
        lambda load, n_experts, top_k: load <= 0.1 / n_experts,
        Why(
            "An expert with exactly a tenth of the fair share was called dead.",
            "*Less* than a tenth is: compare with <.",
        ),
    ),
    (
        lambda load, n_experts, top_k: load < 0.1 * load.max(),
        Why(
            "The limit is a tenth of the busiest expert's load here.",
            "Take a tenth of the fair share, 1/E.",
        ),
    ),
    (
        lambda load, n_experts, top_k: load < 0.1 * load[load > 0].mean(),
        Why(
            "The fair share was taken among the experts that have tokens.",
            "It is 1/E, the idle ones included.",
        ),
    ),
    (
        lambda load, n_experts, top_k: load < 0.1 / n_experts / top_k,
        Why(
            "The counts were compared with a share of the tokens, and each token makes k choices.",
            "The fair share is T * K / E choices.",
        ),
    ),
    (
        lambda load, n_experts, top_k: (load > 0) & (load < 0.1 / n_experts),
        Why("Experts without any token were left out.", "They are dead too: 0 is below the limit."),
    ),
)
