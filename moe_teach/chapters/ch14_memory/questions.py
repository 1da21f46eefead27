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
)
