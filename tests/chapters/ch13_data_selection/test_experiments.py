"""Chapter 13's runs: who is asked for a choice, what it costs, whose time it is; they repeat."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moe_teach.chapters.ch13_data_selection.experiments import joint, stream, towers
from moe_teach.course.experiments import stored
from moe_teach.data.corpus import DOMAINS
from moe_teach.data.pairs import PAIRED, WIDTH, NameTable, Pairs
from moe_teach.train.horizons import Horizon, best_rates
from moe_teach.train.seeding import seeded_model

N_STEPS = 10
ALIKE = ("final", "matched", "loss", "true_share", "clean_share")


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names and texts drawn by lot, and references that have learned nothing."""
    names = torch.randint(1, 256, (150, len(PAIRED), WIDTH), generator=drawn())
    tables = NameTable(names, "train"), NameTable(names[:40], "validation")
    bytes_ = [
        {name: torch.randint(256, (2000,), generator=drawn(i)) for i, name in enumerate(DOMAINS)}
        for _ in ("train", "validation")
    ]
    theirs, model = towers.seeded_matcher(100), seeded_model(stream.CONFIG, 100).eval()
    monkeypatch.setattr(joint, "_tables", lambda: tables)
    monkeypatch.setattr(joint, "reference", lambda: theirs)
    monkeypatch.setattr(stream, "domain_bytes", lambda: bytes_)
    monkeypatch.setattr(stream, "reference", lambda: model)
    monkeypatch.setattr(stream, "WINDOWS", 2)
    cached = joint.asked, stream._texts, stream.held_back
    for one in cached:
        one.cache_clear()
    yield
    for one in cached:
        one.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still but for what a test moves it on by."""
    now = SimpleNamespace(seconds=0.0)
    for module in (joint, stream):
        monkeypatch.setattr(module, "time", SimpleNamespace(process_time=lambda: now.seconds))
    return now


class Nobody(towers.Matcher):
    """Must not be asked."""

    def forward(self, pairs: Pairs) -> torch.Tensor:
        pytest.fail("was asked, and the rule does not need to know")


class Diagonal(towers.Matcher):
    """Finds the name that stands so many places after the right one."""

    def __init__(self, off: int) -> None:
        super().__init__()
        self.off = off

    def forward(self, pairs: Pairs) -> torch.Tensor:
        return torch.eye(len(pairs)).roll(self.off, 1)


def test_losses_are_the_sigmoid_loss_pair_by_pair() -> None:
    logits = 4 * torch.randn(5, 5, generator=drawn(), dtype=torch.float64)
    losses = towers.pair_losses(logits)
    for i in range(5):
        for j in range(5):
            belongs = 1 / (1 + torch.exp(-logits[i, j]))
            expected = -torch.log(belongs if i == j else 1 - belongs)
            assert float(losses[i, j]) == pytest.approx(float(expected), rel=1e-6)


def test_a_name_is_a_unit_vector_and_nobody_else_in_the_batch_moves_it() -> None:
    matcher, pairs = towers.seeded_matcher(0), joint._tables()[0].draw(12)
    vectors = matcher.tower(pairs.left, pairs.languages[:, 0])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(12))

    few = torch.tensor([7, 2])
    torch.testing.assert_close(matcher(pairs.only(few)), matcher(pairs)[few][:, few])


def test_an_empty_name_is_a_vector_too() -> None:
    """A mean over no letters must not be a division by nothing."""
    found = towers.seeded_matcher(0).tower(
        torch.zeros(1, WIDTH, dtype=torch.long), torch.tensor([3])
    )
    torch.testing.assert_close(found.norm(), torch.tensor(1.0))


@pytest.mark.parametrize(("off", "share"), [(0, 1.0), (1, 0.0)])
def test_who_answers_the_diagonal_matches_all_names_and_its_neighbour_none(
    off: int, share: float
) -> None:
    pairs = joint._tables()[0].draw(12)
    assert towers.matched(Diagonal(off), pairs) == share


def test_the_control_deals_the_interactions_anew_and_leaves_own_scores() -> None:
    scores = torch.randn(6, 6, generator=drawn())
    dealt = joint._given_others(scores, drawn(1))
    assert torch.equal(dealt.diagonal(), scores.diagonal())

    where = {float(scores[i, j]): (i, j) for i in range(6) for j in range(6) if i != j}
    places = {(i, j): where[float(dealt[i, j])] for i in range(6) for j in range(6) if i != j}
    assert len(set(places.values())) == 30  # each interaction once
    # What stood between a and b stands between others, both ways: one renaming for all.
    renamed = {i: {old for (a, _), (old, _) in places.items() if a == i} for i in range(6)}
    assert all(len(old) == 1 for old in renamed.values())
    assert all(renamed[j] == {old} for (_, j), (_, old) in places.items())
    assert renamed != {i: {i} for i in range(6)}


@pytest.mark.parametrize("how", ["uniform", "independent", "joint", "mixed up", "easy", "hard"])
def test_a_choice_is_of_its_size_without_a_pair_twice_and_asks_whom_its_rule_asks(
    how: joint.How, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = Nobody() if how in ("uniform", "easy") else towers.seeded_matcher(0)
    if how in ("uniform", "hard"):
        monkeypatch.setattr(joint, "reference", Nobody)
    batch, again = (joint.chosen_pairs(joint.Matching(how=how), matcher, 4, 7) for _ in range(2))

    assert len(batch) == joint.BATCH and torch.equal(batch.left, again.left)
    assert len(batch.left.unique(dim=0)) == joint.BATCH
    other = joint.chosen_pairs(joint.Matching(how=how), matcher, 4, 8)
    assert not torch.equal(batch.left, other.left)


@pytest.mark.parametrize(("how", "sign"), [("independent", 1), ("easy", -1), ("hard", 1)])
def test_a_sharp_choice_takes_the_highest_of_what_its_rule_asks(
    how: joint.How, sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint, "SCALE", float("inf"))
    matcher, candidates = towers.seeded_matcher(1), joint._tables()[0].draw(120, junk=0.6)
    with torch.no_grad():
        ours, theirs = (towers.pair_losses(one(candidates)) for one in (matcher, joint.reference()))
    asked = {"independent": ours - theirs, "easy": theirs, "hard": ours}[how].diagonal()

    found = joint._places(how, matcher, candidates, drawn())
    expected = sorted(range(120), key=lambda i: -sign * float(asked[i]))[: joint.BATCH]
    assert sorted(found.tolist()) == sorted(expected)


def test_a_forward_pass_costs_what_torch_counts() -> None:
    pairs, matcher = joint._tables()[0].draw(7), towers.seeded_matcher(0)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        matcher(pairs)
    assert towers.forward_flops(7, WIDTH) == counted.get_total_flops()


def test_a_choice_of_pairs_pays_a_forward_pass_for_each_model_that_it_asks() -> None:
    learning = 3 * towers.forward_flops(24, WIDTH)
    looking = towers.forward_flops(120, WIDTH)  # 24 of 120 are left by a filter of 80%
    passes = {"uniform": 0, "easy": 1, "hard": 1, "independent": 2, "joint": 2, "mixed up": 2}
    assert {how: joint.flops_per_step(how) for how in passes} == {
        how: learning + n * looking for how, n in passes.items()
    }


def test_a_step_of_the_language_model_costs_what_a_count_by_hand_says() -> None:
    layer = 4 * 64 * 64 + 2 * 64 * 128  # attention's four matrices, and the feed-forward's two
    attended = 2 * 2 * 2 * 32 * 32  # scores and mixing, 2 heads of 32, over 32 places on average
    forward = 2 * (2 * layer + 64 * 256) + 2 * attended
    bills = {
        ratio: stream.flops_per_step(stream.Stream(rule="learnability", filter_ratio=ratio))
        for ratio in (0.5, 0.8, 0.9)
    }

    assert stream.flops_per_step(stream.Stream()) == 3 * forward * 8 * 64
    assert bills == {
        ratio: 64 * forward * (3 * 8 + 2 * n) for ratio, n in ((0.5, 16), (0.8, 40), (0.9, 80))
    }
    assert stream.flops_per_step(stream.Stream(rule="hard")) == 64 * forward * (3 * 8 + 40)


@pytest.mark.parametrize("junk", [0.0, 0.6, 1.0])
def test_a_stream_has_the_junk_that_it_says_half_of_it_shuffled(junk: float) -> None:
    where = stream.stream(junk, 400, seed=5).at(0).domain_ids.bincount(minlength=6) / 400
    expected = [(1 - junk) / 4] * 4 + [junk / 2] * 2
    assert where.tolist() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("how", ["uniform", "joint"])
def test_a_run_on_pairs_repeats_and_its_clock_runs_for_steps_alone(
    how: joint.How, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, theirs = joint._learn, joint.reference()

    def learn(*what: object) -> None:
        clock.seconds += 1
        whole(*what)

    def reference() -> towers.Matcher:
        clock.seconds += 0 if reference.is_there else 1000
        reference.is_there = True
        return theirs

    reference.is_there = False
    monkeypatch.setattr(joint, "_learn", learn)
    monkeypatch.setattr(joint, "reference", reference)
    horizon = Horizon(how, joint.Matching(how=how), N_STEPS, 0.002)
    first, again = (joint.measure_matching(horizon, 1) for _ in range(2))

    assert first["steps"] == first["cpu_seconds"] == list(range(1, N_STEPS + 1))
    assert {k: first[k] for k in first if k in ALIKE} == {k: again[k] for k in again if k in ALIKE}
    assert 0 < first["true_share"] < 1
    assert first["reference_flops"] == 600 * 3 * towers.forward_flops(24, WIDTH)


@pytest.mark.parametrize("rule", [None, "learnability"])
def test_a_run_on_a_stream_repeats_and_counts_the_clean_rows_that_it_learned_from(
    rule: stream.Rule | None, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, advance = [], stream.Trainer.advance

    def watched(trainer: stream.Trainer, batch: stream.Batch) -> object:
        clock.seconds += 1
        seen.extend(batch.domain_ids.tolist())
        return advance(trainer, batch)

    monkeypatch.setattr(stream.Trainer, "advance", watched)
    horizon = Horizon("any", stream.Stream(rule=rule), 30, 0.004)  # past its 20 of warm-up
    first = stream.measure_stream(horizon, 1)
    assert len(seen) == 8 * 30
    assert first["clean_share"] == round(sum(i < 4 for i in seen) / len(seen), 4) < 0.8
    assert first["steps"] == first["cpu_seconds"] == list(range(3, 31, 3))

    again = stream.measure_stream(horizon, 1)
    assert {k: first[k] for k in first if k in ALIKE} == {k: again[k] for k in again if k in ALIKE}


@pytest.mark.parametrize(
    ("name", "module", "lowest"), [("stream", stream, True), ("joint", joint, False)]
)
def test_the_rates_are_those_that_the_stored_search_found_best(
    name: str, module: object, lowest: bool
) -> None:
    found = best_rates(stored(f"13_{name}_rates"), "final", lowest=lowest)
    assert found[module.LENGTHS[0]] == module.BEST
