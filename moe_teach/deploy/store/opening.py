"""A released checkpoint as a model whose experts stay on the disk."""

import contextlib
import weakref
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from moe_teach.checkpoint.hf_import import import_hf, weight_files
from moe_teach.checkpoint.layouts import layout_named
from moe_teach.checkpoint.layouts.names import Window, places_of
from moe_teach.checkpoint.opened import Opened
from moe_teach.deploy.store.expert_places import StoredExpert
from moe_teach.deploy.store.expert_store import ExpertStore
from moe_teach.deploy.store.foresight import Foresight
from moe_teach.deploy.store.policies import LFRU, Key, Policy
from moe_teach.deploy.store.stored_experts import StoredExperts
from moe_teach.deploy.store.tensor_places import Place, TensorFile
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


@contextlib.contextmanager
def opened_within(
    folder: Path | str,
    budget_bytes: int,
    policy: Policy | None = None,
    *,
    foresight: int | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[tuple[Opened, ExpertStore]]:
    """Open a released checkpoint with all but its experts in memory, and a budget for those.

        with opened_within(folder, 2_000_000_000) as (opened, store):
            generate(opened.model, prompt, 20)
        print(store.counts)

    The model cannot be used after the block: its experts are gone.

    Args:
        folder: in the Hugging Face layout, as `export_hf` writes it.
        budget_bytes: what the experts in memory may take; all else is resident on top of it.
        policy: who leaves when another must come; by default LFRU with a budget for each layer.
        foresight: guess so many MoE layers ahead and read early; by default not at all.
        dtype: of what is resident; None keeps that of the file. Experts keep theirs.

    Raises:
        FileNotFoundError, ValueError: as `import_hf`; also for a budget below one expert, and a
            model without experts.
    """
    folder, stack = Path(folder), contextlib.ExitStack()
    close = weakref.finalize(opened_within, stack.close)  # at exit, before what it needs goes
    try:
        opened = import_hf(folder, dtype, experts_stay=True)
        experts = find_experts(opened.model, opened.layout, _open_files(folder, stack))
        store = ExpertStore(experts, budget_bytes, policy or LFRU(per_layer=True))
        stack.callback(store.close)
        put_store_into(opened.model.requires_grad_(False), store)
        if foresight is not None:
            stack.enter_context(_guessing(opened.model, store, foresight))
        yield opened, store
    finally:
        close()


def find_experts(model: Model, layout: str, files: list[TensorFile]) -> dict[Key, StoredExpert]:
    """Find where each expert of a model lies; its MoE layers are counted from the bottom.

    Args:
        model: of which the shapes are read.
        layout: the name of the published layout that the files have.
        files: all files of its weights.
    """
    where = {name: (file, place) for file in files for name, place in file.places.items()}
    experts: dict[Key, StoredExpert] = {}
    for layer, (number, block) in enumerate(_moe_blocks(model)):
        prefix = f"blocks.{number}.ffn.experts."
        named = [
            (prefix + name, tuple(w.shape)) for name, w in block.ffn.experts.named_parameters()
        ]
        places = places_of(layout_named(layout), named)
        for expert in range(named[0][1][0]):
            windows = {p.ours.removeprefix(prefix): p.windows(where)[expert] for p in places}
            experts[Key(layer, expert)] = StoredExpert.of(
                {matrix: _found(window, *where[window.name]) for matrix, window in windows.items()}
            )
    return experts


def put_store_into(model: Model, store: ExpertStore) -> None:
    """Let every MoE layer ask the store; router and shared expert stay what they are."""
    for layer, (_, block) in enumerate(_moe_blocks(model)):
        old = block.ffn
        stored = StoredExperts(store, layer, old.experts.activation)
        block.ffn = MoE(
            old.router,
            stored,
            old.shared_expert,
            old.capacity_factor,
            old.drop_policy,
            capacity=old.capacity,
            gates_on=old.gates_on,
            n_identity_experts=old.n_identity_experts,
        ).train(old.training)


def _found(window: Window, file: TensorFile, place: Place) -> tuple[TensorFile, Place]:
    """Find what a window shows: of a tensor of all experts, the rows of one."""
    return (file, place) if window.rows is None else (file, place.rows(*window.rows))


def _moe_blocks(model: Model) -> list[tuple[int, torch.nn.Module]]:
    return [(i, block) for i, block in enumerate(model.blocks) if isinstance(block.ffn, MoE)]


def _open_files(folder: Path, stack: contextlib.ExitStack) -> list[TensorFile]:
    files = [TensorFile(path) for path in weight_files(folder)[0]]
    for file in files:
        stack.callback(file.close)
    return files


def _guessing(
    model: Model, store: ExpertStore, distance: int
) -> contextlib.AbstractContextManager[None]:
    """Pass guesses (T, G) on: the surest of every token first, each expert once."""

    def announce(layer: int, guesses: Tensor) -> None:
        store.foresee(layer, dict.fromkeys(guesses.T.flatten().tolist()), distance)

    return Foresight(model, distance).watching(announce)
