"""The vocabulary: what a patient can have, and which signs each diagnosis would show."""

from dataclasses import dataclass, field

from moe_teach.chapters.ch06_load_balancing.clinic.signs import SIGNS

_HEALTH = {
    "even": "1, 1 and 1",
    "crowd": "above its even value",
    "second": "above its even value",
    "task": "alive for every k",
    "own": "alive for every k",
    "arriving": "as much as was logged",
    "sum": "1",
    "shift": "stays",
    "bias": "goes down",
    "twice": "the same",
    "company": "no token",
    "silent": "nothing",
    "load": "even",
}
_UNHEARD = {"arriving": "nothing", "load": "uneven"}


@dataclass(frozen=True)
class Diagnosis:
    """One word of the vocabulary. `shows` lists the signs that differ from health.

    `None` stands for a sign that the fault leaves open.
    """

    sentence: str
    shows: dict[str, str | None] = field(default_factory=dict)

    @property
    def signs(self) -> dict[str, str | None]:
        """Every sign, as a patient with this diagnosis shows it."""
        return _HEALTH | self.shows


DIAGNOSES = {
    "healthy": Diagnosis("Nothing is wrong: all is as prescribed."),
    "loss-not-added": Diagnosis(
        "The balance loss is computed and logged, but it is not part of the total.", _UNHEARD
    ),
    "loss-detached": Diagnosis(
        "The balance loss is computed without a graph: what is logged has no gradient of its own.",
        {"own": "0 for every k", **_UNHEARD},
    ),
    "coefficient-too-large": Diagnosis(
        "The balance loss is added with ten times the prescribed coefficient.",
        {"arriving": "far more than was logged"},
    ),
    "k-not-divided": Diagnosis(
        "The load is divided by the tokens and not by all choices, so it sums to k.",
        {"even": "1, 2 and 4"},
    ),
    "first-choice-only": Diagnosis(
        "The balance loss counts each token's first choice only.",
        {"second": "not above its even value", "load": None},
    ),
    "wrong-axis": Diagnosis(
        "The means in the balance loss run over the experts instead of the tokens.",
        {
            "crowd": "not above its even value",
            "second": "not above its even value",
            "own": "0 for every k",
            **_UNHEARD,
        },
    ),
    "loss-reads-gates": Diagnosis(
        "The balance loss reads a softmax over the chosen experts instead of all probabilities.",
        {"own": "0 at k = 1 only", "load": None},
    ),
    "constant-gate": Diagnosis(
        "The softmax is taken after top-k for k = 1 as well, so that gate is always 1.",
        {"task": "0 at k = 1 only"},
    ),
    "gates-not-normalised": Diagnosis(
        "The gates are not divided by their sum, although k is 2 or more.",
        {"sum": "less than 1"},
    ),
    "router-cut-off": Diagnosis(
        "The gates are detached before the mixture.", {"task": "0 for every k"}
    ),
    "bias-in-gates": Diagnosis(
        "The gates are read from the biased scores, which are for the choice only.",
        {"shift": "moves"},
    ),
    "bias-never-moves": Diagnosis(
        "The update of the selection bias is never called.", {"bias": "does not move"}
    ),
    "bias-moves-backwards": Diagnosis(
        "The update of the selection bias has the wrong sign.", {"bias": "goes up"}
    ),
    "noise-at-evaluation": Diagnosis(
        "The router's noise stays on in evaluation.",
        {"twice": "other experts answer", "company": "tokens anywhere in the batch"},
    ),
    "dropout-at-evaluation": Diagnosis(
        "Dropout on the layer's output stays on in evaluation.",
        {
            "twice": "the same experts say something else",
            "company": "tokens anywhere in the batch",
        },
    ),
    "residual-twice": Diagnosis(
        "The layer adds its input, and the block around it adds it again.",
        {"silent": "the input itself"},
    ),
    "unasked-shared-expert": Diagnosis(
        "A shared expert is always on, although none is prescribed.",
        {"silent": "something that is not the input"},
    ),
    "capacity-at-evaluation": Diagnosis(
        "The capacity also drops tokens in evaluation, first come, first served.",
        {"company": "late tokens only"},
    ),
    "experts-choose": Diagnosis(
        "The experts choose their tokens, instead of the tokens their experts.",
        {
            "own": "0 for every k",
            "arriving": "nothing",
            "sum": None,
            "company": "tokens anywhere in the batch",
        },
    ),
}


def contradiction(claimed: str, true: str) -> tuple[str, str, str] | None:
    """Name a sign, its word under the claimed diagnosis, and its word in truth.

    What the claim predicts and the patient lacks comes first, because it says nothing about the
    true fault; then what the patient has and the claim leaves unexplained. `None`: no sign speaks
    against the claim.
    """
    would, does = DIAGNOSES[claimed].signs, DIAGNOSES[true].signs
    for names in (DIAGNOSES[claimed].shows, SIGNS):
        for name in names:
            if None not in (would[name], does[name]) and would[name] != does[name]:
                return name, str(would[name]), str(does[name])
    return None
