"""The fork server: a clean process that has torch and the wire, and forks a worker when asked.

It imports nothing of the course's answers or chapters and holds nothing of what is graded. It ends,
and its workers with it, when the grader hangs up.

    python -P -m moe_teach.course.grading.worker.server DESCRIPTOR [many]
"""

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from moe_teach.course.grading.worker import confine, landlock
from moe_teach.course.grading.worker.session import Session
from moe_teach.course.grading.worker.wire import Channel, HungUp

_LINE = 65_536
# What answers make torch load: the first optimiser, the first gradient, the first `assert_close`.
_HEAVY = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "torch.distributed.tensor")
# What cells of lessons import of the library; of chapters, whose checks are there, nothing.
_OURS = ("moe_teach.types", "moe_teach.nn", "moe_teach.analysis.kernel_watch", "moe_teach.data")


def main(descriptor: int, *, for_many: bool) -> None:
    """Fork workers, tell how they end, and leave none behind."""
    control = socket.socket(fileno=descriptor)
    confine.adopt_orphans()
    running: dict[int, int] = {}
    landlock.prepare()
    if for_many:
        _load_for_many()
    gc.freeze()
    control.send(b'{"ready": true}\n')
    ends = _woken_by_ends()
    while True:
        ready, _, _ = select.select([control, ends], [], [], 0.05)
        if ends in ready:
            ends.recv(_LINE)
        if control in ready:
            wishes = _wishes(control)
            if not wishes:
                break
            for wish in wishes:
                _heed(control, wish, running)
        _tell_ends(control, running)
    for pid in running:
        confine.kill(pid)
    confine.sweep(set())


def _woken_by_ends() -> socket.socket:
    """Give what can be read from as soon as a worker ends: the grader waits to be told."""
    heard, said = socket.socketpair()
    for end in (heard, said):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(said.detach(), warn_on_full_buffer=False)
    return heard


def _load_for_many() -> None:
    """Import once what each of many workers would import for itself."""
    import torch

    from moe_teach.ops.triton_mode import choose_mode

    if torch.backends.cuda.is_built():
        return  # to look for a GPU here would take it from the forks
    choose_mode()  # torch's compiler imports triton, which cannot be interpreted afterwards
    for name in (*_HEAVY, *_OURS):
        with contextlib.suppress(ImportError):  # then a worker that needs it says so
            importlib.import_module(name)


def _wishes(control: socket.socket) -> list[dict[str, Any]]:
    """Read what is wished for, with the socket that came along; nothing means the end."""
    lines, carried, _, _ = control.recvmsg(_LINE, socket.CMSG_SPACE(4))
    wishes: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    for _level, _kind, content in carried:
        wishes[-1]["socket"] = array.array("i", content[:4])[0]
    return wishes


def _heed(control: socket.socket, wish: dict[str, Any], running: dict[int, int]) -> None:
    if wish["do"] == "kill":
        confine.kill(wish["pid"])
        return
    pid = os.fork()
    if pid:
        os.close(wish["socket"])
        running[pid] = pid
        return
    signal.set_wakeup_fd(-1)  # its number may come to be a file of the answer's
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    outer = os.getpid()

    def tell(inner: int) -> None:
        _say(control, {"forked": outer, "inner": inner})
        control.close()

    try:
        confine.enclosed(wish, lambda: _work(wish["socket"]), tell)
    finally:
        os._exit(0)


def _work(descriptor: int) -> None:
    """Be a worker."""
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.suppress(HungUp):
        Session(channel).run()


def _tell_ends(control: socket.socket, running: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in running:
            del running[pid]
            confine.sweep(set(running))
            _say(control, {"ended": pid, "status": status})


def _say(control: socket.socket, fact: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the grader is gone, and the next turn finds that out
        control.send(json.dumps(fact).encode() + b"\n")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader decides when to end
    main(int(sys.argv[1]), for_many="many" in sys.argv[2:])
