"""Chapter 01: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="1.q1",
        prompt="A model with 72 billion parameters in total uses 12 billion for a token. You "
        "want to run it with weights of 2 bytes each. How much memory do the weights need?",
        choices={
            "a": "24 GB: the 12 billion that are used",
            "b": "18 GB: one eighth of all, because 2 of 16 experts work",
            "c": "144 GB: all of them",
            "d": "between 24 and 144 GB, depending on the text",
        },
        answer="c",
        because="The next token may choose any expert, so all of them must be within reach. "
        "Sparsity saves computing and reading, not storage.",
        replies={
            "a": "These 12 billion serve *this* token. Which ones the next token needs, nobody "
            "knows before its router has spoken.",
            "b": "One eighth is about experts at work, and even there it leaves out what is "
            "shared. The other fourteen experts must wait somewhere.",
            "d": "What is *read* depends on the text, what must be *there* does not.",
        },
        hints=("Where do the experts wait that this token did not choose?",),
    ),
    Question(
        id="1.q2",
        prompt="Mixtral 8x7B stores 46.70 billion parameters and uses 12.88 billion for a token. "
        "Two of eight experts work, so an article would say one quarter. What share is it? "
        "(three decimals)",
        answer=0.276,
        tolerance=0.0011,
        because="12.88 / 46.70 = 0.276. Attention, norms and the two tables work for every token "
        "and push the share above 2/8.",
        misconceptions={
            0.25: "This is what the article says: 2 of 8 experts. Is an expert all that works on "
            "a token?",
            3.626: "This is total by active. The share of what is used is the other way round.",
            0.724: "This is the share that rests.",
            0.381: "This is active by what rests. A share is of the whole.",
        },
        hints=("Divide the two numbers that are given.",),
    ),
    Question(
        id="1.q3",
        prompt="The same server decodes first 1, then 16 sequences at once. What happens to the "
        "weights that the 72B/12B model must read from memory for *one step*, compared with a "
        "dense model of 12 billion?",
        choices={
            "a": "nothing in either: a step reads the active parameters",
            "b": "dense: 16 times as much; sparse: 16 times as much",
            "c": "dense: the same as before; sparse: about five times as much",
            "d": "dense: the same as before; sparse: less, because experts are shared",
        },
        answer="c",
        because="Sixteen tokens choose 14 of the 16 experts on average, so the step reads about 64 "
        "of the 72 billion parameters instead of 12. The dense model reads its 12 billion once for "
        "all sixteen.",
        replies={
            "a": "Each token has active parameters of its own. Sixteen tokens do not all choose "
            "the same two experts.",
            "b": "Weights are read once a step and serve every sequence in the batch that needs "
            "them.",
            "d": "Sharing helps only once all experts are awake. On the way there, every further "
            "token wakes more of them.",
        },
        hints=("Each token chooses 2 of 16. How many different experts do sixteen tokens choose?",),
    ),
    Question(
        id="1.q4",
        prompt="In the calculator, load the 72B/12B preset and double the number of experts, with "
        "everything else unchanged. What happens to the FLOPs of one token?",
        choices={
            "a": "they double, because the model has twice the experts",
            "b": "they halve, because the share of active experts halves",
            "c": "they hardly move: only the router gets more rows",
            "d": "they grow with the square root of the number of experts",
        },
        answer="c",
        because="A token still visits two experts of the same width. Only the router scores more "
        "rows, a few millions among twelve billion. The memory nearly doubles.",
        replies={
            "a": "This is what happens to the memory. Look at the other number.",
            "b": "The share halves because the whole grew, not because a token does less.",
            "d": "No square root is at work here: count the matrices that one token meets.",
        },
        hints=("Move the slider for experts and watch two numbers at once.",),
    ),
    Question(
        id="1.q5",
        prompt="At batch 1 a million tokens cost 8.01 USD on the dense 12B (one accelerator) and "
        "8.02 USD on the sparse 72B/12B (two accelerators). What about batch 16?",
        choices={
            "a": "still the same: both use 12 billion parameters for a token",
            "b": "the sparse one costs twice as much, because it needs two accelerators",
            "c": "the sparse one costs more than five times as much",
            "d": "the sparse one is cheaper, because its users share the experts",
        },
        answer="c",
        because="Sixteen users wake 14 of the 16 experts, so a step reads 5.5 times the bytes for "
        "the same sixteen tokens: 2.75 against 0.50 USD. The dense model divides one reading among "
        "sixteen.",
        replies={
            "a": "They compute the same. But what does a step read, and for how many?",
            "b": "Two accelerators cost twice as much and read twice as fast: at batch 1 that "
            "cancelled.",
            "d": "Experts are shared only by users that happen to choose the same ones.",
        },
        hints=("Chapter 01 drew the bytes of a step against the batch.",),
    ),
)
