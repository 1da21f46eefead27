"""Chapter 10: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="10.q1",
        prompt="A decode step: 128 experts, 64 tokens with 8 choices each, spread evenly, so every "
        "expert has 4 rows. A kernel works in tiles of 64 rows that never mix experts. How many "
        "rows does it multiply in all?",
        answer=8192,
        because="Every expert fills 4 rows of a tile of its own: 128 · 64 = 8,192 rows for 512 "
        "that were asked for. The padding is gone from memory and has come back in the registers.",
        misconceptions={
            512: "These are the rows that were asked for, 64 · 8. Eight full tiles would do if "
            "experts could share a tile; here a tile never mixes them.",
            64: "This is one tile. Every expert that has rows needs a tile of its own.",
            128: "This is the number of tiles. The question asks for rows, and a tile has 64.",
        },
        hints=("How many tiles are there, and how tall is each?",),
    ),
    Question(
        id="10.q2",
        prompt="SwiGLU from w_gate to the inner rows, as three kernels (two products, then silu "
        "times up) or as one. Of the numbers of shape (N, F): how many are moved to or from "
        "memory, in units of N · F?",
        choices={
            "a": "3 against 1",
            "b": "5 against 1",
            "c": "5 against 3",
            "d": "2 against 1",
        },
        answer="b",
        because="Each product writes one (N, F), the third kernel reads both and writes the "
        "result: 2 + 2 + 1. The fused kernel keeps both sums in registers and writes once.",
        replies={
            "a": "That counts every tensor once. But what one kernel writes, the next has to read.",
            "c": "The fused kernel never writes the two products: they stay in registers until "
            "they are one.",
            "d": "Count reads and writes of all three kernels separately.",
        },
        hints=("List the kernels, and for each what it reads and what it writes.",),
    ),
    Question(
        id="10.q3",
        prompt="Your kernel agrees with the reference to the last bit, in the interpreter, on many "
        "awkward sizes. Which mistake may still be in it?",
        choices={
            "a": "a wrong stride",
            "b": "a forgotten step of the sum when D is no multiple of the block",
            "c": "two programs that write to the same place",
            "d": "gates applied to the wrong rows",
        },
        answer="c",
        because="The interpreter runs programs one after another, in order, so the last one wins "
        "every time. A GPU runs them at once. Only looking at the addresses finds this.",
        replies={
            "a": "A wrong stride reads wrong numbers in the interpreter too, at the latest with "
            "a tensor that is stored the other way round.",
            "b": "Awkward sizes are there to find exactly this.",
            "d": "That changes the result wherever two gates differ.",
        },
        hints=("What does the interpreter do one after another that a GPU does at once?",),
    ),
    Question(
        id="10.q4",
        prompt="One user chats with a model of 128 experts, 8 for each token. Which change makes "
        "the expert layers answer sooner on a GPU?",
        choices={
            "a": "a kernel that computes twice as fast",
            "b": "matrices stored in 8 bits instead of 16",
            "c": "larger tiles",
            "d": "half as many experts in the model, of the same size, still 8 for each token",
        },
        answer="b",
        because="One token reads its 8 experts and computes 2 FLOPs for each number: the time is "
        "that of reading. Half the bytes, half the time. How fast the products run does not "
        "matter, nor how many experts sleep.",
        replies={
            "a": "At one token the arithmetic waits for the memory nearly all of the time.",
            "c": "A tile of one row is not helped by being larger.",
            "d": "Experts that nobody chose are not read anyway.",
        },
        hints=("Which of the two limits holds at one token?",),
    ),
    Question(
        id="10.q5",
        prompt="A program multiplies 128 rows by 128 columns in steps of 64 along the inner "
        "dimension, in bfloat16. The operands of 4 steps are in shared memory at once. How many KB "
        "(of 1,024 bytes) are that?",
        answer=128,
        because="One step needs 128 x 64 numbers of rows and 64 x 128 of the matrix, two bytes "
        "each: 32 KB. Four of them are 128 KB. The sum itself lies in registers.",
        misconceptions={
            32: "This is one step. Four are on their way at once.",
            64: "This is four steps of one operand. A product has two.",
            256: "A number in bfloat16 has two bytes.",
            192: "The sum (128 x 128 in float32) lies in registers, not in shared memory.",
            512: "These are the bytes of four steps, divided by 256. A KB here is 1,024 bytes.",
        },
        hints=("How many numbers of each operand does one step need?",),
    ),
    Question(
        id="10.q6",
        prompt='The same kernel for float32 with `input_precision="ieee"`: on which machines do '
        "matrix units multiply?",
        choices={
            "a": "on all three: `tl.dot` always means the matrix units",
            "b": "on NVIDIA's, not on AMD's",
            "c": "on AMD's, not on NVIDIA's",
            "d": "on none",
        },
        answer="c",
        because="`tl.dot` asks for a product and leaves to the compiler who multiplies. NVIDIA's "
        "tensor cores have no instruction that keeps all bits of a float32; AMD's MI300 has one.",
        replies={
            "a": "`tl.dot` asks for a product. Which circuit carries it out is the compiler's "
            "choice, and it must keep the precision that was asked for.",
            "b": 'NVIDIA\'s tensor cores cut float32 to 10 bits, which "ieee" forbids.',
            "d": "One of the makers has an instruction for this.",
        },
        hints=("What did chapter 10 say that NVIDIA's tensor cores do to a float32?",),
    ),
    Question(
        id="10.q7",
        prompt="Your kernel compiles for all three machines, with matrix instructions, without a "
        "byte of stack, and within their shared memory. What do you know?",
        choices={
            "a": "that its results are right on them",
            "b": "that it is fast on them",
            "c": "that it can be launched on them",
            "d": "that it gives the same bits on all of them",
        },
        answer="c",
        because="The compiler checks types, shapes of tiles and resources. Whether addresses and "
        "masks are right is shown by the watcher and by results; speed only by a clock; and the "
        "order of a sum, so its last bits, is the machine's own.",
        replies={
            "a": "A wrong mask compiles as well as a right one.",
            "b": "A kernel that fetches everything sixteen times compiles without a complaint.",
            "d": "The instructions add up different numbers of products at once.",
        },
        hints=("Which of these would a wrong mask change in the report?",),
    ),
)
