"""The load is counted over everything that was seen, and divided once."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from moe_teach.analysis.load import DEAD_BELOW, LayerLoad, LoadTally, dead_experts, load_table
from moe_teach.analysis.load import loads_of as observe
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.ops.balance import load, load_entropy, max_violation
from moe_teach.train.evaluate import evaluate
from moe_teach.types import Routing

DOMAINS = ("code", "english")


def routed(expert_ids: list[list[int]], n_experts: int = 4) -> Routing:
    """Return a routing of which only the choices matter."""
    ids = torch.tensor(expert_ids)
    probs = torch.full((len(ids), n_experts), 1 / n_experts)
    return Routing(probs.log(), probs, torch.ones(ids.shape) / ids.shape[1], ids)


def small_model(n_experts: int = 5) -> Model:
    torch.manual_seed(3)
    config = ModelConfig(
        n_layers=2,
        d_model=12,
        vocab_size=17,
        attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=6),
        moe=MoEConfig(router=RouterConfig(n_experts=n_experts, top_k=2, jitter=0.3), d_ff=8),
    )
    return Model(config)


def random_batches(n: int = 3, rows: int = 5, length: int = 7) -> list[Batch]:
    draw = torch.Generator().manual_seed(1)
    made = []
    for _ in range(n):
        text = torch.randint(17, (rows, length + 1), generator=draw)
        domain_ids = torch.randint(2, (rows,), generator=draw)
        made.append(Batch(text[:, :-1].clone(), text[:, 1:].clone(), domain_ids))
    return made


def test_choices_are_counted_by_domain_of_their_sequence():
    tally = LoadTally(DOMAINS)
    tally.add([routed([[0, 1], [0, 2], [3, 1], [3, 0]])], torch.tensor([0, 1]))
    (layer,) = tally.read()
    assert layer.counts.tolist() == [[2, 1, 1, 0], [1, 1, 0, 2]]
    assert layer.load.tolist() == [3 / 8, 2 / 8, 1 / 8, 2 / 8]
    assert layer.load_per_domain.tolist() == [[2 / 4, 1 / 4, 1 / 4, 0], [1 / 4, 1 / 4, 0, 2 / 4]]


def test_domains_can_be_given_for_each_token():
    tally = LoadTally(DOMAINS)
    tally.add([routed([[0], [1], [2]])], torch.tensor([1, 0, 1]))
    assert tally.read()[0].counts.tolist() == [[0, 1, 0, 0], [1, 0, 1, 0]]


def test_the_last_batch_does_not_speak_for_the_rest():
    """Two batches of one domain each: either alone looks collapsed, together they are even."""
    code, english = routed([[0], [1], [0], [1]]), routed([[2], [3], [2], [3]])
    tally = LoadTally(DOMAINS)
    tally.add([code], torch.tensor([0]))
    tally.add([english], torch.tensor([1]))
    (both,) = tally.read()

    alone = LoadTally(DOMAINS)
    alone.add([english], torch.tensor([1]))
    (last,) = alone.read()
    assert (both.entropy, both.max_violation, both.dead) == (1.0, 0.0, ())
    assert last.entropy == pytest.approx(0.5)
    assert last.dead == (0, 1)


def test_batches_of_different_size_count_by_their_tokens():
    tally = LoadTally()
    tally.add([routed([[0]] * 9)])
    tally.add([routed([[1]])])
    assert tally.read()[0].load.tolist() == pytest.approx([0.9, 0.1, 0, 0])


def test_records_can_be_added():
    one = LayerLoad(torch.tensor([[1, 2], [3, 4]]), DOMAINS)
    total = one + one
    assert total.counts.tolist() == [[2, 4], [6, 8]]
    assert total.load.tolist() == one.load.tolist()
    with pytest.raises(ValueError, match="cannot be added"):
        one + LayerLoad(torch.tensor([[1, 2], [3, 4]]), ("code", "sums"))


def test_a_dead_expert_has_less_than_a_tenth_of_the_fair_share():
    n_experts, total = 8, 8000
    fair = total // n_experts
    counts = torch.tensor([fair // 10 - 1, fair // 10, 0, fair // 3, 0, 0, 0, 0])
    counts[7] = total - counts.sum()
    assert dead_experts(counts) == (0, 2, 4, 5, 6)
    assert dead_experts(counts / total, below=0.5) == (0, 1, 2, 3, 4, 5, 6)
    assert dead_experts(counts, below=0.0) == ()
    assert DEAD_BELOW == 0.1


def test_nobody_is_dead_where_nothing_was_chosen():
    assert dead_experts(torch.zeros(3, dtype=torch.long)) == ()


def test_the_numbers_are_those_of_the_balance_module():
    routing = routed([[0, 1], [0, 2], [0, 3], [2, 0]])
    tally = LoadTally()
    tally.add([routing])
    (layer,) = tally.read()
    assert torch.equal(layer.load, load(routing))
    assert layer.entropy == float(load_entropy(routing))
    assert layer.max_violation == float(max_violation(routing))


def test_a_model_is_observed_as_evaluation_sees_it():
    model, batches = small_model().train(), random_batches()
    layers = observe(model, batches, DOMAINS)
    evaluation = evaluate(model, batches, DOMAINS)
    assert model.training
    assert len(layers) == 2
    for number, layer in enumerate(layers):
        assert int(layer.counts.sum()) == 3 * 5 * 7 * 2
        assert layer.load.tolist() == pytest.approx(evaluation.loads[number])
        for domain, row in zip(DOMAINS, layer.load_per_domain.tolist(), strict=True):
            assert row == pytest.approx(evaluation.loads_per_domain[domain][number])


def test_without_names_all_text_is_one():
    (first, _) = observe(small_model(), random_batches())
    assert first.domains == ("all",)
    assert torch.equal(first.load_per_domain[0], first.load)


def test_a_record_becomes_plain_numbers_and_words():
    layer = LayerLoad(torch.tensor([[6, 2, 0], [1, 1, 0]]), DOMAINS)
    plain = layer.as_dict()
    assert plain["load"] == [0.7, 0.3, 0.0]
    assert plain["load_per_domain"] == {"code": [0.75, 0.25, 0.0], "english": [0.5, 0.5, 0.0]}
    assert plain["dead"] == [2]
    words = load_table([layer])
    assert "dead experts: 2" in words
    assert "code         expert 0 75%, expert 1 25%" in words


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("domains", "domain_ids", "sentence"),
    [
        (DOMAINS, None, "Say which of the domains"),
        (DOMAINS, [0, 1], "3 tokens cannot belong to 2 sequences"),
        (DOMAINS, [0, 1, 2], "must lie between 0 and 1"),
        (DOMAINS, [0, -1, 1], "must lie between 0 and 1"),
        (DOMAINS, [], "cannot belong to 0 sequences"),
    ],
)
def test_domains_that_do_not_fit_are_refused(domains, domain_ids, sentence):
    ids = None if domain_ids is None else torch.tensor(domain_ids, dtype=torch.long)
    with pytest.raises(ValueError, match=sentence):
        LoadTally(domains).add([routed([[0], [1], [2]])], ids)


def test_nothing_to_count_is_said_in_a_sentence():
    with pytest.raises(ValueError, match="Nothing was counted"):
        LoadTally().read()
    with pytest.raises(ValueError, match="Name at least one domain"):
        LoadTally(())
    with pytest.raises(ValueError, match="between 0 and 1 fair share"):
        dead_experts(torch.tensor([1, 2]), below=2.0)
    with pytest.raises(ValueError, match="one name for each row"):
        LayerLoad(torch.tensor([[1, 2]]), DOMAINS)


def test_batches_of_another_model_are_refused():
    tally = LoadTally()
    tally.add([routed([[0]])])
    with pytest.raises(ValueError, match="another model"):
        tally.add([routed([[0]], n_experts=5)])


def test_a_dense_model_has_no_load():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, token_ids):
            return SimpleNamespace(routings=())

    with pytest.raises(ValueError, match="no layer with experts"):
        observe(Dense(), random_batches())
