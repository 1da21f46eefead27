"""Chapter 13, exercise 13.6: an open task, a selector that learns more from the same steps."""

import inspect
from functools import cache
from types import MethodType, SimpleNamespace
from typing import Any

import torch

from moe_teach.chapters.ch13_data_selection.bigrams import (
    CANDIDATES,
    CHOSEN,
    Bigrams,
    Chain,
    loss_after,
    reference,
)
from moe_teach.data.batches import Batch
from moe_teach.judging.exercise import Exercise, Goal, Words, require, require_tensor

EXERCISE = Exercise(
    id="13.6",
    name="MySelector",
    title="Open task: your selector in the loop",
    points=3,
    difficulty=3,
    importance=4,
    minutes=30,
    needs=("13.1", "13.2"),
    changes_inputs=True,  # a model's mode is changed and put back
    limit=60,
    version=2,
    goal=Goal(
        quantity="loss on clean rows after 80 steps",
        unit="nats",
        baseline=1.317,
        target=0.8,
        more_is_better=False,
        limit="What nobody can fall below, nobody knows; a run that takes what comes of clean rows "
        "alone reaches 0.778.",
        cause="Hard rows are noise, and easy ones are known after a few steps: what is left is "
        "where learner and reference part.",
        cure="Learnability in evaluation mode, and a scale of 8 or more: at 1 the draw is nearly "
        "even.",
    ),
    hints=(
        "Put together what you have: two models read the candidates, 13.1 scores them, 13.2 draws. "
        "What is new is the care for the model and the seed.",
        "Remember `model.training`, `model.eval()`, read under `torch.no_grad()`, and put it back. "
        "Make the generator anew in each call, from `mixed(self.seed, step)` of moe_teach.seeding.",
        "with torch.no_grad(): ours = model.eval()(candidates.inputs).logits; theirs = "
        "self.reference(candidates.inputs).logits; model.train(was_training); scores = "
        "self.score(ours, theirs, candidates.targets); drawn = "
        "torch.Generator().manual_seed(mixed(self.seed, step)); return self.draw(scores, n_chosen, "
        "8.0, drawn).",
    ),
    explanation="Six rows in ten are noise, and a quarter repeat one letter, which the learner "
    "knows after some steps. Rows that are hard are noise, and the run learns next to nothing; "
    "rows that are easy for the reference are the repeated ones to the end. Learnability at a "
    "scale of 8 ends at 0.76 nats, below the 0.778 of a run that takes what comes of clean rows "
    "alone; it reads five times the rows for that, and the bill of 13.4 is not paid with it.",
)


def _made(answer: Any, seed: int, n_candidates: int = CANDIDATES) -> Any:
    return answer(n_candidates, reference(1), seed)


@cache
def _candidates(n: int, step: int) -> Batch:
    return Chain(1).batch(n, 7, step)


def _rows(selector: Any, model: Bigrams, step: int = 0, n_chosen: int = CHOSEN) -> list[int]:
    candidates = _candidates(selector.n_candidates, step).map(torch.clone)
    got = selector.choose(model, candidates, n_chosen, step)
    require_tensor(got, {"step": step})
    require(
        got.shape == (n_chosen,) and got.dtype == torch.int64 and len(got.unique()) == n_chosen,
        f"`choose` must return the places of {n_chosen} different rows, in int64.",
        cause="Scores or values came back, all rows, or a row twice.",
        cure="Return what your draw of 13.2 returns for `n_chosen`.",
        got=got,
        example={"n_candidates": selector.n_candidates, "n_chosen": n_chosen, "step": step},
    )
    return sorted(got.tolist())


@EXERCISE.stage("what the loop asks for")
def _selector_form(answer: Any, seed: int) -> None:
    selector = _made(answer, 1, 24)
    missing = [name for name in ("n_candidates", "name", "choose") if not hasattr(selector, name)]
    require(not missing, f"The selector has no `{', '.join(missing)}`.")
    require(
        selector.n_candidates == 24,
        "`n_candidates` must be the number that the selector was made with.",
        expected=24,
        got=selector.n_candidates,
    )
    for n_chosen in (CHOSEN, 5):
        _rows(selector, Bigrams(seed, spread=1.0), n_chosen=n_chosen)
    names = [_made(answer, 1, 24).name, _made(answer, 1, 32).name, _made(answer, 2, 24).name]
    require(
        all(isinstance(name, str) for name in names) and len(set(names)) == 3,
        "Selectors of another number of candidates or another seed must have another `name`.",
        cause="The loop keeps the name with a run, so that nobody resumes it with another "
        "selector; two that choose differently may not share it.",
        cure='`f"mine-{n_candidates}-{seed}"`.',
        got=Words(", ".join(map(str, names))),
    )


