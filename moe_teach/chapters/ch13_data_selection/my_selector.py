"""Chapter 13, exercise 13.6: an open task, a selector that learns more from the same steps."""

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
    goal=Goal(
        quantity="loss on clean rows after 80 steps",
        unit="nats",
        baseline=1.319,
        target=0.8,
        more_is_better=False,
        limit="What nobody can fall below, nobody knows; a run that saw clean rows alone reaches "
        "0.76.",
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
    "rows that are easy for the reference are the repeated ones to the end. Learnability comes "
    "within 0.01 nats of a run on clean rows alone, at five times the rows to be read: the bill "
    "of 13.4 is not paid with that.",
)


def _made(answer: Any, seed: int, n_candidates: int = CANDIDATES) -> Any:
    return answer(n_candidates, reference(seed), seed)


def _rows(answer: Any, selector: Any, model: Bigrams, seed: int, step: int) -> list[int]:
    candidates = Chain(seed).batch(selector.n_candidates, 7)
    got = selector.choose(model, candidates, CHOSEN, step)
    require_tensor(got, {"step": step})
    require(
        got.shape == (CHOSEN,) and got.dtype == torch.int64 and len(got.unique()) == CHOSEN,
        f"`choose` must return the places of {CHOSEN} different rows, in int64.",
        cause="Scores or values came back, all rows, or a row twice.",
        cure="Return what your draw of 13.2 returns.",
        got=got,
    )
    return sorted(got.tolist())


@EXERCISE.stage("what the loop asks for")
def _selector_form(answer: Any, seed: int) -> None:
    selector = _made(answer, 1, 24)
    missing = [name for name in ("n_candidates", "name", "choose") if not hasattr(selector, name)]
    require(not missing, f"The selector has no `{', '.join(missing)}`.")
    _rows(answer, selector, Bigrams(seed, spread=1.0), 1, 0)
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
        chosen.append([_rows(answer, _made(answer, 1), model, 1, step) for step in range(3)])
        require(
            model.training == is_training,
            "After choosing, the model is in another mode than before.",
            cause="`model.eval()` was not taken back: from here on it learns without dropout, or "
            "is judged with it.",
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


@EXERCISE.stage("resumed")
def _selector_resumed(answer: Any, seed: int) -> None:
    model = Bigrams(seed, spread=2.0)
    selector = _made(answer, 1)
    in_a_row = [_rows(answer, selector, model, 1, step) for step in range(5)]
    anew = [_rows(answer, _made(answer, 1), model, 1, step) for step in range(5)]
    require(
        in_a_row == anew,
        "A selector that was made anew chooses other rows at a step than one that has chosen "
        "before.",
        cause="It keeps a generator or scores from step to step: a resumed run would be another "
        "run.",
        cure="Make the generator in `choose`: `torch.Generator().manual_seed(mixed(seed, step))`.",
    )


@EXERCISE.goal.measure
def _selector_loss(answer: Any, seed: int) -> float:
    return loss_after(_made(answer, seed % 3), seed % 3)
