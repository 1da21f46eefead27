"""Exercise 13.5: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch13_data_selection.name_fault import EXERCISE
from moe_teach.train.selector import row_losses


def _rows(selector, model, candidates, n_chosen, step):
    return sorted(selector.choose(model, candidates, n_chosen, step).tolist())


def _named(make, model, reference, candidates, n_chosen, *, without="", n_steps=6):
    """Go through the experiments but for one, or with one done as it should not be."""
    given = model, candidates, n_chosen
    model.train()
    first = _rows(make(), *given, 0)
    if not model.training and without != "left asleep":
        return "left asleep"
    if len(set(first)) < n_chosen and without != "twice":
        return "twice"
    model.train(without == "awake all along")
    new = [_rows(make(), *given, step) for step in range(n_steps)]
    one = make()
    in_a_row = [_rows(one, *given, step) for step in range(n_steps)]
    if without == "compares steps" and new[0] != new[1]:
        return "history"
    if new != in_a_row and without != "history":
        return "history"
    if all(rows == new[0] for rows in new) and without != "no step":
        return "no step"
    model.train()
    if [_rows(make(), *given, step) for step in range(n_steps)] != new and without != "awake":
        return "awake"
    gain = row_losses(model, candidates) - row_losses(reference, candidates)
    gain = -gain if without == "sign" else gain
    gain = row_losses(model, candidates) if without == "hard" else gain
    is_low = sum(float(gain[rows].mean()) for rows in new) / n_steps < gain.mean()
    return "sign" if is_low and without != "no sign" else "healthy"


@EXERCISE.wrong(stage="healthy", says="other rows in another step are no fault".capitalize())
def compares_other_steps(*args, **kwargs):
    return _named(*args, **kwargs, without="compares steps")


@EXERCISE.wrong(stage="healthy", says="less than the learner's")
def takes_the_sign_for_wrong(*args, **kwargs):
    return _named(*args, **kwargs, without="sign")


@EXERCISE.wrong(stage="healthy", says="is not the same as high learnability")
def takes_hard_for_learnable(*args, **kwargs):
    return _named(*args, **kwargs, without="hard")


@EXERCISE.wrong(stage="healthy", says="the name of a fault")
def says_nothing(make, model, reference, candidates, n_chosen):
    return True


@EXERCISE.wrong(stage="form of a choice", says="the model is in evaluation mode")
def forgets_the_mode(*args, **kwargs):
    return _named(*args, **kwargs, without="left asleep")


@EXERCISE.wrong(stage="form of a choice", says="names a row twice")
def forgets_to_count(*args, **kwargs):
    return _named(*args, **kwargs, without="twice")


@EXERCISE.wrong(stage="memory and luck", says="called 'history', and it is 'awake'")
def experiments_awake(*args, **kwargs):
    return _named(*args, **kwargs, without="awake all along")


@EXERCISE.wrong(stage="memory and luck", says="with its dropout at work")
def never_wakes_the_model(*args, **kwargs):
    return _named(*args, **kwargs, without="awake")


@EXERCISE.wrong(stage="memory and luck", says="called 'no step', and it is 'history'")
def forgets_the_past(*args, **kwargs):
    return _named(*args, **kwargs, without="history")


@EXERCISE.wrong(stage="memory and luck", says="the same rows of these candidates in every step")
def forgets_the_step(*args, **kwargs):
    return _named(*args, **kwargs, without="no step")


@EXERCISE.wrong(stage="what is preferred", says="better than the reference")
def never_asks_what_is_preferred(*args, **kwargs):
    return _named(*args, **kwargs, without="no sign")


@EXERCISE.right
def experiment_by_experiment(*args, **kwargs):
    return _named(*args, **kwargs, n_steps=8)


@EXERCISE.right
def in_another_order(make, model, reference, candidates, n_chosen):
    model.train()
    selector = make()
    chosen = [_rows(selector, model, candidates, n_chosen, step) for step in (5, 6, 7, 8, 9)]
    if not model.training:
        return "left asleep"
    if any(len(set(rows)) < n_chosen for rows in chosen):
        return "twice"
    again = [
        [_rows(make(), model, candidates, n_chosen, step) for step in (5, 6, 7)] for _ in range(3)
    ]
    if any(rows != again[0] for rows in again):
        return "awake"
    if [_rows(selector, model, candidates, n_chosen, step) for step in (5, 6, 7)] != again[0]:
        return "history"
    if chosen.count(chosen[0]) == len(chosen):
        return "no step"
    gain = row_losses(model, candidates) - row_losses(reference, candidates)
    mean = sum(float(gain[rows].mean()) for rows in chosen) / len(chosen)
    return "healthy" if mean > gain.mean() else "sign"
