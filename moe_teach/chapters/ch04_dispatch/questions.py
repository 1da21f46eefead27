"""Chapter 04: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="4.q1",
        prompt="Five ways to run the experts, none of which turns a token away: a loop with masks, "
        "one-hot products, padded blocks, sorted slices, one grouped matmul. Which of them compute "
        "rows that nobody asked for?",
        choices={
            "a": "the loop and the sorted slices",
            "b": "the one-hot products and the padded blocks",
            "c": "only the padded blocks",
            "d": "all but the grouped matmul",
        },
        answer="b",
        because="Both put the choices into a rectangle, E experts by as many places as the busiest "
        "one needs, and compute all of it. The other three compute exactly T · K rows; they differ "
        "in how many calls that takes.",
        replies={
            "a": "They make many small calls, which may be slow, but every row they compute is "
            "wanted by somebody.",
            "c": "The one-hot products fill the same rectangle; they only get there by multiplying "
            "instead of copying.",
            "d": "Sorted slices and the loop hand each expert just the rows that chose it.",
        },
        hints=("Which of them need every expert to have the same number of rows?",),
    ),
    Question(
        id="4.q2",
        prompt="1,024 tokens choose 2 of 8 experts each. The favourite is chosen 400 times, and no "
        "token is turned away. How many rows does the padded way compute?",
        answer=3200,
        misconceptions={
            2048: "That is how many rows are asked for, 1,024 · 2. The padded way computes every "
            "place of its rectangle, filled or not.",
            1024: "That is the number of tokens. Each asks for two rows, and padding adds more.",
            1152: "That is how many places stay empty. They are computed, and so are the others.",
            8192: "That would be a place for each token at every expert. The favourite was chosen "
            "400 times, so 400 places for each expert are enough.",
        },
        because="Eight experts with 400 places each: 8 · 400 = 3,200. Needed are 1,024 · 2 = "
        "2,048, so more than a third of the work is on zeros.",
        hints=("The busiest expert sets the number of places for all of them.",),
    ),
    Question(
        id="4.q3",
        version=2,
        prompt="A batch at capacity factor 1.0 loses 1,000 choices under first come, first served. "
        "Serve the same batch by gate, the largest first, with the same capacity. How many choices "
        "are lost?",
        answer=1000,
        misconceptions={
            0: "Then nobody would be turned away. But the popular experts are chosen as often as "
            "before, and have no more places.",
        },
        because="An expert that is chosen n times and has C places serves the smaller of the two, "
        "whoever stands first. So the counts settle how many are lost, and a queue only who.",
        hints=("How many does one expert serve that is chosen 700 times and has 512 places?",),
    ),
    Question(
        id="4.q4",
        prompt="Capacity factor 1.0, a skewed router, first come first served. Who is dropped?",
        choices={
            "a": "tokens at random: it evens out over the batch",
            "b": "the choices with the smallest gates",
            "c": "late tokens of the batch, where they choose popular experts",
            "d": "tokens that choose unpopular experts",
        },
        answer="c",
        because="An expert fills up in the order of the batch. Popular ones fill early and turn "
        "away everybody who comes later; unpopular ones still have empty places at the end.",
        replies={
            "a": "That is the policy 'random'. Under first come, the front of the batch loses "
            "nothing, on every seed.",
            "b": "That is the policy 'by gate'. First come does not look at gates.",
            "d": "Unpopular experts have places left, so nobody is turned away there.",
        },
        hints=("When the last token comes, which experts still have a place?",),
    ),
)
