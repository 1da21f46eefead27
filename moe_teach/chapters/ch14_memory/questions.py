"""Chapter 14: the questions of its lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="14.q1",
        prompt="Memory for a quarter of the experts, LRU. Three routers read the same texts, one "
        "user at a time: the trained one, one with its first random weights, and one that draws "
        "lots evenly. Whose experts are found in memory most often?",
        choices={
            "a": "the trained router's: it has learned to stay with its specialists",
            "b": "the random router's",
            "c": "the one's that draws lots: nobody is favoured",
            "d": "all the same, a quarter: memory holds a quarter",
        },
        answer="b",
        because="A router that nobody has trained sends most tokens to few experts: chapter 06's "
        "crowd, and for a cache a gift. Training with a balancing loss spreads the work, so it "
        "costs hits. A high hit rate is therefore no sign that experts became specialists.",
        replies={
            "a": "It does stay with some more than chance would, and yet another one beats it. "
            "What does a balancing loss do to a crowd?",
            "c": "Nobody is favoured, so nobody is likely to come back soon: look at the figure.",
            "d": "That is what the lots give. The two others have favourites.",
        },
        hints=("Which of the three sends most tokens to the fewest experts? Remember chapter 06.",),
    ),
    Question(
        id="14.q2",
        prompt="Memory for a quarter of the experts. You pin the hottest of a profile that holds "
        "equal parts of code, English, languages and arithmetic. Then somebody reads code alone. "
        "How many of the requests find their expert in memory?",
        choices={
            "a": "more than with LRU: these are the hottest experts",
            "b": "about as many as with LRU",
            "c": "about a quarter: a quarter of the experts is there",
            "d": "fewer than a quarter",
        },
        answer="d",
        because="Hot on average is not hot for everybody. The experts that one domain uses all the "
        "time come out on top of the mix, and code hardly needs them. What fits is then spent on "
        "somebody else, and that is worse than keeping a quarter by lot.",
        replies={
            "a": "Hot for whom? A quarter of the profile is code.",
            "b": "That would be so if all domains liked the same experts.",
            "c": "That is what a quarter drawn by lot would find. These were not drawn by lot.",
        },
        hints=("Whose experts come out on top when loads of four domains are averaged?",),
    ),
    Question(
        id="14.q3",
        prompt="In the replay: a quarter of the memory, pinned, the hottest of code. Now read "
        "arithmetic instead of code. How many requests find their expert there?",
        choices={
            "a": "more: arithmetic is simpler",
            "b": "nearly as many: hot experts are hot",
            "c": "fewer, but still more than the quarter that fits",
            "d": "fewer than the quarter that fits",
        },
        answer="d",
        because="Code's favourites are not those of arithmetic, and the few places that are left "
        "for others change their tenant at nearly every request.",
        replies={
            "a": "Simpler for the model, perhaps. The memory holds code's experts.",
            "b": "Try it: change the trace and leave the profile.",
            "c": "Read the bar of the pinned policy against the dashed line.",
        },
        hints=("Change the trace to arithmetic, and leave the profile at code.",),
    ),
    Question(
        id="14.q4",
        prompt="48 layers, 8 experts for a token, 5 MB for an expert, a hit rate of 90 %, a disk "
        "that gives 3 GB a second. How many milliseconds does a token wait at least?",
        answer=64,
        tolerance=0.5,
        misconceptions={
            640: "That is without the cache. Nine in ten are there already.",
            576: "You counted the hits. Waited for are the misses, a tenth.",
            8: "A token wants 8 experts in each layer, not one.",
            1.33: "That is one layer. There are 48, one after the other.",
            0.064: "That is in seconds.",
        },
        because="48 layers times 8 experts times 0.1 are 38.4 reads, of 5 MB each: 192 MB, and "
        "192 MB at 3 GB a second are 64 ms. So at most 15.6 tokens a second, however fast the rest "
        "is.",
        hints=("How many reads are that for a token, and how many bytes?",),
    ),
)
