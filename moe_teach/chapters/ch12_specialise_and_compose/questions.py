"""Chapter 12: the questions of its lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="12.q1",
        prompt="A new skill is taught to a model with 16 experts a layer, by training a fifth of "
        "its experts. Three choices of equal number: those that the new text needs most, some "
        "drawn by lot, and those it needs least. Which choice harms the old domains clearly less "
        "than the choice by lot?",
        choices={
            "a": "those needed most: they touch nothing that the others use",
            "b": "none of the two: few weights move in every case",
            "c": "those needed most, and they also learn the skill best",
        },
        answer="b",
        because="Most needed or drawn by lot: both move as few weights, and outside arithmetic, "
        "the new skill's neighbour, the old domains stay about where they were with either. What "
        "relevance buys is the new skill. The least needed ones harm nobody because the new text "
        "hardly reaches them, so they hardly learn.",
        replies={
            "a": "They do work for other domains too: a router shares its experts.",
            "c": "The second half is right. Compare the old domains with the lot's row.",
        },
        hints=("Low harm can come from what is trained, or from how much. Which control tells?",),
    ),
    Question(
        id="12.q2",
        prompt="A dense model becomes an MoE with 8 copies of each feed-forward as experts, of "
        "which each token asks one. Its gate is the raw probability of a router that knows "
        "nothing. How many times its old answer does a feed-forward give, about? (A number.)",
        answer=0.125,
        tolerance=0.01,
        misconceptions={
            1: "So it would be if the gates of a token summed to 1.",
            8: "Only one of the eight is asked.",
            0.25: "That is with two experts asked; here it is one.",
        },
        because="A router that knows nothing gives each of 8 experts about 1/8, and the one that "
        "is asked is weighed by that. All layers shrink at once, and the loss jumps.",
        hints=("What does a softmax over eight nearly equal numbers give?",),
    ),
    Question(
        id="12.q3",
        prompt="The module of the new skill is removed again, by writing back the expert that was "
        "there. What is left of it in the model?",
        choices={
            "a": "a little: other experts have adapted to it",
            "b": "nothing, to the last bit",
            "c": "a little: the router has learned about it",
        },
        answer="b",
        because="Nothing else was trained while it was there, and its router row was part of what "
        "was written back. If a router is tuned after the installation, that is another model, "
        "and its rows must be kept for the way back as well.",
        replies={
            "a": "Experts adapt by training, and nobody trained them.",
            "c": "Only if it was tuned in between, and here it was not.",
        },
        hints=("Which numbers were written at the installation, and which are written back?",),
    ),
)
