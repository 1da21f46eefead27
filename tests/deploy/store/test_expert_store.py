"""The store against the model that is all in memory, on a disk that works and on one that fails."""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moe_teach.checkpoint import tensor_file
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.deploy.store.expert_places import StoredExpert
from moe_teach.deploy.store.expert_store import Counts, ExpertStore
from moe_teach.deploy.store.foresight import forecast
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.policies import LFRU, LFU, LRU, Key, Pinned, Policy
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.tensor_places import BLOCK, TensorFile, UnreadableExperts
from moe_teach.deploy.store.trace import record_trace
from moe_teach.nn.model import Model
from moe_teach.ops.backends import using

TEXT = torch.arange(14) * 7 % 31
N_READ = 9  # at once; the rest token by token
N_LAYERS, N_EXPERTS = 4, 6
MUCH = 1 << 30
POLICIES = {
    "LRU": LRU,
    "LRU per layer": lambda: LRU(per_layer=True),
    "LFU": LFU,
    "LFRU per layer": lambda: LFRU(8, per_layer=True),
    "pinned": lambda: Pinned([Key(0, 1), Key(2, 3)]),
}


@torch.no_grad()
def answers(model: Model) -> list[torch.Tensor]:
    """Prefill a text, then decode the rest of it token by token."""
    cache = model.new_cache()
    # The store visits one expert after the other. A batched product of all would sum otherwise.
    with using(grouped_ffn="expertwise"):
        logits = [model(TEXT[None, :N_READ], cache).logits]
    logits += [model(token.view(1, 1), cache).logits for token in TEXT[N_READ:]]
    return logits


@pytest.fixture(scope="module")
def whole(folder: Path) -> Model:
    return import_hf(folder).model


@pytest.fixture(scope="module")
def expected(whole: Model) -> list[torch.Tensor]:
    return answers(whole)


@pytest.fixture(scope="module")
def largest(folder: Path) -> int:
    with opened_within(folder, MUCH, LRU()) as (_, store):
        return max(store.sizes.values())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("room", ["one", "few", "all"])
def test_answers_are_those_of_the_whole_model_to_the_last_bit(
    folder, expected, largest, policy, room
):
    n_pools = N_LAYERS if "per layer" in policy else 1
    budget = {"one": largest * n_pools, "few": 9 * largest, "all": MUCH}[room]
    with opened_within(folder, budget, POLICIES[policy]()) as (opened, store):
        for ours, theirs in zip(answers(opened.model), expected, strict=True):
            assert torch.equal(ours, theirs)
        assert store.cache.resident_bytes <= budget
        if room == "all":
            assert store.counts.misses <= N_LAYERS * N_EXPERTS


@pytest.mark.parametrize("n_experts", [1, 9, 24])
def test_so_they_are_in_float32(precise_folder, n_experts):
    expected = answers(import_hf(precise_folder).model)
    with opened_within(precise_folder, MUCH, LRU()) as (_, store):
        largest = max(store.sizes.values())
    with opened_within(precise_folder, n_experts * largest, LRU()) as (opened, _):
        assert all(torch.equal(a, b) for a, b in zip(answers(opened.model), expected, strict=True))


@pytest.mark.parametrize("distance", [1, 2])
def test_reading_ahead_changes_no_bit(folder, expected, largest, distance):
    with opened_within(folder, 9 * largest, LRU(), foresight=distance) as (opened, store):
        for ours, theirs in zip(answers(opened.model), expected, strict=True):
            assert torch.equal(ours, theirs)
        assert store.counts.foreseen > 0


def decoded(folder: Path, budget: int, policy: Policy, foresight: int | None) -> Counts:
    with opened_within(folder, budget, policy, foresight=foresight) as (opened, store):
        cache = opened.model.new_cache()
        with torch.no_grad():
            for token in TEXT:
                opened.model(token.view(1, 1), cache)
        return store.counts


