"""Facts are asked once each, answers are what follows the equals sign, sums keep their sides."""

import pytest
import torch

from moe_teach.data.batches import NO_TARGET, Batches
from moe_teach.data.facts import FactCorpus, answer_mask, build_facts, build_sums
from moe_teach.data.tokenizer import ByteTokenizer


@pytest.fixture(scope="module")
def facts() -> FactCorpus:
    return build_facts(n_locales=6, n_territories=50)


def as_ids(text: str) -> torch.Tensor:
    return torch.tensor([list(text.encode())])


def test_facts_are_names_of_countries_by_language_and_code() -> None:
    everything = build_facts()

    assert 5000 < len(everything.lines) <= 28 * 200
    assert everything.questions == everything.lines
    assert len({line.split("=")[0] for line in everything.lines}) == len(everything.lines)
    assert all(line.index(":") < line.index("=") == 5 for line in everything.lines)
    if not everything.differences():
        assert {"de:FR=Frankreich", "fi:IE=Irlanti"} <= set(build_facts(28, 263).lines)


def test_smaller_corpora_are_parts_of_larger_ones(facts: FactCorpus) -> None:
    assert 250 < len(facts.lines) <= 300
    assert set(facts.lines) <= set(build_facts().lines)


def test_every_epoch_teaches_every_fact_in_another_order(facts: FactCorpus) -> None:
    text = ByteTokenizer().decode(facts.token_ids(epochs=3)["facts"].tolist())
    lines = text.split("\n")[:-1]
    epochs = [lines[i : i + len(facts.lines)] for i in range(0, len(lines), len(facts.lines))]

    assert len(epochs) == 3
    assert all(sorted(epoch) == sorted(facts.lines) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert Batches(facts.token_ids(), 4, 64).at(0).inputs.shape == (4, 64)


def test_the_answer_is_between_the_equals_sign_and_the_end_of_the_line() -> None:
    text = "eich\nde:FR=Rom\nfi:IE=Ir"
    mask = answer_mask(as_ids(text))[0].tolist()

    shown = "".join(c if m else "." for c, m in zip(text, mask, strict=True))

    assert shown == "...........Rom.......Ir"


def test_evaluation_asks_each_question_once_and_only_for_answers(facts: FactCorpus) -> None:
    asked = []
    for batch in facts.evaluation_batches(7, 64, n_questions=10_000):
        assert batch.inputs.shape[1] == 64
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
            whole = ByteTokenizer().decode([int(inputs[0]), *_filled(inputs, targets)])
            lines = [line for line in whole.split("\n") if line]
            asked += lines
            answers = bytes(targets[targets != NO_TARGET].tolist()).decode()
            assert answers == "".join(line.split("=")[1] for line in lines)

    assert sorted(asked) == sorted(facts.questions)


def _filled(inputs: torch.Tensor, targets: torch.Tensor) -> list[int]:
    """Return what follows the first input: the later inputs and the last target, if it is one."""
    last = int(targets[-1])
    return [*inputs[1:].tolist(), *([last] if last != NO_TARGET else [])]


def test_evaluation_is_the_same_every_time(facts: FactCorpus) -> None:
    once, again = (facts.evaluation_batches(4, 64, n_questions=40) for _ in range(2))

    assert all(torch.equal(x.inputs, y.inputs) for x, y in zip(once, again, strict=True))


def test_a_line_that_does_not_fit_is_refused(facts: FactCorpus) -> None:
    with pytest.raises(ValueError, match="does not fit into 8 tokens: raise seq_len"):
        facts.evaluation_batches(4, 8)


def test_sums_are_right_and_what_is_asked_was_never_taught() -> None:
    sums = build_sums(n_digits=2, n_lines=3000)
    pairs = []
    for lines in (sums.lines, sums.questions):
        pairs.append(set())
        for line in lines:
            operands, result = line.split("=")
            b, c = map(int, operands.split("+"))
            assert b + c == int(result)
            pairs[-1].add(frozenset((b, c)))

    assert len(sums.lines) == 3000
    assert len(sums.questions) == 300
    assert pairs[0].isdisjoint(pairs[1])


@pytest.mark.parametrize(
    ("build", "wishes", "says"),
    [
        (build_facts, {"n_locales": 29}, "between 1 and 28"),
        (build_facts, {"n_territories": 0}, "n_territories must be at least 1"),
        (build_sums, {"n_digits": 0}, "n_digits must lie between 1 and 9"),
        (build_sums, {"n_lines": 5}, "n_lines must be at least 10"),
    ],
)
def test_impossible_wishes_are_refused_in_a_sentence(build, wishes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(**wishes)
