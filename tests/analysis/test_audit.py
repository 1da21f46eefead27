"""An audit says what can be found by hand, and says the same every time."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from moe_teach.analysis.audit.gather import gather
from moe_teach.analysis.audit.reading import pieces_of, read
from moe_teach.analysis.audit.report import AuditReport
from moe_teach.analysis.interventions.knock_out import without_expert
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.model import Model
from moe_teach.train.sources import open_source

TEXT = "".join(f"{a} + {b} = {a + b}\n" for a in range(14) for b in range(3))


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory) -> str:
    return ByteTokenizer().save(tmp_path_factory.mktemp("bytes")).read_text("utf-8")


def audited_model(**moe) -> Model:
    torch.manual_seed(0)
    model = Model(
        ModelConfig(
            vocab_size=256,
            n_layers=2,
            d_model=16,
            max_seq_len=32,
            attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=8),
            moe=MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=8, **moe),
        )
    ).eval()
    for block in model.blocks:
        block.ffn.router.proj.weight.data.normal_()
    model.unembedding.weight.data.normal_()
    return model


def audit(model: Model, tokenizer_json: str, text: str = TEXT, **options) -> AuditReport:
    return gather(model, tokenizer_json, text, model_name="m", text_name="t.txt", **options)


@pytest.fixture(scope="module")
def found(tokenizer_json) -> AuditReport:
    return audit(audited_model(), tokenizer_json)


def test_what_an_audit_says_can_be_found_by_hand(tokenizer_json):
    model = audited_model()
    found = audit(model, tokenizer_json, shown=10)
    ids = torch.tensor(list(TEXT.encode()))
    n_windows = (len(ids) - 1) // 32
    inputs = ids[: n_windows * 32].view(-1, 32)
    targets = ids[1 : n_windows * 32 + 1].view(-1, 32)
    with torch.no_grad():
        output = model(inputs)
    losses = F.cross_entropy(output.logits.flatten(0, 1).double(), targets.flatten())
    assert found.loss == pytest.approx(float(losses), abs=1e-4)
    assert (found.n_tokens, found.n_windows, found.window) == (n_windows * 32, n_windows, 32)
    assert found.n_left_out == len(ids) - 1 - n_windows * 32
    assert "".join(found.tokens) == TEXT[:10]
    for view, routing in zip(found.layers, output.routings, strict=True):
        counts = routing.expert_ids.flatten().bincount(minlength=4)
        assert view.load == pytest.approx((counts / counts.sum()).tolist(), abs=1e-5)
        assert view.expert_ids == tuple(map(tuple, routing.expert_ids[:10].tolist()))
        ordered = routing.probs.double().sort(descending=True).values
        margins = ordered[:, 1] - ordered[:, 2]
        assert view.margins == pytest.approx(margins[:10].tolist(), abs=1e-4)
        assert view.margin_points[2] == pytest.approx(float(margins.quantile(0.5)), abs=1e-4)
        assert view.close_calls == pytest.approx(float((margins < 0.025).double().mean()), abs=1e-3)
        for expert, words in enumerate(view.words):
            for word in words:
                mine = inputs.flatten() == ord(word.text)
                assert word.count == int(mine.sum())
                share = (routing.expert_ids[mine] == expert).any(1).double().mean()
                assert word.share == pytest.approx(float(share), abs=1e-3)
                assert share > view.load[expert] * 2
    for one in found.closed:
        order = sorted(found.layers[one.layer].load, reverse=True)
        assert one.load == order[0 if one.kind == "busiest" else 2]
        with torch.no_grad(), without_expert(model, one.layer, one.expert):
            after = model(inputs).logits
        rise = F.cross_entropy(after.flatten(0, 1).double(), targets.flatten()) - losses
        assert one.rise == pytest.approx(float(rise), abs=1e-4)
        changed = after.argmax(-1) != output.logits.argmax(-1)
        assert one.changed == pytest.approx(float(changed.double().mean()), abs=1e-5)
        assert one.interval.low <= one.rise <= one.interval.high
    assert [(one.layer, one.kind) for one in found.closed] == [
        (layer, kind) for layer in (0, 1) for kind in ("busiest", "middling")
    ]


def test_turns_quote_the_text_where_it_turned(found):
    turns = found.closed[0].turns
    assert turns
    for turn in turns:
        assert turn.before + turn.really in TEXT
        assert turn.was != turn.became
    rises = [turn.rise for turn in turns]
    assert rises == sorted(rises, reverse=True)


def test_neighbours_change_nothing_where_nothing_is_dropped(tokenizer_json, found):
    limited = audited_model(capacity_factor=0.6)
    as_it_is, *capped = found.crowds
    assert not found.drops
    assert as_it_is.factor is None
    shares = (as_it_is.dropped, as_it_is.changed_by_others, as_it_is.changed_by_flood)
    assert shares == (0, 0, 0)
    assert [crowd.factor for crowd in capped] == [1.0, 1.25, 2.0]
    assert capped[0].dropped > capped[-1].dropped
    assert capped[0].changed_by_flood > 0
    own = audit(limited, tokenizer_json)
    assert own.drops
    assert own.crowds[0].dropped > 0
    assert own.crowds[0].changed_by_flood > 0
    assert list(own.crowds[1:]) == capped


def test_the_same_input_gives_the_same_record(tokenizer_json, found):
    assert audit(audited_model(), tokenizer_json) == found


def test_a_released_checkpoint_is_audited_like_the_model_it_came_from(
    tokenizer_json, tmp_path, found
):
    model = audited_model()
    export_hf(model, tmp_path / "hf", tokenizer_json=tokenizer_json)
    opened = open_source(tmp_path / "hf")
    theirs = audit(opened.model, tokenizer_json)
    assert found == replace(theirs, weights_digest=found.weights_digest)


@pytest.mark.parametrize("text", ["ab", "a" * 33, TEXT[:40]])
def test_a_short_text_is_one_window_without_intervals(tokenizer_json, text):
    found = audit(audited_model(), tokenizer_json, text)
    assert found.n_windows == 1
    assert found.window == min(32, len(text) - 1)
    assert all(one.interval is None for one in found.closed)
    assert len(found.tokens) == found.n_tokens


def test_what_cannot_be_audited_is_said(tokenizer_json):
    model = audited_model()
    with pytest.raises(ValueError, match="two tokens"):
        audit(model, tokenizer_json, "a")
    with pytest.raises(ValueError, match="At least one token"):
        audit(model, tokenizer_json, shown=0)
    dense = Model(replace(model.config, moe=None, d_ff_dense=8))
    with pytest.raises(ValueError, match="no layer with experts"):
        audit(dense, tokenizer_json)
    hashed = audited_model()
    use_hash_routers(hashed)
    found = audit(hashed, tokenizer_json)
    assert found.closed == ()
    assert "tokens do not choose" in found.not_closed


def test_pieces_put_the_text_together_again(tokenizer_json):
    tokenizer = Tokenizer.from_str(tokenizer_json)
    text = "añ🙂b\n"
    pieces = pieces_of(text, tokenizer.encode(text))
    assert len(pieces) == len(text.encode())
    assert "".join(pieces).replace("·", "") == text
    assert pieces[:4] == ["a", "ñ", "·", "🙂"]
    reading = read(text * 20, tokenizer, 32)
    assert len(reading.pieces) == reading.inputs.numel() + 1
    assert torch.equal(reading.inputs.flatten()[1:], reading.targets.flatten()[:-1])
