"""Chapter 02: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="2.q1",
        prompt="Trained with the competitive error, how does the top expert alone compare with the "
        "blend of all twelve?",
        choices={
            "a": "several times worse: experts always need each other",
            "b": "about as good",
            "c": "several times better",
        },
        answer="b",
        because="Its experts were never allowed to lean on each other: each one's error is its "
        "own. So each has to paint its places by itself, and a blend has little to add.",
        replies={
            "a": "That is the cooperative error. What does an expert's own term in (1.2) contain?",
            "c": "Better would need a blend that hurts. That happens with the third error of this "
            "lesson, where gates stay soft.",
        },
        hints=("In (1.2), can one expert's mistake be repaired by another?",),
    ),
    Question(
        id="2.q2",
        prompt="The experts are frozen at random maps and the router alone is trained. Why does "
        "the matching score not stay at the level of the untrained router?",
        choices={
            "a": "because the experts still learn a little",
            "b": "because the router finds the region labels by itself",
            "c": "because it learns which wrong expert is least wrong where, and those borders "
            "follow the true ones in part",
            "d": "because the score is computed on the training places",
        },
        answer="c",
        because="A router can only choose between the differences that experts offer. Random maps "
        "differ too, and where the rule changes, the least wrong of them often changes as well.",
        replies={
            "a": "They are frozen: `learn` names the router alone.",
            "b": "Labels are never shown to the model. What does the router see of the truth?",
            "d": "All numbers come from new places.",
        },
        hints=("What is the best this router can do with twelve wrong experts?",),
    ),
    Question(
        id="2.q3",
        prompt="The target is 0. Two experts with equal gates answer +3 and -1. By how much is the "
        "competitive error larger than the cooperative one?",
        answer=4.0,
        tolerance=0.001,
        because="Competitive: (9 + 1) / 2 = 5. Cooperative: the blend is 1, its square 1. The gap "
        "of 4 is the variance of the answers under the gates.",
        misconceptions={
            5: "This is the competitive error itself. Subtract the cooperative one from it.",
            1: "This is the cooperative error itself. Subtract it from the competitive one.",
            -4: "The cooperative one is the smaller. How much *larger* is the other?",
            9: "The gates are one half each: weigh the two squares, 9 and 1, before you add them.",
            2: "This is the spread of the answers, 2, and not its square. Both errors are squares.",
        },
        hints=("Compute both: blend, then square; square, then blend.",),
    ),
)
