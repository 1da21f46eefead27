"""Routes on disk: small, whole or not there, and read back as far as their rounding says."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_teach.analysis.routes import compact
from moe_teach.analysis.routes.parquet import long_columns, to_parquet
from moe_teach.analysis.routes.record import RouteRecord, joined
from moe_teach.analysis.routes.store import RouteWriter, open_routes
from moe_teach.data.batches import Batch


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


def texts(n: int, length: int = 10) -> list[Batch]:
    """Batches of two rows; every third has padding, so that they differ in their tokens."""
    source, made = torch.Generator().manual_seed(7), []
    for number in range(n):
        ids = torch.randint(300, (2, length), generator=source)
        real = torch.ones_like(ids, dtype=torch.bool)
        real[1, : 4 if number % 3 == 0 else 0] = False
        made.append(Batch(ids, ids, torch.tensor([0, 1]), real))
    return made


def routed(batches, weights_digest="abc"):
    """Routes of batches, as a model makes them: a function of the tokens alone."""
    for batch in batches:
        ids = batch.inputs[batch.real]
        rows, places = batch.real.nonzero(as_tuple=True)
        probs = torch.sin(ids[:, None, None] * torch.arange(1.0, 37).view(4, 9)).softmax(-1)
        gates, experts = probs.topk(2, -1)
        yield RouteRecord(
            token_ids=ids,
            sequence_ids=rows,
            positions=places,
            domain_ids=batch.domain_ids[rows],
            domains=("a", "b"),
            expert_ids=experts,
            gates=gates,
            margins=gates[..., 0] - gates[..., 1],
            n_experts=9,
            layers=tuple("0123"),
            weights_digest=weights_digest,
        )


def recorded(folder, batches, **options):
    with RouteWriter(folder, chunk_tokens=50, **options) as writer:
        for record in routed(writer.rest(batches)):
            writer.add(record)


def files_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Killed(BaseException):
    """A process that ends here: nothing after it runs."""


def test_a_recording_killed_anywhere_goes_on_and_ends_as_if_it_had_never_been(
    tmp_path, monkeypatch
):
    batches = texts(13)
    recorded(tmp_path / "unbroken", batches)
    whole, replace_file = files_of(tmp_path / "unbroken"), Path.replace
    assert len(whole) == 6  # five chunks, the last of them short, and the manifest
    for survives in range(11):  # so many files come into their place, then the process is gone
        folder, left = tmp_path / f"killed {survives}", [survives]

        def replacing(self, target, left=left):
            if not left[0]:
                raise Killed
            left[0] -= 1
            return replace_file(self, target)

        monkeypatch.setattr(Path, "replace", replacing)
        writer = RouteWriter(folder, chunk_tokens=50, resume=True)
        with pytest.raises(Killed):
            for record in routed(writer.rest(batches)):
                writer.add(record)
            writer.__exit__(None, None, None)
        monkeypatch.undo()
        (folder / ".chunk-00001.safetensors-0a1b2c.tmp").write_bytes(b"half")
        done, forwards = survives // 2, []
        with RouteWriter(folder, chunk_tokens=50, resume=True) as writer:
            assert writer.n_batches == batches_in(whole, done)
            for record in routed(writer.rest(batches)):
                forwards.append(record)
                writer.add(record)
        assert files_of(folder) == whole, survives
        assert len(forwards) == 13 - batches_in(whole, done), "nothing is computed twice"


def batches_in(whole: dict[str, bytes], done: int) -> int:
    chunks = json.loads(whole["routes.json"])["chunks"][:done]
    return sum(one["n_batches"] for one in chunks if one["n_tokens"] >= 50)


def test_a_process_that_is_killed_leaves_a_recording_to_go_on_with(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.analysis.test_route_store import RouteWriter, routed, texts\n"
        "writer = RouteWriter(Path(sys.argv[1]), chunk_tokens=50).__enter__()\n"
        "for number, record in enumerate(routed(texts(13))):\n"
        "    writer.add(record)\n"
        "    if number == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not open_routes(tmp_path / "killed").is_finished
    recorded(tmp_path / "killed", texts(13), resume=True)
    recorded(tmp_path / "unbroken", texts(13))
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "unbroken")


def test_what_an_error_left_short_is_recorded_again_and_stays_until_then(tmp_path):
    batches = texts(13)
    with pytest.raises(KeyboardInterrupt), RouteWriter(tmp_path / "one", chunk_tokens=50) as writer:
        for number, record in enumerate(routed(batches)):
            if number == 8:
                raise KeyboardInterrupt
            writer.add(record)
    before = len(open_routes(tmp_path / "one"))
    writer = RouteWriter(tmp_path / "one", chunk_tokens=50, resume=True)
    assert writer.n_batches < 8
    assert len(open_routes(tmp_path / "one").read()) == before
    recorded(tmp_path / "one", batches, resume=True)
    recorded(tmp_path / "unbroken", batches)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "unbroken")


def test_only_the_same_recording_is_gone_on_with(tmp_path):
    def begun(name):
        writer = RouteWriter(tmp_path / name, chunk_tokens=50)
        for record in routed(texts(8)):
            writer.add(record)
        return tmp_path / name

    folder = begun("begun")
    before = files_of(folder)
    with RouteWriter(folder, chunk_tokens=50, resume=True) as writer:
        with pytest.raises(ValueError, match="differ in weights_digest"):
            for record in routed(writer.rest(texts(13)), weights_digest="of another model"):
                writer.add(record)
        assert files_of(folder) == before
        with pytest.raises(ValueError, match="of other tokens than the first of these batches"):
            next(writer.rest(texts(13)[1:]))
        with pytest.raises(ValueError, match="of other tokens"):
            next(writer.rest(texts(2)))
        writer.add(next(routed(texts(13)[writer.n_batches :])))
    with pytest.raises(ValueError, match="is finished already"):
        RouteWriter(folder, chunk_tokens=50, resume=True)
    folder = begun("again")
    with pytest.raises(ValueError, match="begun with chunk_tokens=50 and exact=False: go on with"):
        RouteWriter(folder, chunk_tokens=60, resume=True)
    with pytest.raises(ValueError, match="go on with the same"):
        RouteWriter(folder, chunk_tokens=50, exact=True, resume=True)
    with pytest.raises(FileExistsError, match="left alone"):
        RouteWriter(folder, chunk_tokens=50)
    chunk = folder / "chunk-00001.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"chunk-00001\.safetensors is not as it was written"):
        RouteWriter(folder, chunk_tokens=50, resume=True)
    said = json.loads((folder / "routes.json").read_text())
    del said["chunk_tokens"]
    (folder / "routes.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="earlier release"):
        RouteWriter(folder, chunk_tokens=50, resume=True)
    assert len(open_routes(folder)) > 50, "and it can still be read"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="left alone"):
        RouteWriter(tmp_path / "other", resume=True)


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
