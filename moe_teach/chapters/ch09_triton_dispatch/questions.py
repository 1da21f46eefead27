"""Chapter 09: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="9.q1",
        prompt="Four programs count the choices of four blocks into the *same* counters: each "
        "loads a counter, adds its own number, and stores the sum. On a GPU they run at the same "
        "time. Here, in the interpreter, you run the kernel a hundred times. What do you see?",
        choices={
            "a": "the right counts, every time",
            "b": "counts that are too small, other ones each time",
            "c": "an error, because two programs meet at one address",
            "d": "the right counts nearly always",
        },
        answer="a",
        because="The interpreter runs one program after the other, so each finds what the one "
        "before it left. A hundred right runs prove nothing about a GPU, where all four may load "
        "the counter before anybody has stored.",
        replies={
            "b": "That is what a GPU may do. The interpreter has no two programs at one time.",
            "c": "Neither the interpreter nor a GPU raises anything. Noticing it takes somebody "
            "who writes down who touched what.",
            "d": "Nothing is left to chance here: the interpreter always runs program 0 first, "
            "then program 1, and so on.",
        },
        hints=("Which program runs while another one is between its load and its store?",),
    ),
    Question(
        id="9.q2",
        prompt="Two blocks counted their choices of three experts: block 0 found [1, 2, 0], block "
        "1 found [0, 2, 2]. Rows are sorted by expert, then by choice. In which row, counted from "
        "0, stands the *second* choice of expert 1 in block 1?",
        answer=4,
        because="Expert 0 has 1 row, so the rows of expert 1 begin at 1. Block 0 uses two of them, "
        "rows 1 and 2. Block 1 begins at 3, and its second choice stands at 4.",
        misconceptions={
            3: "That is where block 1 begins for expert 1; its *second* choice stands one row on.",
            2: "Block 0 uses rows 1 and 2 for expert 1: block 1 begins after them.",
        },
        hints=("First the start of the expert, then the rows of earlier blocks, then the rank.",),
    ),
    Question(
        id="9.q5",
        prompt="A GPU fetches memory in pieces of 32 bytes. A program of step 1 wants one column "
        "of 8 rows; the rows are 512 float32 numbers wide and lie one behind the other. How many "
        "*bytes* are fetched for the 32 bytes that it wants?",
        answer=256,
        because="Neighbours in a column are 2,048 bytes apart, so each of the 8 numbers lies in a "
        "piece of its own: 8 times 32 bytes. Eight neighbours of one row share a piece.",
        misconceptions={
            32: "That would be so if the 8 numbers lay side by side. In a column they are 512 "
            "numbers apart.",
            16384: "Nobody fetches whole rows: of each row only the piece with the wanted number.",
            8: "That is how many pieces. Each has 32 bytes.",
        },
        hints=("How far apart are two numbers of one column, and how many share a piece?",),
    ),
    Question(
        id="9.q3",
        prompt="Which of these may differ in its last bits from one run to the next, on one and "
        "the same GPU?",
        choices={
            "a": "integer counts, added up with atomic additions by all programs",
            "b": "float32 outputs, each token adding its own 4 rows in the order of its choices",
            "c": "float32 outputs, 4 rows adding themselves to their token with atomic additions",
            "d": "as c, but with 2 rows for each token, on top of zeros",
        },
        answer="c",
        because="Atomic additions lose nothing, but they come in any order, and a float sum of "
        "three or more terms depends on the order: each partial sum is rounded.",
        replies={
            "a": "The order is open here too, but integers are not rounded: every order gives the "
            "same sum.",
            "b": "One program computes the sum, in an order that the code fixes.",
            "d": "Nearly. But a + b is b + a, also when rounded, and adding to zero is exact: with "
            "two terms every order gives the same bits.",
        },
        hints=("Where are several orders possible, and where does the order change a sum?",),
    ),
    Question(
        id="9.q4",
        prompt="Six experts have 22, 9, 31, 0, 17 and 17 rows, and each expert's rows are cut into "
        "tiles that are 64 rows high. Now all rows move to expert 0, the worst load there is. What "
        "does that do to the padding?",
        choices={
            "a": "It grows: an uneven load leaves more cells empty.",
            "b": "It shrinks: one expert has one last tile, where five experts had five.",
            "c": "Nothing: the number of rows is the same.",
        },
        answer="b",
        because="Each expert with rows pads its own last tile and no other, so the padding stays "
        "below the number of working experts times the height of a tile, whatever the load. It is "
        "slots of equal length, as in chapter 04, that an uneven load fills with padding.",
        replies={
            "a": "That holds where every expert gets as many slots as the busiest one needs. Tiles "
            "are cut expert by expert: in the tile map, count the hatched cells before and after.",
            "c": "The rows stay, but the tiles that cover them change: count the hatched cells in "
            "the tile map.",
        },
    ),
)