@pytest.mark.parametrize(
    ("policy", "n_experts", "foresight"),
    [
        ("LRU", 1, None),
        ("LRU", 4, 1),
        ("LRU per layer", 9, 2),
        ("LFU", 9, None),
        ("LFRU per layer", 9, 1),
        ("pinned", 5, None),
    ],
)
def test_a_simulation_counts_what_the_store_does(precise_folder, policy, foresight, n_experts):
    # In bfloat16 a token may choose otherwise in a text than when it is decoded.
    whole = import_hf(precise_folder).model
    with opened_within(precise_folder, MUCH, LRU()) as (_, store):
        sizes = store.sizes
    budget = n_experts * max(sizes.values())
    counts = decoded(precise_folder, budget, POLICIES[policy](), foresight)
    guesses = None if foresight is None else forecast(whole, TEXT, foresight)
    trace = record_trace(whole, TEXT)
    replay = simulate(trace, POLICIES[policy](), budget, sizes, forecast=guesses)
    found = [replay.hits, replay.foreseen, replay.misses, replay.guessed]
    sums = [int(part.sum()) for part in (*found, replay.waited_bytes, replay.guessed_bytes)]
    assert Counts(*sums) == counts


def test_rows_of_another_dtype_get_experts_of_that_dtype(folder, largest):
    whole = import_hf(folder, torch.float32).model
    with opened_within(folder, 9 * largest, LRU(), dtype=torch.float32) as (opened, _):
        for ours, theirs in zip(answers(opened.model), answers(whole), strict=True):
            assert torch.equal(ours, theirs)


def test_a_guess_that_could_not_be_read_is_read_again(folder, expected, largest, monkeypatch):
    with opened_within(folder, 9 * largest, LRU()) as (opened, store):
        store.foresee(1, range(N_EXPERTS), distance=1)
        monkeypatch.setattr(os, "preadv", FailingDisk("error", range(1, MUCH)))
        store.cache.ask(0, [], 0)
        store._read_guesses(0, [])
        for loaded in store._loaded.values():
            assert isinstance(loaded.weights.exception(), UnreadableExperts)
        monkeypatch.undo()
        got = answers(opened.model)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_two_threads_take_turns(folder, expected, largest):
    from concurrent.futures import ThreadPoolExecutor

    with opened_within(folder, 3 * largest, LRU()) as (opened, _), ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: answers(opened.model), range(4)):
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_a_budget_below_one_expert_is_refused_before_anything_is_read(folder, largest):
    sentence = f"The budget is {largest - 1:,} bytes, but an expert takes {largest:,}: give at"
    with pytest.raises(ValueError, match=sentence), opened_within(folder, largest - 1, LRU()):
        pass


def test_experts_on_a_disk_are_not_trained(folder):
    with opened_within(folder, MUCH) as (opened, _):
        opened.model.embedding.requires_grad_(True)
        with pytest.raises(ValueError, match="cannot be trained"):
            opened.model(TEXT[None])


def test_after_the_block_the_model_says_that_its_experts_are_gone(folder):
    with opened_within(folder, MUCH) as (opened, store):
        answers(opened.model)
    assert not store.cache.resident_bytes
    with pytest.raises(ValueError, match="store is closed"), torch.no_grad():
        opened.model(TEXT[None])


def test_a_model_without_experts_has_nothing_to_store():
    with pytest.raises(ValueError, match="no experts"):
        ExpertStore({}, MUCH, LRU())


