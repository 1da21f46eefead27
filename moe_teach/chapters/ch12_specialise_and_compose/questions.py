"""Chapter 12: the questions of its lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="12.q1",
        prompt="A new skill is taught to a model with 16 experts a layer, by training a fifth of "
        "its experts: those that the new text asks for most, or as many drawn by lot. Same rate, "
        "same steps. With which choice are the old domains harmed more?",
        choices={
            "a": "with the lot: it hits experts that others need",
            "b": "with those asked for most",
            "c": "no difference: as few weights move in both",
        },
        answer="b",
        because="The experts that remainders ask for are those that arithmetic asks for, and they "
        "get nearly all of the gradient. Drawn by lot, most of the trained experts hardly see the "
        "new text and hardly move, so they learn little and harm little. Relevance buys the skill.",
        replies={
            "a": "It does hit them. But how far do they move, if the new text seldom reaches them?",
            "c": "As few weights, but not as much gradient: who is asked more moves more.",
        },
        hints=("An expert moves by the text that reaches it. Who is reached?",),
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
