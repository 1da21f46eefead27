"""Chapter 05: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="5.q1",
        prompt="Take the same small transformer with 1, 2, 4, ... 32 experts, one of them at work "
        "on each token, and train each for the same number of steps. What happens to the loss?",
        choices={
            "a": "nothing, on any text: the work for a token is the same",
            "b": "on facts to remember it falls with the number of experts; on sums to work out it "
            "need not",
            "c": "it falls on every text: more parameters are better",
            "d": "it rises: each expert sees fewer tokens",
        },
        answer="b",
        because="Facts are many separate things, and each expert can keep some of them out of the "
        "others' way. A sum needs steps of computation, and of those a token gets as many as "
        "before: the gain on sums is inside the noise.",
        replies={
            "a": "The work is the same, but the choice of weights that do it is not: 32 experts "
            "hold nearly 32 times as many numbers to write facts into.",
            "c": "More parameters on disk, yes. Which texts need them? Look at the figure of the "
            "three texts.",
            "d": "Each expert does see fewer tokens, and that is a real cost. It is not the whole "
            "story: see the signature figure.",
        },
        hints=("Ask of each text: does it need room to store, or steps to compute?",),
    ),
    Question(
        id="5.q2",
        prompt="An MoE and a dense model were measured after every step up to step 800. A step of "
        "the MoE takes 1.6 times as long. The dense run of 800 steps is over. At which step must "
        "you read the MoE's curve for a comparison at equal seconds?",
        answer=500,
        tolerance=0.5,
        because="800 / 1.6 = 500: in the same time the MoE takes fewer steps. Its learning rate "
        "was still high there, so this reading is unkind to it; a run planned for 500 steps is "
        "fairer.",
        misconceptions={
            1280: "You multiplied. 1,280 of the slower steps take far more seconds than the dense "
            "run had.",
            800: "At step 800 both have taken the same number of steps. By then the MoE has used "
            "1.6 times the seconds.",
        },
        hints=("Seconds = steps · seconds of a step. Which of the two runs gets fewer steps?",),
    ),
    Question(
        id="5.q3",
        prompt="On our facts, a fixed random table (the hash router) beats the learned router, "
        "and a router that rolls dice is worse than the dense model. Which sentence do these runs "
        "support?",
        choices={
            "a": "routing does not matter: any router will do",
            "b": "here it pays to give each token always the same weights of its own; that a "
            "router *learns* who goes where adds nothing we can see",
            "c": "learned routers are useless, in large models too",
            "d": "the hash router is better because it computes more",
        },
        answer="b",
        because="The random control has the same weights and the same work and no gain, so a "
        "stable assignment matters. The hash has one without learning, and how far it is ahead is "
        "a matter of its gate. Half a minute of training on bytes says nothing "
        "about a thousand billion tokens.",
        replies={
            "a": "The random router is a router too, and it loses to the dense model.",
            "c": "Two layers, 256 bytes, 800 steps: what holds here was not tested there.",
            "d": "A table look-up computes less than a router, not more.",
        },
        hints=("What do the hash and the learned router share that the random one has not?",),
    ),
)
