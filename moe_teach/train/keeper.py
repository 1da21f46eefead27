"""When checkpoints are written, where a run goes on, and which one to trust after a failure."""

from pathlib import Path

import torch
from torch import nn

from moe_teach.checkpoint.store import BEFORE
from moe_teach.files import expanded
from moe_teach.train.config import TrainConfig
from moe_teach.train.ranks import Ranks
from moe_teach.train.record import History
from moe_teach.train.state import forget, load_state, save_state, step_of

HISTORY = "history.json"


class Keeper:
    """The checkpoint folder of one run; without a folder it does nothing."""

    def __init__(
        self,
        folder: str | Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        ranks: Ranks,
        data: str,
    ) -> None:
        self.folder = None if folder is None else expanded(folder)
        self.model, self.optimizer, self.config = model, optimizer, config
        self.ranks, self.data = ranks, data

    def begin(self, resume: bool) -> History:
        """Bring the model to the newest checkpoint and return its history, empty without one."""
        history = History(self.config, ())
        if self.folder is None:
            return history
        if resume:
            history = load_state(self.folder, self.model, self.optimizer, self.config, self.data)
        elif self.ranks.is_first:
            forget(self.folder)
        self.ranks.wait()
        return history

    def is_due(self, n_done: int) -> bool:
        """Tell whether a checkpoint belongs after this many steps."""
        every = self.config.checkpoint_every
        at_the_end = n_done == self.config.steps
        return self.folder is not None and bool(at_the_end or (every and n_done % every == 0))

    def keep(self, history: History) -> None:
        """Write a checkpoint after the last step of this history."""
        if self.ranks.is_first and self.folder is not None:
            save_state(self.folder, self.model, self.optimizer, history, self.data)
            history.save(self.folder / HISTORY)
        self.ranks.wait()

    def advice(self, step: int) -> str:
        """Say which checkpoint to trust after a failure at `step`, and what to try.

        A checkpoint written just before the failing step holds the weights that failed, so the
        last good one is older.
        """
        return f"{self._last_good(step)} Try a smaller lr, a longer warmup or a smaller clip."

    def _last_good(self, step: int) -> str:
        if self.folder is None:
            return "There is no checkpoint: training had no checkpoint_dir."
        for which in ("latest", "previous"):
            saved = step_of(self.folder, which)
            if saved is not None and saved < step:
                behind = BEFORE if which == "previous" else ""
                return (
                    f"The last good checkpoint, of step {saved}, is in {self.folder}: "
                    f"load_weights({str(self.folder)!r}, model, {which!r}), or, of a "
                    f"recipe, FILE.toml{behind} to a command."
                )
        if self.config.checkpoint_every:
            return f"No checkpoint in {self.folder} is older than the step that failed."
        return f"There is no good checkpoint in {self.folder}: set checkpoint_every."
