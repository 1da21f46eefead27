"""Contenders are timed fairly: each once per round, and nobody always after the same one."""

import pytest

from moe_teach.bench.timing import in_turn


def test_every_round_runs_everybody_once_and_in_another_order() -> None:
    ran: list[str] = []
    names = ["limit", "ours", "theirs", "others"]
    contenders = {name: (lambda name=name: ran.append(name)) for name in names}

    in_turn(contenders, "limit", budget_s=0.0, min_rounds=8)

    warm_up, *rounds = [ran[i : i + 4] for i in range(0, len(ran), 4)]
    assert warm_up == names
    assert len(rounds) == 8
    assert all(sorted(one) == sorted(names) for one in rounds)
    before_ours = {(["start", *one])[one.index("ours")] for one in rounds}
    assert len(before_ours) > 2


def test_a_ratio_compares_a_contender_with_the_limit_of_its_own_round() -> None:
    # The machine is three times slower in every second round, for both alike.
    clock_calls: list[str] = []
    limit, ours = (lambda: None), (lambda: None)

    def clock(run) -> float:
        clock_calls.append("call")
        slow = 3.0 if (len(clock_calls) - 1) // 2 % 2 else 1.0
        return slow * (2.0 if run is ours else 1.0)

    times = in_turn(
        {"limit": limit, "ours": ours}, "limit", budget_s=0.0, min_rounds=4, clock=clock
    )

    assert times["ours"].ratio == 2.0
    assert times["limit"].seconds == 2.0


def test_a_limit_that_nobody_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of the contenders"):
        in_turn({"ours": lambda: None}, "limit", budget_s=0.0)
