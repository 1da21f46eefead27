"""Chapter 06, exercise 6.5: a diagnosis for every patient of the bug clinic."""

import difflib
from typing import Any

from moe_teach.chapters.ch06_load_balancing.clinic.diagnoses import DIAGNOSES
from moe_teach.chapters.ch06_load_balancing.clinic.ward import cases, objection
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="6.5",
    name="my_diagnoses",
    title="The bug clinic",
    points=3,
    difficulty=4,
    importance=5,
    minutes=30,
    needs=("6.1", "6.3"),
    limit=20,
    hints=(
        "Look for the panel in which the patient leaves the diamonds. Begin with panels 5 to 8: "
        "each of them belongs to one part of the layer. Panels 2 and 3 tell the balancing apart.",
        "Uneven load, panel 1, has several causes. Read panel 3 next. Is the logged loss's own "
        "gradient there, but nothing arrives? Or is there none to begin with? Then ask panel 2 "
        "whether the logged number still notices a crowd.",
        "Turn it round: take one diagnosis, say what each panel would show, and look for the "
        "patient that fits. Only k = 1 differs, in the task's gradient: think of chapter 03. The "
        "crowd of second choices is not seen: who counts what? Late tokens only: think of "
        'chapter 04. If nothing differs, "healthy" is a diagnosis, too.',
    ),
    explanation="Each of these mistakes runs without an error, and for most of them the loss "
    "falls. What finds them is an observation whose right value is known beforehand: 1 for even "
    "routing, equal gradients for what is logged and what arrives, no change under a common bias, "
    "the same answer twice. One observation is seldom enough: three patients have the same load "
    "and three different faults. The sources of the faults, with the projects in which they were "
    "found, are in moe_teach/chapters/ch06_load_balancing/clinic: loss_faults.py, layer_faults.py.",
)


@EXERCISE.stage("a dictionary")
def _clinic_form(answer: Any, seed: int) -> None:
    got = answer()
    require(
        isinstance(got, dict),
        "This is no dictionary.",
        cure='Return the letter of each case with your diagnosis, {"A": "healthy", ...}.',
        got=got,
    )
    strangers = [case for case in got if case not in cases()]
    require(
        not strangers,
        f"There is no case {str(strangers[:1])[1:-1]}.",
        cause=f"The ward has {', '.join(cases())}, in capitals.",
        cure="Use the letters as keys, and the diagnoses as values.",
        got=got,
    )
    missing = [case for case in cases() if not got.get(case) or got[case] is Ellipsis]
    require(
        not missing,
        f"No diagnosis yet for {', '.join(missing)}.",
        cure="Write one for every case; a first guess is allowed, because the answer tells you "
        "what speaks against it.",
        got=got,
    )


@EXERCISE.stage("words of the clinic")
def _clinic_words(answer: Any, seed: int) -> None:
    for case, claimed in answer().items():
        near = difflib.get_close_matches(
            str(claimed).lower().replace(" ", "-"), DIAGNOSES, n=1, cutoff=0.8
        )
        meant = f"Did you mean {near[0]!r}?" if near else "The words are those of the vocabulary."
        require(
            isinstance(claimed, str) and claimed in DIAGNOSES,
            f"Case {case}: the clinic has no such diagnosis.",
            cause=meant,
            cure="`clinic.vocabulary()` lists them; write one as it stands there.",
            got=claimed,
        )


@EXERCISE.stage("diagnoses")
def _clinic_diagnoses(answer: Any, seed: int) -> None:
    got = answer()
    objections = {case: objection(case, got[case]) for case in cases()}
    right = [case for case, text in objections.items() if not text]
    wrong = [case for case, text in objections.items() if text]
    if wrong:
        named = f" ({', '.join(right)})" if right else ""
        require(
            False,
            f"Right: {len(right)} of {len(objections)}{named}. The others each meet an objection.",
            cause="An objection is an observation that your diagnosis does not explain.",
            cure="Draw the chart again and look at the panel it names.",
            expected=Words("no observation that speaks against a diagnosis"),
            got=Words("\n".join(objections[case] for case in wrong)),
        )