@EXERCISE.stage("the learner")
def _selector_guest(answer: Any, seed: int) -> None:
    model = Bigrams(seed, spread=2.0, dropout=0.5)
    chosen = []
    for is_training in (True, True, False):
        model.train(is_training)
        chosen.append([_rows(_made(answer, 1), model, step) for step in range(2)])
        require(
            model.training == is_training,
            "After choosing, the model is in another mode than before.",
            cause="`model.eval()` was not taken back: from here on it learns without dropout, or "
            "is judged with it."
            if is_training
            else "`model.train()` is not what it was: it came in evaluation mode.",
            cure="`was_training = model.training` first, and `model.train(was_training)` at the "
            "end.",
        )
    require(
        chosen[0] == chosen[2] == chosen[1],
        "With the same weights, candidates and step, a model in training mode gets other rows than "
        "one in evaluation mode.",
        cause="The scores were computed with dropout at work, or chance came from elsewhere.",
        cure="`model.eval()` before scoring, and all chance from a generator of seed and step.",
    )
    require(
        model.table.grad is None,
        "After choosing, the model's weights hold a gradient, which the next step would add to "
        "its own.",
        cause="`backward()` was called on a score.",
        cure="Scoring learns nothing: read both models under `torch.no_grad()`.",
    )


@EXERCISE.stage("resumed")
def _selector_resumed(answer: Any, seed: int) -> None:
    model = Bigrams(seed, spread=2.0)
    selector = _made(answer, 1)
    in_a_row = [_rows(selector, model, step) for step in range(4)]
    anew = [_rows(_made(answer, 1), model, step) for step in range(4)]
    require(
        in_a_row == anew,
        "A selector that was made anew chooses other rows at a step than one that has chosen "
        "before.",
        cause="It keeps a generator or scores from step to step: a resumed run would be another "
        "run.",
        cure="Make the generator in `choose`: `torch.Generator().manual_seed(mixed(seed, step))`.",
    )


@EXERCISE.stage("chance")
def _selector_chance(answer: Any, seed: int) -> None:
    model = Bigrams(seed, spread=1e-3)  # all scores are nearly equal, and luck decides
    state = torch.get_rng_state()

    def luck(own_seed: int, step: int) -> list[int]:
        selector = answer(CANDIDATES, Bigrams(seed).eval(), own_seed)
        candidates = _candidates(CANDIDATES, 0).map(torch.clone)
        return sorted(selector.choose(model, candidates, CHOSEN, step).tolist())

    by_seed = [[luck(own, step) for step in (3, 4)] for own in (5, 6)]
    require(
        torch.equal(torch.get_rng_state(), state),
        "After choosing, torch's common generator is in another state than before.",
        cause="It was seeded or drawn from; dropout in the training step draws from it, too.",
        cure="A generator of your own: `torch.Generator().manual_seed(mixed(seed, step))`.",
    )
    over_steps = any(first != second for first, second in by_seed)
    over_seeds = any(one != other for one, other in zip(*by_seed, strict=True))
    require(
        over_steps or not over_seeds,
        "It draws the same luck at every step.",
        cause="The generator is made of the seed alone: equal scores fall the same way each time.",
        cure="`mixed(self.seed, step)`.",
    )
    require(
        over_seeds or not over_steps,
        "Selectors of two seeds draw the same luck.",
        cause="The generator is made of the step alone: runs that should differ do not.",
        cure="`mixed(self.seed, step)`.",
    )


@EXERCISE.goal.measure
def _selector_loss(answer: Any, seed: int) -> float:
    selector = answer(CANDIDATES, reference(seed % 3), seed % 3)
    choose = selector.choose
    if isinstance(choose, MethodType):  # it was watched in the stages, and is called often here
        choose = MethodType(inspect.unwrap(choose.__func__), selector)
    plain = SimpleNamespace(n_candidates=CANDIDATES, name=selector.name, choose=choose)
    return loss_after(plain, seed % 3)