class FailingDisk:
    """`os.preadv` that fails from the n-th call on, for a while."""

    def __init__(self, how: str, calls: range) -> None:
        self.how, self.calls, self.n_calls = how, calls, 0
        self.really = os.preadv

    def __call__(self, handle, buffers, offset):
        self.n_calls += 1
        if self.n_calls not in self.calls:
            return self.really(handle, buffers, offset)
        if self.how == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        got = self.really(handle, [buffers[0][:BLOCK]], offset)
        return 0 if self.how == "end" else min(got, 100)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("error", "could not be read at byte .*Input/output error"),
        ("end", "gave 0 bytes at byte .* where more must stand"),
        ("short", "gave 100 bytes at byte"),
    ],
)
@pytest.mark.parametrize(("first", "foresight"), [(1, None), (8, None), (2, 1)])
def test_what_the_disk_did_not_give_is_never_used(
    folder, expected, largest, monkeypatch, how, sentence, first, foresight
):
    with opened_within(folder, 5 * largest, LRU(), foresight=foresight) as (opened, store):
        monkeypatch.setattr(os, "preadv", FailingDisk(how, range(first, first + 3)))
        with pytest.raises(UnreadableExperts, match=sentence):
            answers(opened.model)
        got = None
        while got is None:  # at most as often as the disk fails
            assert store.cache.resident_bytes <= 5 * largest
            with contextlib.suppress(UnreadableExperts):
                got = answers(opened.model)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_a_short_read_that_goes_on_is_no_error(folder, expected, largest, monkeypatch):
    really = os.preadv
    halves = lambda handle, buffers, at: really(handle, [buffers[0][:BLOCK]], at)  # noqa: E731
    monkeypatch.setattr(os, "preadv", halves)
    with opened_within(folder, 5 * largest, LRU()) as (opened, _):
        got = answers(opened.model)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def write_over(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(12)
        stream.write(b"x")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (cut, "had .* bytes when it was opened and has"),
        (touch, "was written to since it was opened"),
        (write_over, "holds other tensors than when it was opened"),
    ],
)
def test_a_file_that_changes_under_the_store_is_noticed(
    folder, tmp_path, largest, change, sentence
):
    copy = shutil.copytree(folder, tmp_path / "model")
    with opened_within(copy, 5 * largest, LRU()) as (opened, _), torch.no_grad():
        opened.model(TEXT[None, :2])
        for path in copy.glob("*.safetensors"):
            change(path)
        with pytest.raises(UnreadableExperts, match=sentence):
            answers(opened.model)


def test_a_file_that_is_no_whole_one_is_not_opened(folder, tmp_path):
    file = sorted(folder.glob("*.safetensors"))[0]
    content = file.read_bytes()
    for length, sentence in ((4, "not a whole"), (40, "not a whole"), (-1, "was cut short")):
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(content[:length])
        with pytest.raises(ValueError, match=sentence):
            TensorFile(broken)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        TensorFile(tmp_path / "none.safetensors")


def test_where_the_page_cache_cannot_be_passed_by_the_bytes_are_the_same(
    folder, expected, largest, monkeypatch
):
    monkeypatch.delattr(os, "O_DIRECT")
    with opened_within(folder, 5 * largest, LRU()) as (opened, _):
        got = answers(opened.model)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.fixture(scope="module")
def large_experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 experts of 4 MiB, which show in the memory of a process."""
    path = tmp_path_factory.mktemp("large") / "experts.safetensors"
    matrix = torch.zeros(1024, 1024)
    entries = [tensor_file.Entry.of(f"{e}.{w}", matrix) for e in range(24) for w in ("up", "down")]
    tensor_file.write(path, [replace(entry, dtype=torch.bfloat16) for entry in entries])
    return path


def resident_now() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its memory")
def test_who_leaves_gives_the_memory_back(large_experts):
    file, one = TensorFile(large_experts), 4 << 20
    experts = {
        Key(0, e): StoredExpert.of(
            {f"w_{w}": (file, file.places[f"{e}.{w}"]) for w in ("up", "down")}
        )
        for e in range(24)
    }
    store, before = ExpertStore(experts, 5 * one, LRU()), resident_now()
    for expert in range(24):
        for _, weights in store.serve(0, [expert]):
            assert not weights.w_up.any()
    held = resident_now() - before
    store.close()
    assert one < held < 8 * one  # what was free before may be used again, so it can seem less
    del weights
    assert resident_now() - before < 3 * one
    file.close()


@pytest.mark.parametrize("opening", ["opened_within(folder, 10**9)", "by_hand(folder)"])
def test_files_left_open_are_closed_without_a_word_when_python_ends(folder, opening):
    # `os` outlives the library's modules, and what it holds is taken down when they are empty.
    script = f"""
import contextlib, os, sys
from pathlib import Path
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.tensor_places import TensorFile

@contextlib.contextmanager
def by_hand(folder):
    file = TensorFile(next(Path(folder).glob("*.safetensors")))
    try:
        yield file
    finally:
        file.close()

folder = sys.argv[1]
os.kept = {opening}
os.kept.__enter__()
"""
    command = [sys.executable, "-c", script, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_file_that_nobody_holds_is_given_back(folder):
    file = TensorFile(next(folder.glob("*.safetensors")))
    handle = file._handle
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)
