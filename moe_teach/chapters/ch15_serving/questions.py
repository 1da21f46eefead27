"""Chapter 15: the questions of the lesson."""

from moe_teach.judging.questions import Question

QUESTIONS = (
    Question(
        id="15.q1",
        prompt="A dense model answers 16 people at once nearly as fast as one, because it fetches "
        "its weights once for all of them. A mixture of experts has the same *active* size. Next "
        "to that dense model, when is it slowest?",
        choices={
            "a": "with one person: a router has to be asked",
            "b": "somewhere in the middle, with some tens of people",
            "c": "with very many people: then everybody is awake",
            "d": "never: it computes the same number of products",
        },
        answer="b",
        because="One token wakes as many weights as the dense model has. Some tens of tokens wake "
        "nearly all experts, each for a row or two: much is fetched for little work. With very "
        "many tokens each expert has enough rows, and computing decides again.",
        replies={
            "a": "Asking the router is a small product. With one token both fetch the same.",
            "c": "Everybody is awake then, but each fetched expert works for many rows.",
            "d": "The products are equal in number. Decoding is not limited by products.",
        },
        hints=("Count what is fetched for each token, with 1, 32 and 4,096 tokens.",),
    ),
    Question(
        id="15.q2",
        prompt="Without a cache, a model reads the whole text for every new token. A prompt has 20 "
        "tokens and 60 are added. How many rows does it read with a cache?",
        answer=79,
        misconceptions={
            80: "The last token is written and never read.",
            60: "The prompt has to be read, too.",
            2970: "That is without a cache: 20 + 21 + ... + 79.",
            20: "That is the prompt alone.",
        },
        because="20 for the prompt, which gives the first new token, and one for each new token "
        "but the last: 20 + 59.",
        hints=("Which of the new tokens does nobody need to read?",),
    ),
    Question(
        id="15.q3",
        prompt="A slot is given to the next text. Its memory still holds the keys of the one "
        "before. What has to be done, so that nobody sees them?",
        choices={
            "a": "fill the slot with zeros",
            "b": "nothing, if the length is set to 0 and the mask goes by lengths",
            "c": "use each slot only once",
            "d": "read the new prompt twice",
        },
        answer="b",
        because="A row sees positions up to its own. All of these have been written by its own "
        "text; what lies beyond is behind the mask until it is overwritten.",
        replies={
            "a": "It does no harm, and a zero key is not the same as no key: without a mask it "
            "would still be looked at.",
            "c": "Then memory runs out. What is left behind the length does not matter.",
            "d": "That would write the same keys again.",
        },
        hints=("Which positions may a row see, and who wrote them?",),
    ),
    Question(
        id="15.q4",
        prompt="A small model guesses 4 tokens, the large mixture reads all of them in one pass "
        "and keeps one in five. Next to plain decoding, which has one pass a token: how many "
        "experts does it fetch for each new token?",
        choices={
            "a": "fewer: there are fewer passes",
            "b": "as many: the same tokens are written in the end",
            "c": "more: wrong guesses wake experts, too",
        },
        answer="c",
        because="A pass over 5 rows wakes some 6 or 7 of 16 experts and yields less than two "
        "tokens; plain decoding wakes 2 for one. Were every guess right, 5 tokens would share "
        "them.",
        replies={
            "a": "Fewer passes, but each wakes the experts of all its rows.",
            "b": "The written tokens are the same. The rows that were read are not.",
        },
        hints=("How many rows does a pass read, and how many of them become tokens?",),
    ),
    Question(
        id="15.q5",
        prompt="Requests arrive at random, and a server could just about answer 10 a second. At "
        "which rate do you promise a short wait for 99 of 100?",
        choices={
            "a": "10 a second: that is what it can do",
            "b": "clearly less, because waits grow long before the limit",
            "c": "more, because of batching",
        },
        answer="b",
        because="Arrivals come in bunches. Near the limit a bunch is never worked off before the "
        "next one comes, and the unlucky wait for the sum of them.",
        replies={
            "a": "On average, yes. Bunches then pile up, and nothing ever works them off.",
            "c": "The 10 a second were with batching.",
        },
        hints=("Look at the last table: which percentile moves first?",),
    ),
)
