"""An error of torch or Triton comes with what it most likely comes from, each produced for real."""

import re

import pytest
import torch

from moe_teach.judging import raised
from moe_teach.judging.raised import likely_cause

floats, ints, mask = torch.ones(2, 3), torch.ones(2, dtype=torch.long), torch.ones(2) > 0
leaf = torch.ones(2, requires_grad=True)


def backward_twice():
    loss = (leaf**2).sum()
    loss.backward()
    loss.backward()


class Forgetful(torch.nn.Module):
    def __init__(self):
        self.up = torch.nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda: floats @ floats, "transpose"),
        (lambda: torch.nn.Linear(3, 2)(torch.ones(2, 4)), "transpose"),
        (lambda: floats @ torch.ones(2), "transpose"),
        (lambda: torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 3, 4)), "transpose"),
        (lambda: torch.einsum("td,df->tf", floats, floats), "letter of the einsum"),
        (lambda: floats + torch.ones(2), "Broadcasting"),
        (lambda: floats @ torch.ones(3, 2, dtype=torch.double), "Two dtypes"),
        (lambda: torch.zeros(2).scatter(0, ints, ints), "Two dtypes"),
        (lambda: torch.zeros(2).index_add(0, ints, torch.ones(2).double()), "Two dtypes"),
        (lambda: torch.zeros(2).__setitem__(ints, torch.ones(2).double()), "Two dtypes"),
        (lambda: leaf.add_(1), "changed in place"),
        (lambda: leaf.__setitem__(0, 1), "changed in place"),
        (lambda: floats[torch.tensor([5])], "smaller than the size"),
        (lambda: floats.gather(1, torch.tensor([[5], [0]])), "smaller than the size"),
        (lambda: torch.ones(2).sum(dim=1), "fewer axes"),
        (lambda: torch.ones(2, device="meta") + torch.ones(2), "different devices"),
        (lambda: ints.clone().requires_grad_(), "no gradients"),
        (lambda: ints.mean(), "defined for floats"),
        (lambda: ints.softmax(0), "defined for floats"),
        (lambda: floats[torch.ones(1)], "must be integers"),
        (lambda: floats.scatter(1, torch.ones(2, 1), floats), "must be integers"),
        (lambda: torch.nn.functional.one_hot(ints.int()), "must be integers"),
        (lambda: floats[0, 0, 0], "indices than axes"),
        (lambda: floats[0][ints.to(torch.uint8)[None]], "counts as a mask"),
        (lambda: floats[torch.ones(3) > 0], "x[:, mask]"),
        (lambda: mask and mask, "single truth value"),
        (lambda: floats.argsort(True), "Name them"),
        (lambda: floats.argsort(-1, True, True), "Name them"),
        (lambda: floats.sort(-1, True, True), "Name them"),
        (lambda: floats.topk(4), "more entries"),
        (lambda: floats.T.view(6), "reshape"),
        (lambda: floats.view(4), "reshape"),
        (lambda: torch.ones(1).sum().backward(), "leads back"),
        (backward_twice, "backward"),
        (lambda: floats.topk(2).softmax(0), "return two things"),
        (lambda: floats.max(dim=0) + 1, "return two things"),
        (Forgetful, "super().__init__()"),
    ],
)
def test_an_error_of_torch_names_its_likely_cause(mistake, words):
    with pytest.raises(Exception) as caught:
        mistake()
    assert words in likely_cause(caught.value)


