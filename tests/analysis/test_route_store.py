"""Routes on disk: small, whole or not there, and read back as far as their rounding says."""

import json
import sys

import numpy as np
import pytest
import torch

from moe_teach.analysis.routes import compact
from moe_teach.analysis.routes.parquet import long_columns, to_parquet
from moe_teach.analysis.routes.record import RouteRecord, joined
from moe_teach.analysis.routes.store import RouteWriter, open_routes


def record_of(n_tokens=40, n_layers=3, n_experts=64, top_k=8, seed=0, drops=False, **other):
    source = torch.Generator().manual_seed(seed)
    probs = torch.randn(n_tokens, n_layers, n_experts, generator=source).mul(2).softmax(-1)
    gates, ids = probs.topk(top_k, -1)
    texts = torch.arange(n_tokens) // 10
    kept = torch.rand(n_tokens, n_layers, top_k, generator=source) < 0.7
    values = {
        "token_ids": torch.randint(50_304, (n_tokens,), generator=source),
        "sequence_ids": texts,
        "positions": torch.arange(n_tokens) % 10,
        "domain_ids": texts % 2,
        "domains": ("a", "b"),
        "expert_ids": ids,
        "gates": gates,
        "margins": torch.rand(n_tokens, n_layers, generator=source),
        "n_experts": n_experts,
        "layers": tuple(f"layer {i}" for i in range(n_layers)),
        "kept": kept if drops else None,
        "weights_digest": "abc",
    }
    return RouteRecord(**(values | other))


EXACT = ("token_ids", "sequence_ids", "positions", "domain_ids", "expert_ids")


