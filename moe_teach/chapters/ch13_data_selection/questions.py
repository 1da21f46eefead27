"""Chapter 13: the questions of its lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="13.q1",
        prompt="Learnability reached uniform's last loss in a small part of the steps. It looks at "
        "five rows for each one that it learns from. Draw the same runs over the floating-point "
        "operations that they took, scoring included. Who is ahead then?",
        choices={
            "a": "learnability, by as much: scoring is a forward pass, and those are cheap",
            "b": "learnability, by half as much",
            "c": "nobody: what is saved in steps is spent on scoring",
            "d": "uniform, by far: four fifths of the scored rows are thrown away",
        },
        answer="c",
        because="A step of uniform learns from 8 rows, which costs three forward passes of each. A "
        "step with learnability scores 40 rows twice, by learner and reference, and then learns "
        "from 8: 4.3 times as much. It takes about a quarter of the steps, so the two cancel.",
        replies={
            "a": "Count them: how many rows go forward in one step, and through how many models?",
            "b": "Count the price of a step, and divide the lead by it.",
            "d": "They are thrown away, and a step costs 4.3 times as much. How many did it save?",
        },
        hints=("Learning from a row costs 3 forward passes. How many passes is scoring 40 rows?",),
    ),
    Question(
        id="13.q2",
        prompt="Now a stream of clean text, no junk in it. How much earlier, in steps, does "
        "learnability reach uniform's last loss?",
        choices={
            "a": "as much earlier as before: it finds what can be learned",
            "b": "a little earlier, or not at all",
            "c": "later: it throws good text away",
        },
        answer="b",
        because="Most of what was gained was gained by leaving out what nobody can learn. Where "
        "everything can be learned, about any row is as good as another at this size, and there is "
        "little to choose.",
        replies={
            "a": "What did it leave out on the noisy stream? Look at the share of clean rows.",
            "c": "It draws; nothing good is ever thrown away for good, the next rows are as good.",
        },
        hints=("On the stream with junk: what share of the rows it chose was clean?",),
    ),
    Question(
        id="13.q3",
        prompt='Someone reports: "with our selection, 10 times fewer steps". Which one thing do '
        "you ask for first?",
        choices={
            "a": "more seeds",
            "b": "the same curve over all that was computed, and the stream's share of junk",
            "c": "a larger model",
            "d": "the learning rate",
        },
        answer="b",
        because="Here both decide about everything: the axis takes most of the factor away, and a "
        "clean stream the rest. Seeds and rates matter too, but here no seed and no rate moved the "
        "order as far as those two did.",
        replies={
            "a": "Worth asking. In this lesson every seed agreed, and the sentence was still "
            "misleading.",
            "c": "It may well be different there, and you would not know why.",
            "d": "Worth asking. Each rule had its own best rate here, and the axis still decided.",
        },
        hints=("Which changes turned a factor into nothing in this lesson?",),
    ),
)
