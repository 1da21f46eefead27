"""Chapter 06: the questions of its lessons. 06b and 06c have theirs in `more_questions`."""

from moe_teach.chapters.ch06_load_balancing.more_questions import MORE
from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="6.q1",
        prompt="You raise the coefficient of the balancing loss from 0.1 to 10. What happens to "
        "the load and to the accuracy?",
        choices={
            "a": "the load gets more even, and the accuracy rises with it",
            "b": "the load stays even, and the accuracy falls",
            "c": "nothing: the loss is already at its minimum of 1",
            "d": "the load collapses again, because the loss explodes",
        },
        answer="b",
        because="The router now serves the balancing loss and no longer the task. Even loads are "
        "easy to have: send tokens anywhere, as long as everybody gets some. Balance is a "
        "condition for using all experts, not a measure of how well they are used.",
        replies={
            "a": "Up to a point, yes, and that is how it goes from 0 to 0.1. Look at the right end "
            "of the trade-off curve.",
            "c": "Around 1 it still has a gradient: whenever a batch is uneven by chance, it "
            "pushes, and with a coefficient of 10 it pushes harder than the task.",
            "d": "The value of this loss lies between about 1 and E; nothing explodes.",
        },
        hints=("Can a router be balanced and know nothing about its tokens?",),
    ),
    Question(
        id="6.q2",
        prompt="Four experts, k = 2. They receive 50, 25, 25 and 0 % of the choices; their mean "
        "probabilities are 0.4, 0.3, 0.2 and 0.1. What is the balancing loss? (one decimal)",
        answer=1.3,
        tolerance=0.011,
        misconceptions={
            2.6: "That is k times too much: the counts were divided by the tokens. The loads are "
            "shares of all choices and sum to 1 already.",
            0.325: "That is the sum alone. The factor E in front makes even routing cost 1.",
            0.65: "That is k times the sum. The factor in front is the number of experts, and k is "
            "in the loads already.",
            1.2: "That is mean probability times itself. One of the two factors is the load.",
            1.5: "That is load times load. One of the two factors is the mean probability.",
            0.08125: "That is a mean over the experts, without the factor E. The loss is E times "
            "the sum.",
        },
        because="4 * (0.5 * 0.4 + 0.25 * 0.3 + 0.25 * 0.2 + 0 * 0.1) = 4 * 0.325 = 1.3. The loads "
        "are shares of all choices already, so k does not appear.",
        hints=("E times the sum of load times mean probability. k is in the load already.",),
    ),
    Question(
        id="6.q3",
        prompt="A colleague shows a language model with expert choice: perfectly balanced, and its "
        "validation loss is lower than yours. What do you ask first?",
        choices={
            "a": "how many seeds were run",
            "b": "which coefficient the balancing loss had",
            "c": "whether a later token can change an earlier prediction",
            "d": "whether dead experts were counted",
        },
        answer="c",
        because="Experts that choose among all tokens of a batch look at later tokens, too. A loss "
        "that was measured with a view of the future is no language-model loss; nobody can "
        "generate text that way. Ask for seeds after that.",
        replies={
            "a": "A good question, and the second one. No number of seeds mends a comparison of "
            "two different tasks.",
            "b": "Expert choice needs no balancing loss: the load is even by construction.",
            "d": "There are none in training: every expert takes the same number of tokens.",
        },
        hints=("What does an expert look at when it chooses its tokens?",),
    ),
    Question(
        id="6.q4",
        prompt="Eight experts, two to four in use. Take away one thing alone, with no balancing: "
        "when will seven or eight experts be in use?",
        choices={
            "a": "when all experts learn from all tokens, so that none gets ahead",
            "b": "when the router is told the errors of all experts, not only of the chosen one",
            "c": "when the experts see the tokens less their common part",
            "d": "when the router sees the tokens less their common part",
        },
        answer="d",
        because="A router is a linear map. What all tokens share moves the logits of all of them "
        "together, whatever a step was for. Nobody has to get richer for that, and the experts "
        "may see what they like.",
        replies={
            "a": "That is the story of the rich who get richer. Look at the row: with all experts "
            "learning, one or two are in use at 500 steps.",
            "b": "Then it knows best which expert is ahead, and sends everybody there: one in use "
            "in every seed.",
            "c": "The experts do not decide who is asked. Look at the row.",
        },
        hints=("Who decides, and what does it look at?",),
    ),
    *MORE,
)
