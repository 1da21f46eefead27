"""Exercise 6.3: what known mistakes come from, and how to mend them."""

from moe_teach.judging.reasons import Why

WORDS = {
    "rounded": Why(
        "The mean was rounded down to a whole number.",
        "It is the number of choices divided by E, and may have a fraction: no `//`.",
    ),
    "reversed": Why(
        "The sign is reversed: busy experts went up. That is collapse by design.",
        "It is the idle ones that need a higher bias.",
    ),
    "grows": Why(
        "The step grows with the error.",
        "In this rule only its sign counts: every step is `rate` or 0.",
    ),
    "grows with the load": Why(
        "The step grows with the error in the load.",
        "In this rule only its sign counts: every step is `rate` or 0, whatever the error.",
    ),
    "first choice": Why(
        "Only the first choice of each token was counted.", "All k choices make work."
    ),
    "used experts": Why(
        "The mean was taken over the experts that were chosen. The idle ones belong to it, with 0.",
        "Divide by E.",
    ),
    "upwards only": Why(
        "Experts below the mean go up, but those above it stay.", "They must go down by `rate`."
    ),
    "no third way": Why(
        "An expert exactly at the mean went down. It belongs to neither side.",
        "It stays: `torch.sign(0)` is 0.",
    ),
    "nor the other": Why(
        "An expert exactly at the mean went up. It belongs to neither side.",
        "It stays: `torch.sign(0)` is 0.",
    ),
    "low precision": Why(
        "With thousands of choices neighbouring counts became equal: float16 and bfloat16 cannot "
        "tell 2048 from 2049.",
        "Count in integers or in float32.",
    ),
    "sixteen bits": Why(
        "A count of 33,000 became a negative one: sixteen bits hold 32,767.",
        "Count in int64 or in float32.",
    ),
    "median": Why(
        "The counts were compared with their median. Half of all experts may be idle, and then "
        "the median is 0.",
        "The rule compares with the mean.",
    ),
    "tokens": Why(
        "The counts were compared with T / E, and each token makes k choices.",
        "The mean count is T * K / E.",
    ),
    "few": Why(
        "Only the busiest and the idlest expert moved.",
        "Everybody below the mean goes up, everybody above it goes down.",
    ),
    "rounded shares": Why(
        "The shares were compared with their mean, which float32 rounds: experts at the mean "
        "moved.",
        "Compare the counts, which are whole numbers.",
    ),
}
