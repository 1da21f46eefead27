"""Chapter 00: the lesson's questions."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="0.q1",
        prompt="How many of the twelve tokens notice when the content expert is destroyed?",
        answer=11,
        because="Every token except one has the content expert among its two choices, often with "
        "a small gate. A gate need not be large for its expert to matter.",
        misconceptions={
            12: "All twelve would mean that everybody chose it. One token has the numbers expert "
            "and the glue expert instead.",
            6: "These are the tokens whose *first* choice it is. A second choice has a gate too.",
            5: "These are the tokens whose *second* choice it is. Add those that chose it first.",
            1: "This one does *not* notice. The question asks for the others.",
            10: "So many did not notice that the *numbers* expert was destroyed. Content is chosen "
            "far more often.",
            8: "Two of three experts would be two thirds of the tokens if all were chosen equally "
            "often. They are not: count.",
        },
        hints=(
            "A token notices if the expert is its first or its second choice.",
            "Count the discs in the row of the content expert in the picture further down.",
            "`(routing.expert_ids == 2).any(dim=-1).sum()` counts them for you.",
        ),
    ),
    Question(
        id="0.q2",
        prompt="A model stores 60 parameters and uses 44 for one token. What must fit in memory?",
        choices={
            "a": "44 parameters, because the others are never called",
            "b": "60 parameters, because another token may need any of them",
            "c": "16 parameters, one expert at a time",
        },
        answer="b",
        because="The router decides token by token, so every expert has to be ready. Sparse models "
        "save work, not memory.",
        replies={
            "a": "True for one token. But which experts rest changes from token to token: think of "
            "the whole sentence.",
            "c": "That would mean loading an expert again and again. It can be done, but it "
            "must then be read from somewhere.",
        },
        hints=("How many different experts does the whole sentence use?",),
    ),
    Question(
        id="0.q3",
        prompt="In this chapter, who decided that `1991` goes to the numbers expert?",
        choices={
            "a": "the expert: it is good at numbers",
            "b": "the training: experts specialise by themselves",
            "c": "the router: its row for numbers weighs one feature highly",
        },
        answer="c",
        because="Experts never choose. In a trained model the router's rows are learned, and what "
        "they come to mean has to be measured.",
        replies={
            "a": "We could exchange the matrices of two experts and `1991` would go to the same "
            "place: nobody asks the expert.",
            "b": "Nothing was trained here. We wrote every number by hand.",
        },
        hints=("Which matrix is multiplied with the features before anything is chosen?",),
    ),
)
