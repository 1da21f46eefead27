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
        prompt="A model with k = 4 was trained with a balancing coefficient of 0.001, in a library "
        "where perfect balance scores k. Which coefficient has the same effect in our convention, "
        "where perfect balance scores 1?",
        answer=0.004,
        tolerance=1e-6,
        misconceptions={
            0.00025: "Divided instead of multiplied. Their loss is the larger one, so the same "
            "push needs a *larger* coefficient on ours.",
            0.001: "The same coefficient would push k times more weakly: perfect balance scores 4 "
            "there and 1 here.",
        },
        because="Their loss is k times ours, for every routing and so for its gradient too. Equal "
        "effect needs a coefficient k times as large: 4 · 0.001.",
        hints=("Coefficient times loss must be the same number in both conventions.",),
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
        hints=("Raise the extra skew in the widget and look at where the dropped choices stand.",),
    ),
)
