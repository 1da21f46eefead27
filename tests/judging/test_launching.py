"""A kernel handed to a check is launched under guard, and whatever it does becomes a sentence."""

import pytest

pytest.importorskip("triton")

import torch

from moe_teach.analysis.kernel_watch import vast
from moe_teach.judging import launching
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise, WrongAnswer
from moe_teach.judging.launching import Runs, call, kernel_from, launch, source_of
from moe_teach.judging.reasons import Why

COPY = """\
@triton.jit
def copy(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < n), mask=at < n)
"""

FAR_ROW = """\
@triton.jit
def far(x_ptr, out_ptr, row, stride):
    tl.store(out_ptr, tl.load(x_ptr + row * stride))
"""


def variant(old="", new=""):
    assert old in COPY
    return kernel_from(COPY.replace(old, new) if old else COPY, "copy")


def run(kernel, n=5, **more):
    arguments = {"x_ptr": torch.arange(n), "out_ptr": torch.full((n,), -7), "n": n, "BLOCK": 4}
    return launch(kernel, (-(-n // 4),), arguments, outputs=("out",), **more)


def exercise(limit=10):
    card = Exercise(id="9.1", name="copy", title="", hints=(), explanation="", limit=limit)

    @card.stage("memory")
    def _memory(answer, seed):
        run(answer)

    return card


def test_a_right_kernel_gives_its_outputs_and_what_it_was_given():
    done = run(variant())

    assert done.outputs["out"].tolist() == [0, 1, 2, 3, 4]
    assert done.given["grid"] == (2,)
    assert done.given["x_ptr"].tolist() == [0, 1, 2, 3, 4]
    assert "out_ptr" not in done.given
    assert done.seen.owner("out").tolist() == [0, 0, 0, 0, 1]


def test_a_store_past_the_end_is_told_with_its_likely_cause():
    causes = {("out", "store"): Why("Think of the last block.", "Mask it.")}
    with pytest.raises(WrongAnswer, match="stores to element 5 of out") as caught:
        run(variant("mask=at < n)\n", ")\n"), causes=causes)
    assert (caught.value.cause, caught.value.cure) == ("Think of the last block.", "Mask it.")
    assert caught.value.message.endswith("mask=at < n))`.")


def test_without_a_cause_of_the_check_the_watcher_tells_its_own_three_steps():
    with pytest.raises(WrongAnswer, match=r"are past the end\.") as caught:
        run(variant("mask=at < n)\n", ")\n"))
    assert caught.value.cause.startswith("A mask is missing")
    assert caught.value.cure == "Pass mask=offsets < n."


def test_a_check_that_guesses_does_not_talk_over_what_the_watcher_saw():
    x, out = vast((4, 2), (2**30, 1), dtype=torch.int8), torch.zeros(1, dtype=torch.int8)
    arguments = {"x_ptr": x, "out_ptr": out, "row": 2, "stride": 2**30}
    causes = {("x", "load"): Why("Is the mask right?")}

    with pytest.raises(WrongAnswer) as caught:
        launch(kernel_from(FAR_ROW, "far"), (1,), arguments, outputs=("out",), causes=causes)

    assert "wrapped around" in caught.value.cause and "int64" in caught.value.cure


def test_a_store_to_an_input_is_refused():
    with pytest.raises(WrongAnswer, match="writes to `x`, which is an input"):
        run(variant("tl.store(out_ptr", "tl.store(x_ptr"))


def test_what_nobody_stored_is_listed():
    done = run(variant("mask=at < n)\n", "mask=at < 1)\n"))
    with pytest.raises(
        WrongAnswer, match=r"Nobody stores elements 1, 2, 3 and 1 more of `out`.$"
    ) as caught:
        done.demand_written("out", "Why?", "So.")
    assert (caught.value.cause, caught.value.cure) == ("Why?", "So.")

    needed = torch.tensor([True, False, False, False, False])
    done.demand_written("out", "Why?", needed=needed)


def test_two_programs_at_one_element_are_a_race():
    done = run(variant("tl.program_id(0) * BLOCK + ", ""))
    with pytest.raises(WrongAnswer, match="Program") as caught:
        done.demand_no_races("Because of this.")
    assert caught.value.cause == "Because of this."
    assert caught.value.cure == "Give every element one owner, or use an atomic."
    with pytest.raises(WrongAnswer) as caught:
        done.demand_no_races("Because of this.", "Do that.")
    assert caught.value.cure == "Do that."


def test_an_atomic_operation_is_noticed():
    done = run(variant("tl.store(out_ptr + at, ", "tl.atomic_add(out_ptr + at, "))
    with pytest.raises(WrongAnswer, match=r"changes `out` with an atomic operation\.$") as caught:
        done.demand_no_atomics("Why?")
    assert caught.value.cause == "Why?"
    run(variant()).demand_no_atomics("Why?")


def test_a_result_that_leans_on_switched_off_lanes_is_refused():
    summing = (
        "tl.store(out_ptr + at, {} + tl.sum(tl.load(x_ptr + at, mask=at < n{}), 0), mask=at < n)"
    )
    start = "tl.load(out_ptr + at, mask=at < n, other=0)"
    leaning = variant(COPY[COPY.index("tl.store") :], summing.format(start, "") + "\n")
    filling = variant(COPY[COPY.index("tl.store") :], summing.format(start, ", other=0") + "\n")

    with pytest.raises(WrongAnswer, match=r"What `out` holds depends on") as caught:
        run(leaning)
    assert "A load from x switches lanes off" in caught.value.cause
    assert run(filling).outputs["out"].tolist() == [-1, -1, -1, -1, -3]
    run(leaning, n=4)  # where every lane is on, none is open


def test_an_output_with_gaps_is_launched_twice_where_a_load_is_open():
    out = torch.full((5, 3), torch.nan)[:, :2]
    x = torch.arange(10.0).view(5, 2)
    rows = """\
@triton.jit
def copy_rows(x_ptr, out_ptr, n, stride, BLOCK: tl.constexpr):
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None]
    column = tl.arange(0, 2)[None, :]
    values = tl.load(x_ptr + row * 2 + column, mask=row < n)
    tl.store(out_ptr + row * stride + column, values, mask=row < n)
"""
    arguments = {"x_ptr": x, "out_ptr": out, "n": 5, "stride": 3, "BLOCK": 4}

    done = launch(kernel_from(rows, "copy_rows"), (2,), arguments, outputs=("out",))

    assert torch.equal(done.outputs["out"], x) and len(done.seen.open_loads) == 1


def test_products_that_a_gpu_would_cut_are_refused():
    source = """\
@triton.jit
def square(x_ptr, out_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    x = tl.load(x_ptr + at)
    tl.store(out_ptr + at, tl.dot(x, x, input_precision="ieee"))
"""
    arguments = {"x_ptr": torch.ones(16, 16), "out_ptr": torch.zeros(16, 16), "BLOCK": 16}

    def squared(text):
        return launch(kernel_from(text, "square"), (1,), arguments, outputs=("out",))

    squared(source).demand_full_precision()
    with pytest.raises(WrongAnswer, match=r"cut them to tf32 first. In square: `tl\.store"):
        squared(source.replace(', input_precision="ieee"', "")).demand_full_precision()


def test_an_offset_that_wraps_around_is_refused_wherever_it_lands():
    def launched(row, text=FAR_ROW):
        x = vast((2**32 + 1,), dtype=torch.int8)
        x[-1] = 5
        arguments = {"x_ptr": x, "out_ptr": torch.zeros(1, dtype=torch.int8)}
        arguments |= {"row": row, "stride": 2**30}
        return launch(kernel_from(text, "far"), (1,), arguments, outputs=("out",))

    with pytest.raises(WrongAnswer, match=r"element -2147483648 of x, which begins") as caught:
        launched(2)
    assert "wrapped around. In far: `tl.store" in caught.value.cause
    inside = launched(4)  # at its first element
    with pytest.raises(WrongAnswer, match=r"An offset into x wrapped around") as caught:
        inside.demand_wide_offsets()
    assert "row.to(tl.int64)" in caught.value.cure
    wide = launched(4, FAR_ROW.replace("row *", "row.to(tl.int64) *"))
    wide.demand_wide_offsets()
    assert wide.outputs["out"].item() == 5


def test_a_plain_function_is_told_from_a_kernel():
    with pytest.raises(WrongAnswer, match=r"This is not a kernel\.$"):
        run(lambda x_ptr, out_ptr, n, BLOCK: None)


def test_a_compiled_kernel_is_refused_in_a_sentence():
    class JITFunction:
        fn, arg_names = None, ()

    with pytest.raises(WrongAnswer, match="was compiled for a GPU"):
        run(JITFunction())


def test_other_parameters_than_the_stubs_are_refused():
    with pytest.raises(WrongAnswer, match="its parameters are others"):
        run(variant("copy(x_ptr, out_ptr", "copy(out_ptr, x_ptr"))


def test_a_stub_counts_as_not_attempted():
    body = COPY[COPY.index("    at = ") :]
    outcome = run_exercise(exercise(), variant(body, "    raise NotImplementedError\n"))

    assert outcome.state == "not attempted"


def test_an_error_of_triton_shows_the_learners_line_and_the_inputs():
    outcome = run_exercise(exercise(), variant("tl.arange(0, BLOCK)", "tl.arange(0, 3)"))

    assert outcome.state == "raised"
    assert "power of 2" in outcome.message
    assert "tl.arange(0, 3)" in outcome.trace
    assert ("n", "5") in outcome.example


def test_a_kernel_that_never_ends_is_stopped():
    looping = variant("    at = ", "    while True:\n        pass\n    at = ")
    outcome = run_exercise(exercise(limit=0.2), looping)

    assert outcome.state == "raised"
    assert "did not come back within 0.2 seconds" in outcome.message


def test_after_a_stopped_kernel_the_next_one_is_judged_as_ever():
    run_exercise(
        exercise(limit=0.2), variant("    at = ", "    while True:\n        pass\n    at = ")
    )

    assert run_exercise(exercise(), variant()).state == "passed"


def test_stages_share_launches_but_a_new_check_launches_anew():
    runs = Runs(lambda kernel, seed: [run(kernel, n=seed + 1)])
    kernel = variant()
    first = runs.fresh(kernel, 0)

    assert runs.of(kernel, 0) is first
    assert runs.of(kernel, 1) is not first
    assert runs.fresh(kernel, 0) is not first
    assert runs.of(variant(), 0) is not first


def test_the_source_of_a_kernel_can_be_read_back():
    assert source_of(variant()) == COPY


def test_the_course_itself_needs_no_triton():
    import subprocess
    import sys

    script = "import sys; from moe_teach.course import registry; list(registry.every_item()); "
    script += "print('triton' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "False"


def test_a_mask_that_only_the_interpreter_refuses_is_explained():
    said = launching._in_words(ValueError("mask has unsupported dtype int32"), {}, {})
    assert "dtype that Triton's interpreter refuses" in said.message
    assert "tl.where" in said.cure


def test_a_mask_that_a_gpu_takes_passes_or_is_explained():
    mixed = variant("mask=at < n)\n", "mask=(at < n) & (n > 0))\n")
    try:  # some releases of the interpreter take it
        assert not run(mixed).outputs["out"].isnan().any()
    except WrongAnswer as refused:
        assert "tl.where" in refused.cure


def test_two_lanes_of_one_program_have_a_cause_of_their_own():
    done = run(variant("tl.store(out_ptr + at, ", "tl.store(out_ptr + at // 4, "))
    with pytest.raises(WrongAnswer) as caught:
        done.demand_no_races("Two programs.", within=Why("One program.", "Spread out."))
    assert (caught.value.cause, caught.value.cure) == ("One program.", "Spread out.")


def test_building_on_an_output_is_told_from_reading_back_what_was_stored():
    early = variant(
        "tl.store(out_ptr + at, tl.load(x_ptr", "tl.store(out_ptr + at, tl.load(out_ptr"
    )
    with pytest.raises(
        WrongAnswer, match="loads elements 0, 1, 2 and 1 more of `out` before"
    ) as caught:
        run(early).demand_not_read_early("out")
    assert "add up" in caught.value.cure.lower()

    back = "    tl.store(out_ptr + at, tl.load(out_ptr + at, mask=at < n), mask=at < n)\n"
    run(kernel_from(COPY + back, "copy")).demand_not_read_early("out")


def test_an_output_that_nobody_touches_is_named_as_a_task():
    done = run(variant(COPY[COPY.index("    tl.store") :], "    pass\n"), n=1)
    with pytest.raises(WrongAnswer, match=r"anything to `out`\.$") as caught:
        done.demand_written("out", "Why?")
    assert caught.value.cause == "Is there a `tl.store` for it? Why?"


def test_a_function_that_launches_kernels_itself_is_watched_as_a_launch_is():
    kernel, short = variant(), variant("mask=at < n)", "mask=at < n + 1)")
    given = {"x": torch.arange(5), "out": torch.full((5,), -7)}

    done = call(
        lambda x, out: kernel[(2,)](x, out, 5, BLOCK=4), given, outputs=("out",), case="five"
    )

    assert done.outputs["out"].tolist() == [0, 1, 2, 3, 4]
    assert done.given["case"] == "five" and "out" not in done.given
    with pytest.raises(WrongAnswer, match="ends at element 4"):
        call(lambda x, out: short[(2,)](x, out, 5, BLOCK=4), given, outputs=("out",))


def test_a_function_may_not_let_kernels_store_to_its_inputs():
    kernel = variant()
    given = {"x": torch.arange(5), "out": torch.full((5,), -7)}

    with pytest.raises(WrongAnswer, match="which is an input"):
        call(lambda x, out: kernel[(2,)](out, x, 5, BLOCK=4), given, outputs=("out",))
