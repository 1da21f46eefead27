"""Chapter 08: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="8.q1",
        prompt="Six mistakes in loading a model, made one at a time: gate and up swapped; experts "
        "in the order of their names as text; gates not normalised; gate rows taken as the first "
        "half where they are interleaved; query and key rows in another order; a square matrix "
        "turned. How many of the six raise an error?",
        answer=0,
        misconceptions={
            6: "A loader compares names and shapes. Which of the six changes a name or a shape?",
            1: "One of them would change a shape, were the matrix not square. This one is.",
            2: "Turning a matrix changes its shape, unless it is square; the others only permute "
            "what is there.",
            3: "For each of them, ask what a loader compares: names and shapes. The six keep both.",
        },
        because="None. Names and shapes are all that a loader can compare, and each of the six "
        "keeps both. What they change is what the numbers mean.",
        hints=("What can `load_state_dict` compare? Which of the six changes that?",),
    ),
    Question(
        id="8.q2",
        prompt="gpt-oss-20b is 2,880 wide, and so is each of its experts. Its `down_proj` is (E, "
        "F, D) in the file, the other way round than in Mixtral. Somebody loads it as it is, saves "
        "the model again and compares the two files: not a bit differs. What does this show?",
        choices={
            "a": "that the conversion is right",
            "b": "that the tensors are square",
            "c": "nothing about the outputs: both ways make the same mistake",
            "d": "that the model was not trained",
        },
        answer="c",
        because="What goes in turned comes out turned back. A round trip finds what is lost, and "
        "never what is misread. It happened: in Megatron-Bridge (3743) the round trip was clean, "
        "and the outputs had a cosine of 0.54 with those of the model.",
        replies={
            "a": "It would be so if reading and writing could not make the same mistake.",
            "b": "They are, and that is why nothing raised. But the round trip would be clean for "
            "any shape.",
            "d": "Files say nothing about training.",
        },
        hints=("Read everything backwards, and write everything backwards. What do you see?",),
    ),
    Question(
        id="8.q3",
        prompt="OLMoE has 64 experts, 8 for each token, and does not normalise. For a token whose "
        "64 probabilities are all equal, by what factor are its gates too large if a loader "
        "normalises them?",
        answer=8,
        misconceptions={
            64: "The gates become 1/8 each, not 1. Divide that by what they should be, 1/64.",
            0.125: "That is the gate after normalising. By what factor is it too large?",
            1: "The eight of them then sum to 1, and before to 8/64.",
            56: "That is how many experts are not chosen.",
        },
        because="Each gate is 1/64, and the eight of them sum to 1/8. Divided by that they become "
        "1/8 each, eight times as much. The more a router hesitates, the more it is: the factor "
        "is one over the sum of the chosen probabilities.",
        hints=("What is the sum of the eight chosen probabilities?",),
    ),
    Question(
        id="8.q4",
        prompt="A conversion has forgotten to reorder the rows of query and key for the rotary "
        "positions. It is tested on texts of one token each, and agrees to the last digit. Why?",
        choices={
            "a": "the order of rows does not matter to a dot product",
            "b": "with one token there is nothing to attend to but itself",
            "c": "one token is too few for the expected error to show",
            "d": "the test was run in float32",
        },
        answer="b",
        because="With one token the softmax over positions is 1, whatever query and key say. The "
        "mistake waits for the second token. For llama2.c it was described as text that turns to "
        "gibberish after some twenty tokens (pull request 286).",
        replies={
            "a": "It would not, if queries and keys were reordered alike and not rotated. They are "
            "rotated in between, pair by pair, and the pairs are others now.",
            "c": "It is not a matter of statistics: the difference is exactly zero.",
            "d": "No dtype hides it, and none would show it with one token.",
        },
        hints=("What does attention do with a single position?",),
    ),
)
