"""Watches notebooks and checks them again whenever they are saved.

A check is repeated only where something that its answer can depend on has changed, so that a save
counts no try for an answer that nobody touched. It polls: file systems over a network and in
containers tell nobody of changes.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from moe_teach.course.learner import rechecking, saved

PAUSE = 0.5  # seconds between two looks

Stamp = tuple[int, int]
Begin = Callable[[Path, list[str]], "subprocess.Popen[bytes]"]


def _say(words: str) -> None:
    print(words, flush=True)  # before the process that it starts says something


class Watch:
    """What is known of the notebooks: their stamps, and what was judged in them last."""

    def __init__(self, begin: Begin = rechecking.start, say: Callable[[str], None] = _say) -> None:
        self.begin, self.say = begin, say
        self.running: subprocess.Popen[bytes] | None = None
        self._stamps: dict[Path, Stamp | None] = {}
        self._judged: dict[Path, dict[str, str]] = {}

    def get_to_know(self, files: list[Path]) -> None:
        """Take the files as they are now for judged."""
        for file in files:
            self._stamps[file] = stamp_of(file)
            try:
                self._judged[file] = saved.fingerprints(saved.read(file))
            except saved.BrokenNotebook:
                self._judged[file] = {}

    def look(self, files: list[Path]) -> None:
        """Check the files that were saved since the last look."""
        for file in files:
            stamp = stamp_of(file)
            if stamp == self._stamps.get(file):
                continue
            self._stamps[file] = stamp
            if stamp is None:
                self.say(f"{file} is not there any more. It is checked when it comes back.")
            else:
                self._check(file)

    def stop(self) -> None:
        """End the process that is at work, if there is one."""
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.wait()
        self.running = None

    def _check(self, file: Path) -> None:
        try:
            found = saved.fingerprints(saved.read(file))
        except saved.BrokenNotebook as problem:
            self.say(str(problem))
            return
        before = self._judged.get(file, {})
        changed = [item_id for item_id, text in found.items() if before.get(item_id) != text]
        self._judged[file] = found
        if not changed:
            self.say(f"{file.name} was saved; no answer in it has changed.")
            return
        self.stop()  # what it is looking at is not the answer any more
        self.say(f"{time.strftime('%H:%M:%S')} {file.name}: {', '.join(changed)}")
        self.running = self.begin(file, changed)


def watch(find: Callable[[], list[Path]], *, at_once: bool) -> None:
    """Look again and again, until Ctrl-C; `at_once` checks before the first save, too."""
    watcher = Watch()
    ended: list[int] = []
    # An exception could come between a process and the note that it runs, and leave it behind.
    before = signal.signal(signal.SIGINT, lambda number, _: ended.append(number))
    try:
        if not at_once:
            watcher.get_to_know(find())
        while not ended:
            watcher.look(find())
            time.sleep(PAUSE)
    finally:
        watcher.stop()
        signal.signal(signal.SIGINT, before)
    watcher.say("\nNo longer watching.")


def stamp_of(file: Path) -> Stamp | None:
    """Tell one saved state of a file from another; None where there is no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
