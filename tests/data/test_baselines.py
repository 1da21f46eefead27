"""The ladder of losses agrees with counting by hand, and its rungs are in order."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

from moe_teach.data.baselines import bigram_loss, uniform_loss, unigram_loss
from moe_teach.data.corpus import Corpus
from moe_teach.data.tokenizer import ByteTokenizer, encode_domains


def drawn(*lengths: int, vocab_size: int = 7) -> dict[str, torch.Tensor]:
    return {f"d{i}": torch.randint(vocab_size, (n,)) for i, n in enumerate(lengths)}


def by_hand(train: dict, validation: dict, vocab_size: int, prior: float) -> tuple[float, float]:
    """Count with dictionaries, one token at a time; every domain weighs the same."""
    mean_length = sum(len(ids) for ids in train.values()) / len(train)
    mean_pairs = sum(len(ids) - 1 for ids in train.values()) / len(train)
    singles, pairs, firsts = Counter(), Counter(), Counter()
    for ids in train.values():
        ids = ids.tolist()
        for token in ids:
            singles[token] += mean_length / len(ids)
        for a, b in pairwise(ids):
            pairs[a, b] += mean_pairs / (len(ids) - 1)
            firsts[a] += mean_pairs / (len(ids) - 1)
    total = sum(singles.values()) + vocab_size

    def unigram(token: int) -> float:
        return (singles[token] + 1) / total

    losses = [[], []]
    for ids in validation.values():
        ids = ids.tolist()
        follows = list(pairwise(ids))
        losses[0].append(-sum(math.log(unigram(b)) for _, b in follows) / len(follows))
        p = [(pairs[a, b] + prior * unigram(b)) / (firsts[a] + prior) for a, b in follows]
        losses[1].append(-sum(map(math.log, p)) / len(p))
    return tuple(sum(values) / len(values) for values in losses)


@pytest.mark.parametrize("lengths", [(2,), (50,), (13, 400), (3, 3, 1000)])
@pytest.mark.parametrize("prior", [0.1, 5.0])
def test_losses_agree_with_counting_by_hand(lengths: tuple[int, ...], prior: float) -> None:
    train, validation = drawn(*lengths), drawn(*(n + 1 for n in lengths))
    unigram, bigram = by_hand(train, validation, 7, prior)

    assert unigram_loss(train, validation, 7) == pytest.approx(unigram, rel=1e-12)
    assert bigram_loss(train, validation, 7, prior) == pytest.approx(bigram, rel=1e-12)


def test_one_text_is_a_corpus_of_one_domain() -> None:
    train, validation = drawn(60, 40).values()

    assert bigram_loss(train, validation, 7) == bigram_loss({"a": train}, {"a": validation}, 7)


def test_a_domain_counts_the_same_however_often_its_text_is_repeated() -> None:
    train, validation = drawn(60, 500), drawn(60, 500)
    longer = train | {"d1": train["d1"].repeat(9)}

    once, again = (unigram_loss(each, validation, 7) for each in (train, longer))
    assert again == pytest.approx(once, abs=0.01)


def test_probabilities_of_all_continuations_sum_to_one() -> None:
    train = torch.randint(5, (30,))
    for a in range(5):
        losses = [bigram_loss(train, torch.tensor([a, b]), 5) for b in range(5)]
        assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1)


def test_a_fixed_order_is_known_to_the_bigram_and_unknown_to_the_unigram() -> None:
    cycle = torch.arange(4).repeat(2000)

    assert unigram_loss(cycle, cycle[:400], 4) == pytest.approx(uniform_loss(4), abs=1e-3)
    assert bigram_loss(cycle, cycle[:400], 4) < 0.01


def test_unseen_tokens_cost_much_but_not_everything() -> None:
    train, validation = torch.zeros(50, dtype=torch.int32), torch.tensor([0, 1, 2, 1])

    assert 2 < bigram_loss(train, validation, 300) < 20


def test_on_the_corpus_each_rung_is_below_the_one_above(corpus: Corpus) -> None:
    train, validation = (
        encode_domains({"code": text["code"]}, ByteTokenizer())
        for text in (corpus.train, corpus.validation)
    )
    uniform = uniform_loss(256)
    unigram = unigram_loss(train, validation, 256)
    bigram = bigram_loss(train, validation, 256)

    assert uniform == pytest.approx(math.log(256))
    assert bigram + 0.5 < unigram < uniform - 1


@pytest.mark.parametrize(
    ("train", "says"),
    [
        (torch.tensor([1]), "too short"),
        ({}, "no text"),
        (torch.tensor([1, 7]), r"must lie in \[0, 7\)"),
        (torch.tensor([-1, 1]), "from -1 to 1"),
    ],
)
def test_impossible_texts_are_refused_in_a_sentence(train, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bigram_loss(train, torch.tensor([1, 2]), 7)