def assert_equal(one: RouteRecord, other: RouteRecord, names=(*EXACT, "gates", "margins")) -> None:
    for name in names:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
    assert (one.kept is None) == (other.kept is None)
    assert one.kept is None or torch.equal(one.kept, other.kept)
    for name in ("domains", "layers", "n_experts", "weights_digest"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize(("n_experts", "top_k"), [(1, 1), (5, 2), (64, 8), (300, 3)])
def test_what_is_kept_exactly_comes_back_bit_for_bit(tmp_path, n_experts, top_k, drops):
    parts = [
        record_of(n, n_experts=n_experts, top_k=top_k, seed=n, drops=drops) for n in (1, 40, 7, 25)
    ]
    with RouteWriter(tmp_path / "routes", chunk_tokens=30, exact=True) as writer:
        for part in parts:
            writer.add(part)
    stored, whole = open_routes(tmp_path / "routes"), joined(parts)
    assert stored.is_finished
    assert len(stored) == len(whole) == 73
    assert len(list(stored.chunks())) == 2
    assert_equal(stored.read(), whole)
    assert_equal(stored.read(39, 43), whole.only(slice(39, 43)))
    assert_equal(joined(list(stored.chunks()), renumber=False), whole)


def test_rounding_is_what_its_page_says(tmp_path):
    record = record_of(500)
    record.margins[0, 0], record.gates[0, 0, 0] = torch.inf, 0.0
    with RouteWriter(tmp_path) as writer:
        writer.add(record)
    back = open_routes(tmp_path).read()
    assert_equal(back, record, EXACT)
    largest = record.gates.amax((0, 2))[:, None]
    allowed = (record.gates * largest).sqrt() / 255 + largest / 4 / 255**2
    error = (back.gates - record.gates).abs()
    assert (error <= allowed * 1.0001).all()
    assert (error > allowed * 0.9).any(), "the bound is no looser than it must be"
    assert back.gates[0, 0, 0] == 0
    assert back.margins[0, 0] == torch.inf
    finite = record.margins.isfinite()
    gaps = (back.margins - record.margins)[finite].abs()
    assert (gaps <= record.margins[finite] * 2**-11).all()


def test_a_million_tokens_of_8_of_64_in_16_layers_take_less_than_300_mb(tmp_path):
    tokens = 4096
    record = record_of(tokens, n_layers=16)
    with RouteWriter(tmp_path) as writer:
        writer.add(record)
    stored = open_routes(tmp_path)
    assert stored.n_bytes / tokens * 1e6 < 300e6
    assert compact.n_bytes(compact.to_columns(record, exact=False)) <= 295 * tokens + 64


def test_ids_that_need_more_room_get_it():
    for largest, dtype in ((255, torch.uint8), (256, torch.uint16), (70_000, torch.int64)):
        ids = torch.tensor([0, largest])
        assert compact.narrowed(ids).dtype == dtype
        assert torch.equal(compact.narrowed(ids).long(), ids)
    assert compact.narrowed(torch.tensor([-1])).dtype == torch.int64


@pytest.mark.parametrize("n_choices", [1, 7, 8, 9])
def test_bits_come_back(n_choices):
    kept = torch.rand(5, 3, n_choices) < 0.5
    assert torch.equal(compact.from_bits(compact.to_bits(kept), kept.shape), kept)


def test_a_recording_that_fails_keeps_what_it_had(tmp_path):
    with pytest.raises(KeyboardInterrupt), RouteWriter(tmp_path, chunk_tokens=30) as writer:
        for seed in range(3):
            writer.add(record_of(20, seed=seed))
        raise KeyboardInterrupt
    stored = open_routes(tmp_path)
    assert not stored.is_finished
    assert len(stored) == 60
    assert stored.read().n_texts == 6


def test_a_killed_recording_keeps_the_chunks_that_it_had_finished(tmp_path):
    writer = RouteWriter(tmp_path, chunk_tokens=30).__enter__()
    for seed in range(5):
        writer.add(record_of(20, seed=seed))
    stored = open_routes(tmp_path)  # nobody has closed the writer
    assert not stored.is_finished
    assert len(stored) == 80
    (tmp_path / ".chunk-00002.safetensors-abc.tmp").write_bytes(b"half")
    assert len(open_routes(tmp_path).read()) == 80


def test_nothing_is_written_over_and_mistakes_are_said(tmp_path):
    with RouteWriter(tmp_path / "one") as writer:
        writer.add(record_of())
    before = (tmp_path / "one" / "routes.json").read_bytes()
    with pytest.raises(FileExistsError, match="left alone"):
        RouteWriter(tmp_path / "one")
    assert (tmp_path / "one" / "routes.json").read_bytes() == before
    with pytest.raises(ValueError, match="weights_digest"), RouteWriter(tmp_path / "two") as writer:
        writer.add(record_of())
        writer.add(record_of(weights_digest="another"))
    with pytest.raises(ValueError, match="no batch"), RouteWriter(tmp_path / "three"):
        pass
    with pytest.raises(FileNotFoundError, match=r"routes\.json is missing"):
        open_routes(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a part"):
        open_routes(tmp_path / "one").read(5, 5)
    with pytest.raises(ValueError, match="not a part"):
        open_routes(tmp_path / "one").read(0, 41)
    (tmp_path / "one" / "routes.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(ValueError, match="format 1: record again"):
        open_routes(tmp_path / "one")
    (tmp_path / "one" / "routes.json").write_text("no JSON")
    with pytest.raises(ValueError, match="format 1: record again"):
        open_routes(tmp_path / "one")


def test_a_table_has_a_row_for_each_token_and_layer():
    record = record_of(4, n_layers=3, n_experts=5, top_k=2, drops=True)
    columns = long_columns(record)
    assert {len(column) for column in columns.values()} == {12}
    for row in range(12):
        token, layer = divmod(row, 3)
        assert columns["layer"][row] == layer
        assert columns["token_id"][row] == record.token_ids[token]
        assert columns["position"][row] == record.positions[token]
        assert columns["margin"][row] == record.margins[token, layer]
        for name in ("expert_ids", "gates", "kept"):
            assert np.array_equal(columns[name][row], getattr(record, name)[token, layer].numpy())


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'moe-teach\[analysis\]'"):
        to_parquet(record_of(), tmp_path / "routes.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("drops", [False, True])
def test_a_parquet_file_holds_the_record(tmp_path, drops):
    parquet = pytest.importorskip("pyarrow.parquet")
    record = record_of(12, top_k=3, drops=drops)
    to_parquet((record.only(slice(0, 5)), record.only(slice(5, 12))), tmp_path / "routes.parquet")
    table = parquet.read_table(tmp_path / "routes.parquet")
    assert table.schema.metadata[b"weights_digest"] == b"abc"
    assert table.schema.metadata[b"n_experts"] == b"64"
    for name, column in long_columns(record).items():
        found = table[name].to_pylist()
        if name in ("domain", "layer"):
            names = {"domain": record.domains, "layer": record.layers}[name]
            assert found == [names[number] for number in column]
        else:
            assert found == column.tolist()
    with pytest.raises(ValueError, match="no record"):
        to_parquet([], tmp_path / "empty.parquet")
    assert not (tmp_path / "empty.parquet").exists()
