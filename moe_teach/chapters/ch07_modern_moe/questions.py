"""Chapter 07: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="7.q1",
        prompt="A layer of 8 experts, one per token, is cut into 32 small ones, four per token. "
        "Same parameters, same FLOPs in the experts; the possible routes grow from 8 to 35,960. On "
        "a task of pure memory, how much more has the finer layer stored after 900 steps?",
        choices={
            "a": "at least twice as much: routes are what counts",
            "b": "a few percent to a fourth, nearly all of it from the first cut",
            "c": "exactly as much: parameters are parameters",
            "d": "less: small experts are too weak",
        },
        answer="b",
        because="Bits are stored in parameters, and there are no more of them. The first cut helps "
        "by three percent at the rate of 0.01, and by about a fifth where each layer has a rate of "
        "its own. The second adds one or two percent.",
        replies={
            "a": "A route is a choice among what is stored. It adds no place to store more.",
            "c": "There is no more room, true. But 16 top-2 uses it better than 8 top-1, whatever "
            "the seed and the rate.",
            "d": "At no length and no rate of this lesson does 32 top-4 store less than 8 top-1.",
        },
        hints=("What did chapter 05 say stored bits depend on?",),
    ),
    Question(
        id="7.q2",
        prompt="8 experts of width 64, one per token, become 32 of width 16; then one of these is "
        "made always on. How many different sets of routed experts can a token be given?",
        answer=4495,
        misconceptions={
            35960: "That is 32 choose 4: the routes before one expert is made always on. Nobody "
            "chooses it any more, and it uses a place.",
            31465: "That is 31 choose 4: the shared expert left the pool, but it uses one of the 4 "
            "places, too.",
            4960: "That is 32 choose 3: the shared expert uses a place, but it also leaves the "
            "pool.",
            26970: "These are ordered lists, 31 · 30 · 29. A route is a set: divide by 3 · 2 · 1.",
            29791: "That is 31 · 31 · 31, as if a token could choose the same expert three times.",
            7: "These are the routes of 8 experts less the shared one, with one place. The experts "
            "are cut first.",
            8: "These are the routes of the layer before it was cut.",
        },
        because="One of 32 is shared, so 31 are left to choose from, and it uses one of the 4 "
        "places, so 3 are left to fill: 31 choose 3 = 31 · 30 · 29 / 6 = 4,495. All 32 with 4 "
        "places would have given 35,960.",
        hints=("Cut first: 32 experts, 4 places. Then take one expert and one place away.",),
    ),
    Question(
        id="7.q3",
        prompt="A group-limited router closes groups by setting their scores to 0. In its first "
        "weeks no token ever reached a closed group. Then some did. What had happened?",
        choices={
            "a": "a sigmoid became negative",
            "b": "the bias had made the ranking of open experts negative, and 0 won",
            "c": "the groups had changed their order",
            "d": "the gates were not normalised",
        },
        answer="b",
        because="Sigmoids are positive, so at first zero is the smallest ranking there is. Then "
        "the bias of busy experts falls step by step, score plus bias drops below zero, and a "
        "closed expert with 0 stands higher. Minus infinity has no such day.",
        replies={
            "a": "A sigmoid lies between 0 and 1, always. What is added to it does not.",
            "c": "Groups are fixed: neighbours stay neighbours.",
            "d": "Gates are read after the choice. They cannot change who is chosen.",
        },
        hints=("Which part of the ranking moves a little in every step, and has no floor?",),
    ),
    Question(
        id="7.q4",
        prompt="You train on a mixture of code, prose and sums, each sequence of one kind, and you "
        "want experts that keep to one kind. Over which tokens do you balance the load?",
        choices={
            "a": "over each sequence",
            "b": "over the whole batch of all machines",
            "c": "over the tokens of each machine, one sequence at a time",
            "d": "it makes no difference: the mean is the same",
        },
        answer="b",
        because="Balanced over the batch, a sequence of code may use the code experts only, as "
        "long as others use the rest. Balanced over each sequence, every kind must use all experts "
        "evenly, and what the choice says about the kind goes down with it.",
        replies={
            "a": "Then each sequence must spread over all experts, and no expert may keep to code.",
            "c": "With one sequence at a time that is balance over each sequence, under another "
            "name.",
            "d": "The mean load is the same. What is allowed inside one sequence is not.",
        },
        hints=("Ask of each: may a sequence of code use only half of the experts?",),
    ),
)
