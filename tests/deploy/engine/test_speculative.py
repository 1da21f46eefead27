"""Proposals change how many passes an answer takes, and never the answer."""

from collections import Counter
from dataclasses import replace

import jaxtyping
import pytest
import torch

from moe_teach.deploy.engine import speculative
from moe_teach.deploy.engine.engine import Engine
from moe_teach.deploy.engine.requests import Request, Sampling
from moe_teach.deploy.engine.sampling import draw
from moe_teach.deploy.engine.speculative import Speculator, verified
from moe_teach.train.generate import generate
from tests.deploy.engine.tiny import ids, request, served, tiny

GREEDY = Sampling(max_tokens=12, temperature=0.0)
DRAWN, PROMPT = Sampling(max_tokens=2, temperature=0.1), [3, 1, 4]


@pytest.fixture(scope="module")
def draft():
    """A model that guesses right now and then: the large one, shaken."""
    model = tiny()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.mul_(1 + 0.3 * noise)
    return model


@pytest.mark.parametrize("n_draft", [1, 2, 5, 20])
def test_greedy_answers_are_the_large_models_own(model, draft, n_draft):
    speculator, n_accepted, n_drafted = Speculator(model, draft, n_draft=n_draft), 0, 0
    for prompt in ([3], [1, 2, 3], list(range(15))):
        found = speculator.generate(prompt, GREEDY)
        assert found.token_ids == generate(model, prompt, 12, temperature=0.0)
        assert found.n_accepted + found.n_passes == 12
        n_accepted, n_drafted = n_accepted + found.n_accepted, n_drafted + found.n_drafted
    assert 0 < n_accepted < n_drafted, "some proposals are kept, and some are not"


def test_a_perfect_draft_needs_the_fewest_passes(model):
    found = Speculator(model, model, n_draft=3).generate([1, 2], GREEDY)
    assert found.n_passes == 3 and found.rows == (4, 4, 4)
    assert found.n_accepted == found.n_drafted == 9
    drawn = Speculator(model, model, n_draft=3).generate([1, 2], Sampling(max_tokens=12, seed=1))
    assert drawn.n_accepted == drawn.n_drafted == 9


def test_each_pass_says_whom_it_woke(model, draft):
    found = Speculator(model, draft, n_draft=4).generate([5, 6], GREEDY)
    assert len(found.distinct_experts) == len(found.rows) == found.n_passes
    for n_rows, woken in zip(found.rows, found.distinct_experts, strict=True):
        assert len(woken) == 2 and all(2 <= n <= min(5, 2 * n_rows) for n in woken)
    assert sum(map(sum, found.distinct_experts)) > 2 * 2 * found.n_passes, "more than one row's"


def test_a_stop_id_ends_the_text_inside_a_pass(model):
    text = generate(model, [1, 2], 12, temperature=0.0)
    sampling = Sampling(max_tokens=12, temperature=0.0, stop_ids=frozenset({text[2]}))
    found = Speculator(model, model, n_draft=6).generate([1, 2], sampling)
    assert found.token_ids == text[: text.index(text[2]) + 1]


def test_what_is_kept_is_distributed_as_the_large_model_says():
    """Chi-square over pairs of tokens, V = 3: 8 degrees of freedom, 26.1 once in a thousand."""
    q = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    p = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]], dtype=torch.float64)
    luck, n_draws = torch.Generator().manual_seed(0), 6000
    counts = torch.zeros(3, 3, dtype=torch.float64)
    for _ in range(n_draws):
        proposed = draw(torch.stack([q, q]), [luck, luck])
        kept = verified(p, [q, q], proposed, luck)
        if len(kept) < 2:  # the next pass would draw it from the same place
            kept += draw(p[1:2], [luck])
        counts[kept[0], kept[1]] += 1
    expected = n_draws * p[0][:, None] * p[1]
    assert ((counts - expected) ** 2 / expected).sum() < 26.1