KERNEL = """\
@triton.jit
def kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lane = tl.arange(0, 4)
    tile = tl.zeros((16, 32), tl.float32)
    {line}
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tl.store(out_ptr + tl.arange(0, 3), 1)", "power of two"),
        ("tl.store(out_ptr + tl.arange(0, n), 1)", "tl.constexpr"),
        ("tl.store(out_ptr, tl.sum(tl.zeros((n,), tl.float32)))", "tl.constexpr"),
        ("tl.store(out_ptr, BLOCK.to(tl.int64))", "as a `tl.constexpr` is"),
        ("for e in range(n): tl.store(out_ptr, e.to(tl.int64))", "the counter of a loop"),
        ("tl.store(out_ptr, tl.sum(tl.dot(tile, tile)))", "(M, K) by (K, N)"),
        ("tl.dot(tile, tl.trans(tile).to(tl.float16))", "one dtype"),
        ("tl.store(out_ptr + lane, lane + tl.arange(0, 8))", "broadcast like tensors"),
        ("tl.store(out_ptr + lane, lane, mask=tl.arange(0, 8) < n)", "broadcast like tensors"),
        ("tl.store(out_ptr, lane)", "offsets"),
        ("tl.store(out_ptr + lane, tl.load(x_ptr + lane, other=0))", "needs a `mask`"),
        ("tl.store(out_ptr, lane[0])", "lane by lane"),
        ("tile[0] = 1", "lane by lane"),
    ],
)
def test_an_error_of_triton_names_its_likely_cause(line, words):
    pytest.importorskip("triton")
    from moe_teach.judging.launching import kernel_from, launch

    given = {"x_ptr": torch.arange(4), "out_ptr": torch.zeros(4).long(), "n": 4, "BLOCK": 4}
    kernel = kernel_from(KERNEL.format(line=line), "kernel")
    with pytest.raises(Exception) as caught:
        launch(kernel, (1,), given, outputs=("out",))
    assert words in likely_cause(caught.value)


def test_the_cure_for_a_plain_number_widens_the_counter_of_a_loop():
    pytest.importorskip("triton")
    from moe_teach.judging.launching import kernel_from, launch

    line = "for e in range(n): tl.store(out_ptr + e, tl.cast(e, tl.int64) << tl.cast(32, tl.int64))"
    given = {"x_ptr": torch.arange(4), "out_ptr": torch.zeros(4).long(), "n": 4, "BLOCK": 4}
    launch(kernel_from(KERNEL.format(line=line), "kernel"), (1,), given, outputs=("out",))

    assert given["out_ptr"].tolist() == [e << 32 for e in range(4)]


def test_no_cause_is_claimed_for_an_error_that_nobody_knows():
    assert likely_cause(ValueError("The capacity must be positive.")) == ""


def test_what_only_kernels_do_wrong_is_not_claimed_elsewhere():
    with pytest.raises(AttributeError) as caught:
        floats.shape[0].to(torch.long)
    assert likely_cause(caught.value) == ""


def test_the_causes_are_whole_sentences_with_patterns_that_compile():
    for pattern, cause in raised._OF_TORCH + raised._OF_TRITON:
        assert re.compile(pattern)
        assert cause[-1] in ".?" or cause.endswith("ids = ...")


def test_the_cause_stands_behind_the_error_in_feedback(double, learner):
    from moe_teach.judging.engine import run_exercise

    outcome = run_exercise(double, learner("def double(x):\n    return x @ x.new_ones(7)"))
    assert outcome.state == "raised"
    assert "size mismatch" in outcome.message
    assert "transpose" not in outcome.message
    assert outcome.cause.startswith("In a matrix product") and "transpose" not in outcome.cause
    assert outcome.cure == "Is a transpose (`.mT`) missing, or one too many?"


def test_an_error_in_a_class_is_traced_to_its_own_lines_alone(learner):
    from moe_teach.judging.engine import run_exercise
    from moe_teach.judging.exercise import Exercise

    exercise = Exercise(id="9.8", name="Layer", title="Layer", hints=(), explanation="")

    @exercise.stage("values")
    def _values(answer, seed):
        answer().forward(torch.ones(2))

    layer = learner("class Layer:\n    def forward(self, x):\n        return x.view(3)")
    outcome = run_exercise(exercise, layer)
    assert outcome.trace == "line 3 in forward: return x.view(3)"
