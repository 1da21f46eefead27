"""Chapter 11: the questions of its lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="11.q1",
        prompt="The picture shows shares of domains for the experts of a trained model. You draw "
        "the same picture for a model that has never learned anything. What will you see?",
        choices={
            "a": "equal bars: random experts know no domains",
            "b": "uneven bars, less so than the trained ones",
            "c": "bars as uneven as the trained ones",
            "d": "one expert with everything",
        },
        answer="b",
        because="A random router is a fixed function of its input, and domains differ in their "
        "input: other letters, other words. So random experts prefer domains, too. That there is a "
        "preference is therefore no sign of learning; its size may be.",
        replies={
            "a": "Random is not aimless: the same input always goes the same way, and domains "
            "differ in their input.",
            "c": "Training does add something here. How much, the next figure says.",
            "d": "A crowd is possible in a new router, as chapter 06 showed; here it is not whole.",
        },
        hints=("Do code and arithmetic look the same to a fixed random projection?",),
    ),
    Question(
        id="11.q2",
        prompt="A router that looks up each token's experts in a table drawn by lot. It knows "
        "nothing of domains. How many bits of the domain do its experts tell to somebody who knows "
        "the token?",
        choices={
            "a": "as many as without knowing the token",
            "b": "exactly none",
            "c": "a few, because tokens belong to domains",
            "d": "that depends on the table",
        },
        answer="b",
        because="Who knows the token knows the expert, so hearing of the expert tells nothing "
        "new. It is the control that must come out at 0 in the figure, and it does for every seed.",
        replies={
            "a": "Whoever knows the token can look into the table themselves.",
            "c": "That they belong to domains is what somebody who knows the token knows already.",
            "d": "Take any table: is there anything about the expert that the token leaves open?",
        },
        hints=("Given the token, how many experts are possible?",),
    ),
    Question(
        id="11.q3",
        prompt="Languages and arithmetic were 4 % of the training text each. Now requests come in "
        "equal parts, and every expert takes its even share of the rows (capacity factor 1). The "
        "loads are no longer even. Who loses most of their choices?",
        choices={
            "a": "all alike: first come, first served does not know domains",
            "b": "the frequent domains: their experts are popular",
            "c": "a rare domain: its few experts are asked for by a quarter of all tokens",
            "d": "whoever stands last in a text",
        },
        answer="c",
        because="Balance was learned on the training mix, where a rare domain needed few places. "
        "When a quarter of the requests wants those few experts, they are full. The rule is blind "
        "to domains, and its outcome is not. Which of the rare ones is hit is another matter: look "
        "at both.",
        replies={
            "a": "The rule is the same for all. Is the demand?",
            "b": "They are popular, and they were given room for it: balance was learned there.",
            "d": "Places matter, too; but the texts of all domains stand in all places here.",
        },
        hints=("For how many tokens of arithmetic did training make room?",),
    ),
    Question(
        id="11.q4",
        prompt="2 of 16 experts are chosen in each of 4 layers, all equally likely and independent "
        "of one another. How many bits could one token's path carry at most?",
        answer=27.63,
        tolerance=0.05,
        misconceptions={
            6.91: "That is one layer. There are four.",
            32: "That counts ordered choices, with the same expert twice. A pair is chosen.",
            16: "That is one expert a layer, log2(16) = 4.",
            31.63: "That counts a pair in both orders.",
            480: "That is the number of pairs. Bits are its logarithm to the base 2.",
        },
        because="There are 16 * 15 / 2 = 120 pairs, so log2(120) = 6.91 bits a layer, and 27.6 for "
        "four. A byte has at most 8 bits: there is room for the text, several times over.",
        hints=("How many pairs of 16 are there? Then the logarithm to the base 2, four times.",),
    ),
)
