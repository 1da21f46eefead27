"""Batches are a pure function of seed and step, mixed as asked, and never look past the text."""

import pytest
import torch

from moe_teach.data.batches import Batches, evaluation_batches


def numbered(**lengths: int) -> dict[str, torch.Tensor]:
    """Text whose tokens are their own positions, offset by 1000 per domain."""
    return {
        name: torch.arange(length, dtype=torch.int32) + 1000 * number
        for number, (name, length) in enumerate(lengths.items())
    }


@pytest.fixture
def batches() -> Batches:
    return Batches(numbered(a=101, b=67, c=9), batch_size=7, seq_len=5, seed=3)


def test_the_same_step_gives_the_same_batch_in_any_order_of_asking(batches: Batches) -> None:
    forwards = [batches.at(step).inputs for step in range(20)]
    again = Batches(batches.token_ids, 7, 5, seed=3)
    backwards = [again.at(step).inputs for step in reversed(range(20))][::-1]

    assert all(torch.equal(x, y) for x, y in zip(forwards, backwards, strict=True))


def test_steps_and_seeds_give_different_batches(batches: Batches) -> None:
    other = Batches(batches.token_ids, 7, 5, seed=4)
    drawn = [batches.at(step).inputs for step in range(50)]
    drawn += [other.at(step).inputs for step in range(50)]

    assert len({tuple(x.flatten().tolist()) for x in drawn}) == 100


def test_a_batch_is_as_it_always_was() -> None:
    # Written down once: a change here would make old runs impossible to resume or repeat.
    batch = Batches(numbered(a=101, b=67), batch_size=3, seq_len=1, seed=1).at(5)

    assert batch.inputs.flatten().tolist() == [1062, 69, 80]


def test_targets_are_the_next_tokens(batches: Batches) -> None:
    for step in range(10):
        batch = batches.at(step)
        assert torch.equal(batch.targets, batch.inputs + 1)
        assert torch.equal(batch.inputs[:, 0] // 1000, batch.domain_ids)
        assert batch.inputs.shape == (7, 5)
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64


def test_every_window_of_a_short_text_is_drawn_and_none_beyond_it() -> None:
    batches = Batches(numbered(a=9), batch_size=4, seq_len=5)
    starts = {int(start) for step in range(50) for start in batches.at(step).inputs[:, 0]}

    assert starts == {0, 1, 2, 3}


def test_a_window_may_fill_the_whole_text() -> None:
    batch = Batches(numbered(a=6), batch_size=2, seq_len=5).at(0)

    assert batch.inputs.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_domains_share_each_batch_as_evenly_as_rows_allow(batches: Batches) -> None:
    for step in range(30):
        counts = batches.at(step).domain_ids.bincount(minlength=3)
        assert sorted(counts.tolist()) in ([2, 2, 3], [1, 3, 3])


def test_weights_are_met_on_average() -> None:
    weights = {"a": 46.0, "b": 46.0, "c": 8.0}
    batches = Batches(numbered(a=101, b=67, c=9), 5, 3, weights=weights)
    drawn = torch.cat([batches.at(step).domain_ids for step in range(300)])
    share = drawn.bincount(minlength=3) / len(drawn)

    torch.testing.assert_close(share, torch.tensor([0.46, 0.46, 0.08]), atol=0.02, rtol=0)


def test_a_domain_without_weight_is_never_drawn() -> None:
    weights = {"a": 0.0, "b": 1.0, "c": 0.0}
    batches = Batches(numbered(a=101, b=67, c=9), 5, 3, weights=weights)

    assert {int(i) for step in range(100) for i in batches.at(step).domain_ids} == {1}


def test_rows_are_shuffled_so_that_no_domain_always_comes_first() -> None:
    batches = Batches(numbered(a=101, b=67), 8, 3)
    first_rows = [int(batches.at(step).domain_ids[0]) for step in range(200)]

    assert 60 < sum(first_rows) < 140


def test_evaluation_is_the_same_every_time_and_mixes_domains_in_every_batch() -> None:
    token_ids = numbered(a=101, b=67, c=41)
    once, again = (evaluation_batches(token_ids, 6, 5) for _ in range(2))

    assert all(torch.equal(x.inputs, y.inputs) for x, y in zip(once, again, strict=True))
    assert all(batch.domain_ids.bincount().tolist() == [2, 2, 2] for batch in once)


def test_evaluation_windows_do_not_overlap_and_keep_to_the_limit() -> None:
    token_ids = numbered(a=101, b=67)
    rows = torch.cat([batch.inputs for batch in evaluation_batches(token_ids, 4, 5, limit=4)])

    assert rows.shape == (8, 5)
    assert len(rows.unique()) == rows.numel()
    assert rows[rows < 1000].max() > 70, "the windows should be spread over the whole text"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"token_ids": {}}, "token_ids is empty"),
        ({"token_ids": numbered(a=5)}, "'a' has 5 tokens"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seq_len": 0}, "seq_len must be at least 1"),
        ({"weights": {"b": 1.0}}, r"weights must name the domains \('a',\)"),
        ({"weights": {"a": 0.0}}, "positive sum"),
        ({"weights": {"a": float("nan")}}, "positive sum"),
    ],
)
def test_impossible_wishes_are_refused_in_a_sentence(change: dict, says: str) -> None:
    wishes = {"token_ids": numbered(a=50), "batch_size": 2, "seq_len": 5} | change
    with pytest.raises(ValueError, match=says):
        Batches(**wishes)


def test_steps_count_from_nought(batches: Batches) -> None:
    with pytest.raises(ValueError, match="Steps count from 0"):
        batches.at(-1)