def test_a_proposal_that_the_model_rules_out_is_never_kept():
    p = torch.tensor([[0.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    q = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for seed in range(20):
        assert verified(p, [q], [0], torch.Generator().manual_seed(seed)) == [1]


def counted(answers):
    """Count the first tokens of many answers, and the second ones."""
    return [Counter(tokens) for tokens in zip(*answers, strict=True)]


def with_a_draft(model, draft, seeds):
    """Draw two tokens a seed: one that was proposed or replaced, and one after it."""
    speculator = Speculator(model, draft, n_draft=1)
    answers = [speculator.generate(PROMPT, replace(DRAWN, seed=seed)) for seed in seeds]
    assert sum(one.n_accepted for one in answers) > 0, "some proposals are kept"
    return counted(one.token_ids for one in answers)


@pytest.fixture
def unchecked():
    """Thousands of passes whose shapes the tests above have checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def plain(model):
    """What the engine draws without a draft."""
    engine = Engine(model, n_slots=100)
    for seed in range(4000):
        sampling = replace(DRAWN, seed=seed)
        engine.submit(Request(id=str(seed), prompt=tuple(PROMPT), sampling=sampling))
    return counted(map(ids, served(engine).values()))


def chance_of(one, other):
    """Chi-square of two samples: how likely they differ so much if their source is the same."""
    often = [token for token in one | other if one[token] >= 100]
    table = [[sample[token] for token in often] for sample in (one, other)]
    counts = torch.tensor(table, dtype=torch.float64)
    rest = torch.tensor([[sample.total()] for sample in (one, other)]) - counts.sum(1, True)
    counts = torch.cat([counts, rest], dim=1)
    expected = counts.sum(1, True) * counts.sum(0) / counts.sum()
    distance = ((counts - expected) ** 2 / expected).sum()
    degrees = torch.tensor(counts.shape[1] - 1.0, dtype=torch.float64)
    assert degrees >= 5 and expected.min() > 5, "several tokens, each of them often enough"
    return float(torch.special.gammaincc(degrees / 2, distance / 2))


@pytest.mark.usefixtures("unchecked")
def test_a_draft_does_not_change_how_often_each_token_is_drawn(model, draft, plain):
    spoken = with_a_draft(model, draft, range(5000, 5400))
    for one, other in zip(plain, spoken, strict=True):
        assert chance_of(one, other) > 0.01


def keeps_every_proposal(p, q, share):
    return True


def takes_the_share_upside_down(p, q, share):
    return share * p < q


def draws_again_from_p(p, q, share):
    return share * q < p


BROKEN = (
    (keeps_every_proposal, 250),
    (takes_the_share_upside_down, 250),
    (draws_again_from_p, 400),
)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("rule", "n_draws"), BROKEN)
def test_another_rule_of_acceptance_would_be_seen(model, draft, plain, rule, n_draws, monkeypatch):
    """The control of the test above; what is not kept is drawn from p."""
    right = speculative.verified

    def broken(probs, guessed, proposed, luck):
        if not proposed:
            return right(probs, guessed, proposed, luck)
        share = float(torch.rand((), generator=luck, dtype=torch.float64))
        if rule(probs[0, proposed[0]], guessed[0][proposed[0]], share):
            return [*proposed, *draw(probs[1:], [luck])]
        return draw(probs[:1], [luck])

    monkeypatch.setattr(speculative, "verified", broken)
    first, _ = with_a_draft(model, draft, range(5000, 5000 + n_draws))
    assert chance_of(plain[0], first) < 1e-4


def test_what_cannot_work_is_refused(model):
    with pytest.raises(ValueError, match="n_draft"):
        Speculator(model, model, n_draft=0)
    speculator = Speculator(model, model)
    with pytest.raises(ValueError, match="can add 13, not 14"):
        speculator.generate([1] * 20, Sampling(max_tokens=14))
    with pytest.raises(ValueError, match="nothing to continue"):
        speculator.generate([], GREEDY)
    with pytest.raises(ValueError, match="between 0 and 28"):
        speculator.generate([29], GREEDY)
    assert len(speculator.generate([1] * 20, request(max_tokens=13).sampling).token_ids) == 13
