"""A check is stopped in time, hears only itself, and gives the session back as it found it."""

import contextlib
import inspect
import io
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from moe_teach.course import materials, registry
from moe_teach.judging import guard
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.guard import TookTooLong, fresh_session, looked_at, within


@contextlib.contextmanager
def alarm_of_the_notebook(seconds):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ring_at(step):
    """Run `within` and ring the alarm at one of its opcodes; give how many it passed."""
    plain, passed = inspect.unwrap(within), 0  # test runs check the types of arguments around it

    def trace(frame, event, _):
        nonlocal passed
        if frame.f_code is not plain.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            passed += 1
            if passed == step:
                signal.raise_signal(signal.SIGALRM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(TookTooLong):
            plain(5, int)
    finally:
        sys.settrace(before)
    return passed


def test_an_alarm_at_any_step_leaves_no_alarm_behind():
    handler = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        steps = ring_at(None)
        assert steps > 10
        for step in range(1, steps + 1):
            ring_at(step)
            assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), f"armed at step {step}"
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN, f"handler at step {step}"
    finally:
        signal.signal(signal.SIGALRM, handler)


def test_an_alarm_of_the_notebook_still_rings_after_a_check():
    with alarm_of_the_notebook(0.15) as rung:
        within(5, int)
        assert not rung
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= 0.15
        deadline = time.monotonic() + 5
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rung


def test_an_alarm_that_fell_due_during_a_check_rings_after_it():
    with alarm_of_the_notebook(0.02) as rung:
        within(5, lambda: time.sleep(0.05))
        deadline = time.monotonic() + 5
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rung


def test_limits_nest_and_the_outer_one_goes_on():
    with pytest.raises(TookTooLong):
        within(0.1, lambda: (within(5, int), time.sleep(5)))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_outside_the_main_thread_work_runs_to_its_end():
    done = []
    worker = threading.Thread(target=lambda: done.append(within(0.01, lambda: time.sleep(0.05))))
    worker.start()
    worker.join()
    assert done == [None]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, TookTooLong])
def test_an_object_that_objects_is_answered_for(error):
    def look():
        raise error

    assert looked_at(look, "otherwise") == "otherwise"


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise AssertionError("an operation of the check was seen from outside")


@contextlib.contextmanager
def set_and_back(setter, now, before):
    setter(now)
    try:
        yield
    finally:
        setter(before)


@contextlib.contextmanager
def filters(action):
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        yield


STATES = {
    "gradients off": torch.no_grad,
    "inference mode": torch.inference_mode,
    "float64": lambda: set_and_back(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: set_and_back(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default device": lambda: set_and_back(torch.set_default_device, "meta", None),
    "inside a device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "determinism": lambda: set_and_back(torch.use_deterministic_algorithms, True, False),
    "precision": lambda: set_and_back(torch.set_float32_matmul_precision, "medium", "highest"),
    "threads": lambda: set_and_back(torch.set_num_threads, 2, 1),
    "seeds": lambda: set_and_back(torch.manual_seed, 0, 0),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "forward mode": forward_ad.dual_level,
    "operations seen": Watching,
    "numpy raises": lambda: np.errstate(all="raise"),
    "warnings as errors": lambda: filters("error"),
    "stdout redirected": lambda: contextlib.redirect_stdout(io.StringIO()),
    "no stdout": lambda: contextlib.redirect_stdout(None),
    "an alarm": lambda: alarm_of_the_notebook(60),
}


def session():
    """All of the session's state that a check could leave behind."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "modes": torch.overrides._get_current_function_mode_stack(),
        "watchers": torch.utils._python_dispatch._get_current_dispatch_mode_stack(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "strict": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "seed": torch.default_generator.get_state().tolist() if safe() else None,
        "anomalies": torch.is_anomaly_enabled(),
        "level": forward_ad._current_level,
        "numpy": (np.geterr(), np.random.get_state()[1].tolist()),
        "filters": list(warnings.filters),
        "streams": (sys.stdout, sys.stderr),
        "handler": signal.getsignal(signal.SIGALRM),
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    }


def safe():
    return not torch.utils._python_dispatch._get_current_dispatch_mode_stack()


EXERCISES = ("2.1", "2.6", "3.2", "3.4", "4.3", "6.1", "7.3", "7.5")


def upside_down(x, w_gate, w_up, w_down):
    """A wrong answer to 4.1 that disturbs whatever it can reach."""
    torch.set_default_dtype(torch.float16)
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    warnings.simplefilter("always")
    print("Look at me")
    return -x


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("state", STATES)
def test_what_other_cells_did_changes_no_verdict_and_is_left_as_it_was(state):
    answers = {i: materials.reference(registry.find(i)) for i in EXERCISES}
    with STATES[state]():
        before = session()
        for item_id, answer in answers.items():
            outcome = run_exercise(registry.find(item_id), answer, seeds=(0,))
            assert outcome.state == "passed", outcome
        refused = run_exercise(registry.find("4.1"), upside_down, seeds=(0,))
        assert (refused.state, refused.printed[:7]) == ("wrong", "Look at")
        after = session()
    assert {name: after[name] for name in before if after[name] != before[name]} == {}


def test_a_check_in_another_thread_says_the_same():
    answer, found = materials.reference(registry.find("4.3")), []
    worker = threading.Thread(
        target=lambda: found.append(run_exercise(registry.find("4.3"), answer).state)
    )
    worker.start()
    worker.join()
    assert found == ["passed"]


def test_two_checks_at_a_time_give_the_streams_back_and_hear_only_themselves(capsys):
    entered, leave, heard = threading.Event(), threading.Event(), {}

    def first():
        with fresh_session() as printed:
            print("first")
            entered.set()
            leave.wait(10)
            heard["first"] = printed.text()

    def second():
        with fresh_session() as printed:
            print("second")
            heard["second"] = printed.text()
            leave.set()
            time.sleep(0.02)

    streams, dtype = (sys.stdout, sys.stderr), torch.get_default_dtype()
    workers = [threading.Thread(target=first), threading.Thread(target=second)]
    workers[0].start()
    entered.wait(10)
    print("the notebook goes on")
    workers[1].start()
    for worker in workers:
        worker.join()
    assert heard == {"first": "first\n", "second": "second\n"}
    assert (sys.stdout, sys.stderr) == streams
    assert torch.get_default_dtype() == dtype
    assert capsys.readouterr().out == "the notebook goes on\n"
    assert guard._SHARED == []


def test_pythons_random_numbers_go_on_where_they_were():
    # Alone: the shape checks of a test run draw numbers of their own around a whole check.
    state = random.getstate()
    with fresh_session():
        random.random()
    assert random.getstate() == state


def test_random_numbers_of_a_check_are_not_those_of_its_inputs():
    with fresh_session():
        drawn = torch.rand(4)
    for seed in range(20):
        assert not torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(seed)))
