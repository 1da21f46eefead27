"""The story of the route explorer says what the models did, token by token."""

import pytest
import torch

from moe_teach.analysis.interventions.knock_out import without_expert
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.chapters.ch11_reading_the_router.experiments.models import Trial, untrained_model
from moe_teach.chapters.ch11_reading_the_router.story import PAIR, story_of
from moe_teach.data.batches import Batch
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.widgets.route_explorer import RouteExplorer

DOMAINS = ("code", "english", "languages", "arithmetic")


def test_a_story_holds_the_routes_losses_and_references_of_its_models() -> None:
    model, begun = (untrained_model(Trial(), seed).eval() for seed in (0, 1))
    drawn = torch.randint(32, 126, (8, 13), generator=torch.Generator().manual_seed(0))
    batch = Batch(drawn[:, :-1], drawn[:, 1:], torch.arange(8) % 4)
    records = tuple(record_routes(one, [batch], DOMAINS) for one in (model, begun))
    texts = dict(zip(DOMAINS, drawn[:4, :8], strict=True))

    old, new = (chr(texts["english"][place]) for place in (2, 5))
    assert old != new
    given = (ByteTokenizer(), texts, records, {"trained": [0.1] * 4}, {"english": (old, new)})

    story = story_of(model, begun, *given)

    told = {text.name: text for text in story.texts}
    twin = f"english, “{new}” for “{old}”"
    assert set(told) == {*DOMAINS, *PAIR, twin}
    assert ("english", twin) in story.pairs
    assert told[twin].domain == "english"
    other = [
        place for place in range(8) if told[twin].tokens[place] != told["english"].tokens[place]
    ]
    assert other == [told["english"].tokens.index(old)]
    assert told[twin].tokens[other[0]] == new
    paths = [torch.as_tensor(told[name].routes.expert_ids) for name in ("english", twin)]
    assert torch.equal(*(path[: other[0]] for path in paths)), (
        "before the change nothing can differ"
    )
    ids = drawn[1:2, :8]
    with torch.no_grad():
        output = model(ids)
        with without_expert(model, 2, 5):
            less = model(ids).logits
    assert told["english"].tokens == [chr(number) for number in ids[0].tolist()]
    chosen = torch.stack([routing.expert_ids for routing in output.routings], dim=1)
    assert torch.equal(torch.as_tensor(told["english"].routes.expert_ids), chosen)
    rows = torch.arange(7)
    loss = -output.logits[0, :-1].log_softmax(dim=-1)[rows, ids[0, 1:]]
    worse = -less[0, :-1].log_softmax(dim=-1)[rows, ids[0, 1:]]
    assert told["english"].loss[1:] == pytest.approx(loss.numpy(), abs=1e-4)
    assert told["english"].loss_without[1:, 2, 5] == pytest.approx(worse.numpy(), abs=1e-4)
    (reference,) = story.references
    assert all(
        0 <= low <= high <= 1 for low, high in zip(reference.low, reference.high, strict=True)
    )
    assert "english" in RouteExplorer.of(story, text="english").words()
    both = RouteExplorer.of(story, text="english", second=twin)
    assert f"From where “{twin}” differs on" in both.words()
    assert [0 <= share <= 1 for share in both.divergence()] == [True] * 4
