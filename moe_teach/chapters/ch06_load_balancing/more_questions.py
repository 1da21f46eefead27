"""Chapter 06: the questions of its second page, the language model, and its third, the clinic."""

from moe_teach.judging.questions import Question

MORE = (
    Question(
        id="6.q5",
        prompt="About half of 32 experts are dead without balancing; with it nearly all are at "
        "work. The loss of the balanced model after the same 250 steps, in nats per byte?",
        choices={
            "a": "lower by more than 0.1: it has twice the experts",
            "b": "lower by 0.03 to 0.1",
            "c": "within 0.03 of the unbalanced one",
            "d": "higher by more than 0.03: its experts saw half as many tokens each",
        },
        answer="c",
        because="Five pairs of seeds: mean differences of 0.01 or less, and intervals that stay "
        "inside 0.03, for the Switch loss and for the bias. In 250 steps more experts at work mean "
        "fewer tokens for each, and here the two about cancel. Further down you see for how long.",
        replies={
            "a": "So it would be if capacity were short. After 250 steps nothing is full yet.",
            "b": "Look at the intervals under the figure: they end before 0.03.",
            "d": "A fair thought, and part of the answer: but it would be seen in the intervals.",
        },
        hints=("How many tokens has an expert seen after 250 steps, and is it full?",),
    ),
    Question(
        id="6.q6",
        prompt="The median cosine of two tokens at the routers' inputs is 0.25 in a new model. "
        "Over the first 150 steps it ...",
        choices={
            "a": "stays about there: bytes are different things",
            "b": "falls towards 0, as the model learns to tell tokens apart",
            "c": "rises above 0.9 and stays there, as in the toy",
            "d": "rises above 0.9 and falls back to 0.4",
        },
        answer="d",
        because="Around step 15 all hidden states point the same way, in ten runs of ten, balanced "
        "or not; by step 75 that is over. Nobody planted it.",
        replies={
            "a": "So did we think. Look at step 15.",
            "b": "In the end it is higher than at the beginning, and in between much higher.",
            "c": "The first half is right. In the toy the common part is in the data and cannot go "
            "away; here the model makes it, and parts with it.",
        },
        hints=("What can a model learn in ten steps that helps with every byte alike?",),
    ),
    Question(
        id="6.q7",
        prompt="Eleven ill layers. How many of them end their training with a load plainly less "
        "even than the healthy layer's? (a number)",
        answer=3,
        tolerance=0.5,
        misconceptions={
            11: "Then the plot would be all one needs. Most of these faults do not touch the load.",
            0: "A balance loss that does not arrive has to show somewhere.",
            6: "Six of the eleven are faults of the balancing, but some still balance: a loss that "
            "is k times too large evens out the load very well.",
        },
        because="Three: those in which nothing of the balance loss reaches the router. A wrong "
        "scale, a wrong gate, noise in evaluation, a residual too many: the load stays even.",
        hints=("Which mistakes keep the balance loss from the router? Only those can show here.",),
    ),
    Question(
        id="6.q8",
        prompt="Two trainers log the same balance loss, and both loads collapse alike. One forgot "
        "to add the loss to the total; the other adds it, but computed it under torch.no_grad(). "
        "Which finding tells them apart?",
        choices={
            "a": "the loss it logs for even routing",
            "b": "the gradient of the logged loss itself, before it is added to anything",
            "c": "what of the balance loss arrives in the total's gradient",
            "d": "the task's gradient on the router",
        },
        answer="b",
        because="In both nothing arrives, and both log the right number. But the forgotten loss "
        "has a gradient of its own, which nobody uses, and the other one has none: "
        "loss-not-added and loss-detached.",
        replies={
            "a": "Both compute the right number.",
            "c": "Nothing arrives in either of them: this finds both and tells them apart not.",
            "d": "Neither of the two touches the task's way to the router.",
        },
        hints=("What exists in the one case and is not used, and does not exist in the other?",),
    ),
    Question(
        id="6.q9",
        prompt="A colleague's layer logs a balance loss of 1.00 at every step of a long training. "
        "What do you conclude?",
        choices={
            "a": "it is balanced",
            "b": "the loss is not added, or it would not stay the same",
            "c": "nothing yet: let it log a routing made by hand, with a crowd at one expert",
            "d": "the counts are divided by k twice",
        },
        answer="c",
        because="Even routing gives 1.00, and so does a loss that always says 1.00, whatever "
        "happens: there is one in the ward. An observation is worth something if it can come out "
        "otherwise.",
        replies={
            "a": "Perhaps. A collapsed router with nearly equal probabilities logs 1.00 as well "
            "(lesson 06), and so does a loss with the wrong axis.",
            "b": "A loss that is added and does its work may sit at 1 for ever.",
            "d": "Then it would log 1 / k.",
        },
        hints=("Can this log show anything else than 1.00?",),
    ),
)
