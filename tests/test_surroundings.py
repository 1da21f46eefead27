"""What the surroundings say, and randomness that leaves them alone."""

import pytest
import torch

from moe_teach.seeding import mixed, seeded
from moe_teach.surroundings import version_of, wants_short_work


@pytest.mark.parametrize(("said", "short"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_short_form_is_asked_for_by_name(monkeypatch, said, short):
    monkeypatch.setenv("MOE_TEACH_FAST", said)
    assert wants_short_work() == short
    monkeypatch.delenv("MOE_TEACH_FAST")
    assert not wants_short_work()


def test_a_package_has_a_version_or_a_word_for_its_absence():
    assert version_of("torch")[0].isdigit()
    assert version_of("no-such-package-here") == "not installed"
    assert version_of("no-such-package-here", "from a folder") == "from a folder"


def test_a_seeded_block_draws_the_same_and_disturbs_no_other_draw(monkeypatch):
    reseeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    torch.random.default_generator.manual_seed(5)
    expected = [torch.rand(1).item(), torch.rand(1).item()]

    torch.random.default_generator.manual_seed(5)
    before = torch.rand(1).item()
    inside = []
    for _ in range(2):
        with seeded(1, 2):
            inside.append(torch.rand(1).item())
    assert [before, torch.rand(1).item()] == expected
    assert inside[0] == inside[1] != before
    assert reseeded == [], "every GPU's generator was seeded, and none of them put back"


def test_neighbouring_numbers_give_unrelated_seeds():
    assert len({mixed(0), mixed(1), mixed(0, 1), mixed(1, 0), mixed(-1)}) == 5
