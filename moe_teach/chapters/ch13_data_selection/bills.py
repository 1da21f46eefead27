"""Chapter 13: the bill of selection, the right one and those of mistakes that are often made."""

from fractions import Fraction

from moe_teach.judging.reasons import Why


def billed(given: dict[str, int], slip: str = "") -> tuple[int, int | None]:
    """Return the FLOPs of a step and the least number of saved steps; `slip` names a mistake."""
    learner, reference, n_chosen, n_candidates, n_steps, *_ = given.values()
    trained = (1 if slip == "forward" else 3) * learner
    looked_at = {"chosen": n_chosen, "rest": n_candidates - n_chosen}.get(slip, n_candidates)
    asked = {
        "no reference": learner,
        "no learner": reference,
        "backward": 3 * (learner + reference),
    }
    per_step = trained * (n_candidates if slip == "all trained" else n_chosen)
    per_step += looked_at * asked.get(slip, learner + reference)
    if slip == "reuse":
        per_step -= learner * n_chosen
    plain = trained * (n_candidates if slip == "super plain" else n_chosen)
    share = _reference(given, slip)
    if slip == "floats":
        return int(per_step), _saved(n_steps, float(n_steps * plain - share) / per_step, slip)
    return per_step, _saved(n_steps, (n_steps * plain - share) / per_step, slip)


def _reference(given: dict[str, int], slip: str) -> Fraction:
    """Return this run's part of what the reference's training cost."""
    forward = given["learner_forward" if slip == "by the learner" else "reference_forward"]
    rows = given["n_candidates" if slip == "super" else "n_chosen"] * given["reference_steps"]
    passes = {"free": 0, "once": 1}.get(slip, 3)
    return Fraction(passes * forward * rows, 1 if slip == "unshared" else given["n_runs"])


def _saved(n_steps: int, bound: Fraction | float, slip: str) -> int | None:
    """Return the saved steps: the run takes the largest whole number of steps below the bound."""
    most = int(bound // 1)
    if slip != "at most" and most == bound:
        most -= 1
    most += slip == "rounded"
    if slip == "left" and most >= 1:
        return most
    if slip == "zero" and most < 1:
        return 0
    least = {"one": 2, "no steps": 0}.get(slip, 1)
    return n_steps - most if most >= least or slip == "negative" else None


# What each mistake is told; `billed` says what it comes to.
SLIPS = {
    "forward": Why("Training was counted as one forward pass.",
                   "The backward pass takes two more: 3 * learner_forward a row."),
    "chosen": Why("Only the chosen rows were scored; but who is chosen is known after scoring.",
                  "Each candidate is scored."),
    "rest": Why("Only the rows that are not chosen were scored.",
                "Each candidate is scored, the chosen ones too, and those are then learned from."),
    "no reference": Why("The reference's scoring is missing.",
                        "Both models read every candidate."),
    "no learner": Why("The learner's scoring is missing.", "Both models read every candidate."),
    "backward": Why("Scoring was counted as if it were training.",
                    "A score needs the forward pass alone."),
    "reuse": Why("The chosen rows' scoring was taken for the forward pass of their training, "
                 "or the backward pass for one pass and not two.",
                 "Scoring runs without a graph and in evaluation mode: training reads them again."),
    "free": Why("The reference came for nothing.",
                "It was trained: add its training, divided among the runs."),
    "once": Why("The reference's training was counted as forward passes.",
                "Three times `reference_forward` for every row it learned from."),
    "super": Why("The reference's training was counted with all candidates.",
                 "It learned from `n_chosen` rows in a step."),
    "unshared": Why("This run alone paid for the reference.",
                    "All runs share it: a part of 1 / n_runs."),
    "all trained": Why("All candidates were learned from; only the chosen ones are.",
                       "3 * learner_forward * n_chosen, and one forward pass of both models for "
                       "each candidate."),
    "by the learner": Why("The reference's training was counted with the learner's forward pass.",
                          "A model that learns pays its own: 3 * reference_forward a row."),
    "super plain": Why("The run without selection was charged for all candidates.",
                       "It sees none of them: 3 * learner_forward * n_chosen a step."),
    "left": Why("These are the steps that are left, not those that are saved.",
                "n_steps minus the steps that the run may take."),
    "one": Why("A run of one step that costs less was turned away.",
               "`None` only where not even 1 step is left."),
    "zero": Why("0 steps to be saved would mean that it always pays.",
                "`None` where not even 1 step is left."),
    "no steps": Why("Where no step is left all steps would be saved.",
                    "`None`: a run takes at least one."),
    "at most": Why("As dear is not cheaper.", "The total must be less, not equal."),
    "rounded": Why("One step more than the largest number that costs less.",
                   "Of the steps the run may take, round down; of the saved ones, up."),
    "negative": Why("A run of no steps learns nothing.", "`None` where not even 1 step is left."),
    "floats": Why("A float has 53 bits, and this bill needs more.",
                  "Whole numbers: multiply by `n_runs` and divide with `//`."),
}  # fmt: skip
