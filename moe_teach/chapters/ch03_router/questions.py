"""Chapter 03: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="3.q1",
        prompt="Which of these routers gets no gradient from the task, in exact arithmetic?",
        choices={
            "a": "softmax over all experts, k = 1, the probability is the gate",
            "b": "k = 2, softmax over the two chosen logits",
            "c": "softmax over all experts, k = 1, gates renormalised to sum to one",
            "d": "sigmoid scores, k = 1, not renormalised",
        },
        answer="c",
        because="One gate that must sum to one is the number 1, whatever the logits say. A "
        "constant has no gradient. It is the same router as a softmax over the one chosen logit.",
        replies={
            "a": "This is Switch's rule. Its gate is a probability below one that moves with the "
            "logits, so the task can push it.",
            "b": "Two gates sum to one, but they can still trade weight with each other: that "
            "difference is what the task pushes.",
            "d": "A lone sigmoid is not tied to one: it moves with its logit, so it has a "
            "gradient.",
        },
        hints=("Write the gate as a formula of the logits and ask: can it change at all?",),
    ),
    Question(
        id="3.q2",
        prompt="A token has the logits 2, 1, 0, 0 and takes its k = 2 best experts. To what do its "
        "two gates sum with softmax over all experts and no renormalisation? (two decimals)",
        answer=0.83,
        tolerance=0.011,
        misconceptions={
            1: "That is their sum after renormalising, or after a softmax over the two chosen "
            "ones. Here neither happens: the experts that were not chosen keep their share.",
            0.17: "That is what the two experts left out got. Asked for are the two chosen ones.",
            0.61: "That is the larger gate alone. Add the second one.",
        },
        because="(e^2 + e) / (e^2 + e + 1 + 1) = 10.107 / 12.107 = 0.835. The missing 0.165 went "
        "to experts that do no work; renormalising hands it back.",
        hints=("The softmax divides by the sum over all four experts.",),
    ),
    Question(
        id="3.q3",
        prompt="A test compares two correct versions of an MoE layer. 4,095 of 4,096 tokens agree "
        "to seven digits, one is off by 0.3. What do you look at first?",
        choices={
            "a": "the tolerance of the test: it should be 0.5",
            "b": "the margin and the chosen experts of that one token",
            "c": "the random seed: another one will pass",
            "d": "the experts' weights: one of them must differ",
        },
        answer="b",
        because="One token far off and all others right is the signature of another choice, not of "
        "an inexact one. If its margin is as small as rounding, both versions are right, and the "
        "test has to compare ids first and skip tokens without a margin.",
        replies={
            "a": "A tolerance of 0.5 would also let real bugs through, on every token.",
            "c": "Another seed hides the tie and does not explain it; it will be back on another "
            "machine.",
            "d": "Then every token that visits this expert would be off, not one.",
        },
        hints=("Rounding is smooth. What in this layer is not?",),
    ),
    Question(
        id="3.q4",
        prompt="In the playground: which change of the bias brings a new expert in and leaves the "
        "gate of the other chosen expert exactly as it was?",
        choices={
            "a": "k = 2, sigmoid, not renormalised: raise the bias of the best expert left out by "
            "a little more than the margin",
            "b": "the same with renormalised gates",
            "c": "raise the biases of all experts by the same amount",
            "d": "none: the bias is part of the gates",
        },
        answer="a",
        because="The bias only moves the choice. Without renormalisation a sigmoid gate depends on "
        "its own score alone, so the one who stays keeps it. Renormalised gates share one sum: a "
        "new partner changes the other's share although no bias is in it.",
        replies={
            "b": "Try it: the gate of the expert that stays moves, because the sum it is divided "
            "by has a new term.",
            "c": "A shift of all biases keeps the order, so nobody is swapped.",
            "d": "Watch the gates while you move a bias without changing the choice: nothing "
            "happens.",
        },
        hints=(
            "Set k = 2 and read the margin, then move one bias just past it. Compare gate rules.",
        ),
    ),
)
