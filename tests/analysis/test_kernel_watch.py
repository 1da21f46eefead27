"""The watcher of interpreted kernels: it stops a stray access and remembers the rest.

Every kernel here is small and wrong in one way that its switches choose.
"""

import dataclasses
import inspect
import re
from threading import Thread

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from moe_teach.analysis.kernel_watch import KernelFault, NarrowDot, Seen, vast, watch
from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.ops.triton_host import INTERPRETED, tl, triton

pytestmark = pytest.mark.skipif(not INTERPRETED.value, reason="only the interpreter can be watched")
MARGIN = 16


def guarded(*shape: int, dtype: torch.dtype = torch.float32, fill: float = 7) -> torch.Tensor:
    """Return a tensor in the middle of a larger one, so that a miss hits nothing else."""
    size = torch.Size(shape).numel()
    memory = torch.full((size + 2 * MARGIN,), fill, dtype=dtype)
    return memory[MARGIN : MARGIN + size].view(shape)


def margins(tensor: torch.Tensor) -> torch.Tensor:
    """Return the memory before and behind a tensor made by `guarded`."""
    memory = tensor.as_strided((tensor.numel() + 2 * MARGIN,), (1,), 0)
    return torch.cat([memory[:MARGIN], memory[-MARGIN:]])


@triton.jit
def copy(x, y, n_loads, n_stores, shift, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK) + shift
    values = tl.load(x + offsets, mask=offsets < n_loads, other=0)
    tl.store(y + offsets, values, mask=offsets < n_stores)


@triton.jit
def copy_unmasked(x, y, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(
        y + offsets,
        tl.load(x + offsets),
    )


@triton.jit
def copy_rows(x, y, stride_x, stride_y, n_rows, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mask = (rows < n_rows) & (columns < width)
    values = tl.load(x + rows * stride_x + columns, mask=mask, other=0)
    tl.store(y + rows * stride_y + columns, values, mask=mask)


@triton.jit
def fetch(offsets, expert):
    return tl.load(offsets + expert)


def fault_of(kernel: object, grid: tuple[int, ...], *args: object, **named: object) -> KernelFault:
    """Launch a wrong kernel and return its fault; the watched tensors are called a, b, c ..."""
    tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
    with watch(**dict(zip("abcd", tensors, strict=False))), pytest.raises(KernelFault) as caught:
        kernel[grid](*args, **named)
    return caught.value


# ---------------------------------------------------------------- a stray access is refused


def test_a_store_past_the_end_is_refused_before_memory_is_touched() -> None:
    x, y = guarded(13, fill=1), guarded(13)

    fault = fault_of(copy, (2,), x, y, 13, 14, 0, BLOCK=8)

    assert str(fault).startswith(
        "Program 1 stores to element 13 of b, which ends at element 12 (shape (13,)): 1 of its 6 "
        "active lanes is past the end. In copy: `tl.store(y + offsets, values, mask=offsets < "
        "n_stores)`. Its mask lets them through: the limit of the mask is too high"
    )
    assert (fault.kernel, fault.program, fault.buffer) == ("copy", (1, 0, 0), "b")
    assert (fault.kind, fault.where, fault.cause) == ("store", "past the end", "mask")
    assert fault.elements.tolist() == [13] and fault.masked
    assert margins(y).eq(7).all() and y[8:].eq(7).all() and y[:8].eq(1).all()


def test_a_missing_mask_is_called_by_its_name() -> None:
    fault = fault_of(copy_unmasked, (2,), guarded(13), guarded(13), BLOCK=8)

    assert "Program 1 loads element 13 of a, which ends at element 12" in str(fault)
    assert "3 of its 8 lanes are past the end." in str(fault)
    assert str(fault).endswith(
        "A mask is missing: the last block is seldom full. Pass mask=offsets < n."
    )
    assert (fault.cause, fault.masked) == ("no mask", False)


def test_the_line_of_the_kernel_is_quoted_also_when_it_is_broken() -> None:
    x, y = torch.ones(16), guarded(13)

    fault = fault_of(copy_unmasked, (2,), x, y, BLOCK=8)

    assert fault.line == "tl.store(y + offsets, tl.load(x + offsets))"
    assert f"In copy_unmasked: `{fault.line}`." in str(fault)


def test_a_negative_index_is_called_by_its_name() -> None:
    fault = fault_of(copy, (1,), guarded(13), guarded(13), 13, 13, -2, BLOCK=8)

    assert "element -2 of a, which begins at element 0 (shape (13,)): 2 of its 8 lanes" in str(
        fault
    )
    assert (fault.where, fault.cause) == ("before", "negative index")
    assert fault.elements.tolist() == [-2, -1]
    assert "An index is negative" in str(fault)


def test_a_block_that_starts_far_behind_has_a_wrong_index() -> None:
    fault = fault_of(copy, (1,), guarded(13), guarded(13), 99, 99, 40, BLOCK=8)

    assert fault.cause == "index" and "wrong from the start" in str(fault)


def test_an_offset_of_32_bits_that_wrapped_around_is_recognised() -> None:
    @triton.jit
    def far_row(x, stride):
        tl.load(x + tl.program_id(0) * stride)

    fault = fault_of(far_row, (4,), guarded(13), 2**30)

    assert fault.cause == "overflow" and "tl.int64" in str(fault)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.bfloat16, torch.int64])
def test_elements_of_every_size_are_counted_as_elements(dtype: torch.dtype) -> None:
    x, y = guarded(13, dtype=dtype, fill=1), guarded(13, dtype=dtype, fill=0)

    fault = fault_of(copy, (2,), x, y, 13, 15, 0, BLOCK=8)

    assert fault.elements.tolist() == [13, 14] and fault.buffer == "b"
    assert y.tolist() == [1] * 8 + [0] * 5 and not margins(y).any()


def test_the_neighbours_memory_is_no_excuse() -> None:
    memory = torch.zeros(32)
    x, y = torch.ones(16), memory[:13]

    with (
        watch(x=x, y=y, z=memory[13:]),
        pytest.raises(KernelFault, match="z stands there") as caught,
    ):
        copy[(2,)](x, y, 16, 16, 0, BLOCK=8)

    assert caught.value.buffer == "y" and not memory[13:].any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_a_cast_pointer_still_knows_its_tensor(dtype: torch.dtype) -> None:
    memory = torch.ones(32).to(dtype)
    x, y = memory[:13], torch.zeros(32).to(dtype)

    with watch(x=x, z=memory[13:], y=y), pytest.raises(KernelFault, match="element 13 of x"):
        copy[(2,)](x, y, 16, 16, 0, BLOCK=8)


def test_a_gap_between_the_rows_of_a_view_is_no_element() -> None:
    wide = torch.zeros(3, 16)
    x, y = torch.ones(3, 10), wide[:, :10]

    fault = fault_of(copy_rows, (1, 1), x, y, 10, 10, 3, 10, ROWS=4, COLUMNS=16)

    assert (fault.where, fault.cause) == ("between", "stride")
    assert "stores to row 0, column 10 of b (shape (3, 10), strides (16, 1)): 10 of its 30" in str(
        fault
    )
    assert "by tensor.stride(0), not by the width" in str(fault) and not wide.any()


def test_past_the_end_of_a_view_is_told_as_row_and_column() -> None:
    y = torch.zeros(8, 16)[:3, :10]

    fault = fault_of(copy_rows, (1, 1), torch.ones(4, 10), y, 10, 16, 4, 10, ROWS=4, COLUMNS=16)

    assert "row 3, column 0 of b (shape (3, 10), strides (16, 1)): 10 of its 40" in str(fault)


def test_a_tensor_without_elements_must_not_be_touched() -> None:
    fault = fault_of(copy, (1,), torch.empty(0, 4), guarded(4), 4, 4, 0, BLOCK=4)

    assert fault.cause == "empty" and "no elements at all (shape (0, 4))" in str(fault)


def test_a_tensor_that_nobody_named_is_asked_for_by_the_kernels_name_for_it() -> None:
    x, y = torch.ones(8), torch.zeros(8)

    with watch(x=x), pytest.raises(KernelFault, match=r"watch\(\.\.\., y=y\)") as caught:
        copy[(1,)](x, y, 8, 8, 0, BLOCK=8)

    assert (caught.value.buffer, caught.value.cause) == ("y", "unwatched") and not y.any()


def test_a_number_that_is_taken_for_a_pointer_is_refused() -> None:
    @triton.jit
    def anywhere(addresses):
        tl.load(tl.load(addresses).to(tl.pointer_type(tl.float32)))

    fault = fault_of(anywhere, (1,), torch.tensor([4096]))

    assert "the address 0x1000" in str(fault) and fault.buffer is None


@triton.jit
def reread(x, out, SHIFT: tl.constexpr, n: tl.constexpr):
    halves = x.to(tl.pointer_type(tl.int16), bitcast=True) + SHIFT + tl.arange(0, n)
    tl.store(out + tl.arange(0, n), tl.load(halves).to(tl.int32))
    whole = halves.to(tl.pointer_type(tl.int64), bitcast=True)
    first = tl.arange(0, n) == 0
    tl.store(out + tl.arange(0, n), tl.load(whole, mask=first).to(tl.int32), mask=first)


def test_lanes_of_another_width_touch_the_elements_that_they_cover() -> None:
    x, out = torch.arange(4, dtype=torch.int32), torch.zeros(4, dtype=torch.int32)

    with watch(x=x, out=out) as seen:
        reread[(1,)](x, out, 2, 4)

    narrow, wide = [access for access in seen.accesses if access.kind == "load"]
    assert narrow.elements.tolist() == [1, 1, 2, 2] and narrow.n_bytes == 8
    assert wide.elements.tolist() == [1, 2] and wide.n_bytes == 8


def test_a_pointer_into_the_middle_of_an_element_is_a_pointer_of_the_wrong_type() -> None:
    out = torch.zeros(4, dtype=torch.int32)

    fault = fault_of(reread, (1,), torch.arange(4, dtype=torch.int32), out, 1, 4)

    assert (fault.where, fault.cause) == ("inside an element", "pointer type")
    assert "bytes were counted instead of elements" in str(fault)


def test_a_pointer_from_memory_may_reach_every_watched_tensor() -> None:
    @triton.jit
    def follow(addresses, out):
        tl.store(out, tl.load(tl.load(addresses).to(tl.pointer_type(tl.float32)) + 2))

    x, out = torch.arange(3.0), torch.zeros(1)
    addresses = torch.tensor([x.data_ptr()])

    with watch(x=x, out=out, addresses=addresses) as seen:
        follow[(1,)](addresses, out)

    assert out.item() == 2 and seen.readers("x").tolist() == [0, 0, 1]


def test_a_pointer_chosen_between_two_tensors_may_reach_both() -> None:
    @triton.jit
    def choose(x, y, out):
        lanes = tl.arange(0, 4)
        tl.store(out + lanes, tl.load(tl.where(lanes < 2, x + lanes, y + lanes)))

    x, y, out = torch.zeros(4), torch.ones(4), torch.empty(4)

    with watch(x=x, y=y, out=out) as seen:
        choose[(1,)](x, y, out)

    assert out.tolist() == [0, 0, 1, 1]
    assert seen.readers("x").tolist() == [1, 1, 0, 0] == seen.readers("y").tolist()[::-1]


def test_scalars_and_nested_device_functions_are_watched_too() -> None:
    @triton.jit
    def rows_of(offsets, counts):
        expert = tl.program_id(0)
        tl.store(counts + expert, fetch(offsets, expert + 1) - fetch(offsets, expert))

    offsets, counts = torch.tensor([0, 2, 5]), torch.zeros(3, dtype=torch.int64)

    fault = fault_of(rows_of, (3,), offsets, counts)

    assert fault.elements.tolist() == [3] and fault.cause == "index"
    assert fault.line == "return tl.load(offsets + expert)"
    assert "loads element 3 of a, which ends at element 2 (shape (3,)). In fetch" in str(fault)
    assert counts.tolist() == [2, 3, 0]


def test_the_interpreter_wraps_other_errors_as_ever() -> None:
    @triton.jit
    def unfinished(x):
        raise NotImplementedError

    with watch(x=torch.ones(1)) as seen, pytest.raises(Exception, match="NotImplemented") as caught:
        unfinished[(1,)](torch.ones(1))

    assert isinstance(caught.value.__cause__, NotImplementedError) and seen.programs == [(0, 0, 0)]


def test_a_launch_after_a_fault_is_watched_again() -> None:
    x, y = torch.ones(13), guarded(13)

    with watch(x=x, y=y) as seen:
        with pytest.raises(KernelFault):
            copy[(2,)](x, y, 13, 16, 0, BLOCK=8)
        copy[(2,)](x, y, 13, 13, 0, BLOCK=8)

    assert y.eq(1).all() and len(seen.launches) == 2
    assert seen.launch(1).owner("y").tolist() == [0] * 8 + [1] * 5


@triton.jit
def gather(x, index, rows, n_rows, width, FROM_RIGHT: tl.constexpr, COLUMNS: tl.constexpr):
    lanes = tl.program_id(0) * 4 + tl.arange(0, 4)
    columns = tl.arange(0, COLUMNS)
    token = tl.load(index + lanes, mask=lanes < n_rows, other=0).to(tl.int64)
    place = width * token if FROM_RIGHT else token * width
    mask = (lanes < n_rows)[:, None] & (columns < width)[None, :]
    values = tl.load(x + place[:, None] + columns[None, :], mask=mask)
    tl.store(rows + lanes[:, None] * width + columns[None, :], values, mask=mask)


@pytest.mark.parametrize("from_right", [False, True])
def test_an_index_of_another_tensor_is_traced_back_to_it(from_right: bool) -> None:
    index = torch.tensor([0, 2, 4, 1, 1], dtype=torch.int32)
    x, rows = torch.ones(3, 2), guarded(5, 2)

    fault = fault_of(gather, (2,), x, index, rows, 5, 2, from_right, 2)

    assert (fault.buffer, fault.index_from) == ("a", "b") and fault.elements.tolist() == [8, 9]
    assert "The index comes from b: either a value there does not belong to a, or" in str(fault)
    assert fault_of(gather, (2,), x, index % 3, rows[:4], 5, 2, from_right, 2).index_from is None


def test_a_grid_may_be_a_function() -> None:
    x, y = torch.ones(13), torch.zeros(13)

    with watch(x=x, y=y) as seen:
        copy[lambda meta: (triton.cdiv(13, meta["BLOCK"]),)](x, y, 13, 13, 0, BLOCK=8)

    assert seen.launches[0].grid == (2, 1, 1) and seen.launches[0].programs == range(2)


# ------------------------------------------------------------------------- the other doors


@triton.jit
def count_atomically(ids, counts, n, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(counts + tl.load(ids + lanes, mask=lanes < n), 1, mask=lanes < n)


def test_atomics_are_watched_and_do_not_race() -> None:
    ids, counts = torch.tensor([0, 1, 1, 2, 1]), torch.zeros(3, dtype=torch.int32)

    with watch(ids=ids, counts=counts) as seen:
        count_atomically[(2,)](ids, counts, 5, BLOCK=4)

    assert counts.tolist() == [1, 3, 1] and not seen.races()
    assert seen.bytes_loaded["counts"] == seen.bytes_stored["counts"] == 5 * 4
    assert seen.unique_bytes_stored["counts"] == 3 * 4
    assert seen.owner("counts").tolist() == [0, 1, 0]
    assert seen.touch_map("counts").tolist() == [[1, 2, 1], [0, 1, 0]]
    assert seen.readers("counts").tolist() == [1, 2, 1]
    assert seen.bytes_per_program(name="counts").tolist() == [2 * 4 * 4, 2 * 4]  # back and forth


def test_an_atomic_past_the_end_is_refused() -> None:
    fault = fault_of(
        count_atomically, (1,), torch.tensor([0, 3]), guarded(3, dtype=torch.int32), 2, BLOCK=2
    )

    assert (fault.kind, fault.masked) == ("atomic", None)
    assert "updates element 3 of b" in str(fault)
    assert "comes from a: either a value there does not belong to b, or a mask is" in str(fault)


def test_compare_and_swap_and_float_maxima_are_atomics() -> None:
    @triton.jit
    def both(flags, best):
        tl.atomic_cas(flags + tl.program_id(0), 0, 1)
        tl.atomic_max(best + tl.arange(0, 2), tl.program_id(0) * 1.0 - 1.0)

    flags, best = torch.zeros(2, dtype=torch.int32), torch.full((2,), -9.0)

    with watch(flags=flags, best=best) as seen:
        both[(2,)](flags, best)

    assert flags.tolist() == [1, 1] and {access.kind for access in seen.accesses} == {"atomic"}
    assert (seen.touch_map("best", "store") == 1).all()
    assert fault_of(both, (3,), flags, best).elements.tolist() == [2]


@pytest.mark.skipif(not hasattr(tl, "atomic_load"), reason="this Triton has no atomic loads")
def test_atomic_loads_and_stores_do_not_race_with_each_other() -> None:
    @triton.jit
    def pass_on(flag):
        tl.atomic_store(flag, tl.atomic_load(flag) + 1)

    flag = torch.zeros(1, dtype=torch.int32)

    with watch(flag=flag) as seen:
        pass_on[(3,)](flag)

    assert flag.item() == 3 and not seen.races()
    assert seen.bytes_loaded["flag"] == seen.bytes_stored["flag"] == 12


@triton.jit
def copy_by_descriptor(x, y, n_rows, width, stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    source = tl.make_tensor_descriptor(x, [n_rows, width], [stride, 1], [ROWS, COLUMNS])
    target = tl.make_tensor_descriptor(y, [n_rows, width], [stride, 1], [ROWS, COLUMNS])
    target.store([0, 0], source.load([0, 0]))


def test_tensor_descriptors_are_watched() -> None:
    x, y = torch.randn(3, 8), torch.zeros(3, 8)

    with watch(x=x, y=y) as seen:
        copy_by_descriptor[(1,)](x, y, 3, 8, 8, ROWS=4, COLUMNS=8)

    assert torch.equal(x, y) and seen.bytes_loaded["x"] == 96 and not seen.unwritten("y").size
    fault = fault_of(copy_by_descriptor, (1,), x, y, 4, 8, 8, ROWS=4, COLUMNS=8)
    assert (fault.buffer, fault.cause) == ("a", "descriptor") and "element 24 of a" in str(fault)


def test_descriptors_made_by_the_host_know_their_tensor() -> None:
    from triton.tools.tensor_descriptor import TensorDescriptor

    @triton.jit
    def read(source, out):
        tl.store(out + tl.arange(0, 4), source.load([1, 0]).reshape(4))

    x, out = torch.arange(12.0).view(3, 4), torch.zeros(4)

    with watch(out=out, adopt=True) as seen:
        read[(1,)](TensorDescriptor.from_tensor(x, [1, 4]), out)

    assert out.tolist() == [4, 5, 6, 7] and seen.buffers == ("out", "source")


@triton.jit
def copy_by_block_pointer(x, y, n, LIMIT: tl.constexpr):
    source = tl.make_block_ptr(x, (n,), (1,), (0,), (8,), (0,))
    target = tl.make_block_ptr(y, (LIMIT,), (1,), (0,), (8,), (0,))
    tl.store(target, tl.load(source, boundary_check=(0,)), boundary_check=(0,))


@pytest.mark.filterwarnings("ignore:tl.make_block_ptr is deprecated")
def test_block_pointers_are_watched_where_triton_has_them() -> None:
    x, y = torch.ones(5), guarded(5)

    try:
        with watch(x=x, y=y) as seen:
            copy_by_block_pointer[(1,)](x, y, 5, LIMIT=5)
    except Exception as error:
        assert "removed" in str(error)  # by Triton 3.9
        return

    assert y.eq(1).all() and seen.bytes_stored["y"] == 20
    assert "element 5 of b" in str(fault_of(copy_by_block_pointer, (1,), x, y, 5, LIMIT=7))


# ------------------------------------------------------------------------------- the record


def tiled_copy(x: torch.Tensor, y: torch.Tensor) -> Seen:
    with watch(x=x, y=y) as seen:
        copy_rows[(2, 3)](x, y, x.stride(0), y.stride(0), *x.shape, ROWS=4, COLUMNS=4)
    return seen


def test_the_record_says_which_program_wrote_which_element() -> None:
    seen = tiled_copy(torch.randn(7, 10), torch.zeros(9, 13)[1:8, 2:12])

    rows, columns = np.arange(7)[:, None] // 4, np.arange(10)[None, :] // 4
    assert seen.programs == [(row, column, 0) for row in range(2) for column in range(3)]
    assert np.array_equal(seen.owner("y"), 3 * rows + columns)
    assert seen.owner("x").tolist() == [[-1] * 10] * 7
    assert (seen.readers("x") == 1).all() and not seen.readers("y").any()
    assert not seen.unwritten("y").size and not seen.races()


def test_accesses_name_elements_in_the_order_of_the_shape() -> None:
    x = torch.randn(5, 3).T  # row after row in its shape, column after column in memory
    y = torch.zeros(5, 3).T

    with watch(x=x, y=y) as seen:
        copy_rows[(1, 1)](x, y, 3, 3, 5, 3, ROWS=8, COLUMNS=4)

    load, store = seen.accesses
    assert (load.program, load.buffer, load.kind, load.lanes) == (0, "x", "load", 32)
    expected = np.arange(15).reshape(3, 5).T.ravel()
    assert load.elements.tolist() == expected.tolist() == store.elements.tolist()
    assert load.n_bytes == 60 and seen.owner("y").shape == (3, 5)


def test_a_grid_of_three_dimensions_is_named_as_such() -> None:
    @triton.jit
    def corner(out):
        place = tl.program_id(0) * 4 + tl.program_id(1) * 2 + tl.program_id(2)
        tl.store(out + place, place)

    out = guarded(7)

    fault = fault_of(corner, (2, 2, 2), out)

    assert fault.program == (1, 1, 1) and "Program (1, 1, 1) stores to element 7" in str(fault)


def test_bytes_are_counted_by_lane_and_by_element() -> None:
    @triton.jit
    def add_up(x, out, n: tl.constexpr):
        tl.store(out + tl.program_id(0), tl.sum(tl.load(x + tl.arange(0, n))))

    x, out = torch.ones(8), torch.zeros(3)

    with watch(x=x, out=out) as seen:
        add_up[(3,)](x, out, 8)

    assert seen.bytes_loaded == {"x": 3 * 32, "out": 0}
    assert seen.unique_bytes_loaded == {"x": 32, "out": 0}
    assert seen.bytes_stored == seen.unique_bytes_stored == {"x": 0, "out": 12}
    assert seen.readers("x").tolist() == [3] * 8
    assert seen.bytes_per_program("load").tolist() == [32] * 3
    assert seen.bytes_per_program("store", "x").tolist() == [0] * 3
    assert seen.bytes_per_program().tolist() == [36] * 3
    assert seen.touch_map("out").tolist() == np.eye(3).tolist()
    assert str(seen).splitlines()[0] == "3 programs of add_up"
    assert str(seen).splitlines()[2].split() == ["x", "96", "32", "0", "0"]


def test_what_nobody_stored_is_told() -> None:
    x, y = torch.ones(13), torch.zeros(13)

    with watch(x=x, y=y) as seen:
        copy[(2,)](x, y, 13, 11, 0, BLOCK=8)

    assert seen.unwritten("y").tolist() == [11, 12]


def test_views_of_one_memory_are_told_apart_by_what_the_kernel_was_given() -> None:
    w = torch.arange(12.0).view(3, 4)
    out = torch.zeros(12)

    with watch(w=w, first=w[0], out=out) as seen:
        copy[(1,)](w, out, 12, 12, 0, BLOCK=16)
        copy[(1,)](w[0], out, 4, 4, 0, BLOCK=4)
        copy[(1,)](w.view(-1), out, 12, 12, 0, BLOCK=16)
        copy[(1,)](w[0, 1:], out, 3, 3, 0, BLOCK=4)
        with pytest.raises(KernelFault, match="element 4 of first"):
            copy[(1,)](w[0], out, 5, 5, 0, BLOCK=8)

    loads = [access.buffer for access in seen.accesses if access.kind == "load"]
    assert loads == ["w", "first", "w", "first"]


def test_a_named_part_of_an_argument_is_a_fence_around_that_part() -> None:
    memory = torch.zeros(32)

    with watch(x=torch.ones(1), y=memory[8:16]), pytest.raises(KernelFault, match="of y"):
        copy[(1,)](memory, memory, 32, 32, 0, BLOCK=32)


def test_overlapping_windows_name_the_first_element_at_an_address() -> None:
    windows = torch.arange(6.0).unfold(0, 3, 1)  # (4, 3) over six numbers
    found, valid = Buffer("windows", windows).elements(
        windows.data_ptr() + 4 * np.arange(-1, 7, dtype=np.int64)
    )

    assert valid is not None and valid.tolist() == [False] + [True] * 6 + [False]
    assert found[1:7].tolist() == [0, 1, 2, 5, 8, 11]


@pytest.mark.parametrize(
    "view", ["x", "x.T", "x[::2]", "x[:, ::3]", "x.expand(2, 5, 6)", "x[1, 1]"]
)
def test_every_element_of_every_view_is_found_again(view: str) -> None:
    buffer = Buffer(view, eval(view, {"x": torch.randn(5, 6)}))
    every = np.arange(buffer.count)
    found, valid = buffer.elements(buffer.base + buffer.offsets(every))

    assert valid is None
    assert np.array_equal(found % 30 if "expand" in view else found, every % 30)


def test_library_functions_are_watched_by_adopting_their_tensors() -> None:
    def twice(x: torch.Tensor) -> torch.Tensor:
        once, again = torch.empty_like(x), torch.empty_like(x)
        copy[(1,)](x, once, 4, 4, 0, BLOCK=4)
        copy[(1,)](once, again, 4, 4, 0, BLOCK=4)
        return again

    x = torch.randn(4)

    with watch(x=x, adopt=True) as seen:
        twice(x)

    assert seen.buffers == ("x", "y", "y#2")
    assert seen.readers("y").tolist() == [1] * 4 == [*seen.launch(0).readers("x")]
    assert [launch.kernel for launch in seen.launches] == ["copy", "copy"]


def test_a_watch_that_only_guards_keeps_no_record() -> None:
    x, y = torch.ones(13), guarded(13)

    with watch(record=False, x=x, y=y) as seen, pytest.raises(KernelFault):
        copy[(2,)](x, y, 13, 14, 0, BLOCK=8)

    assert seen.programs == [(0, 0, 0), (1, 0, 0)] and "2 programs" in str(seen)
    with pytest.raises(ValueError, match="record=False"):
        seen.races()


# ------------------------------------------------------------------------------------ races


@triton.jit
def racy(x, y, SAME: tl.constexpr, READ: tl.constexpr, ADD: tl.constexpr):
    me = tl.program_id(0)
    if SAME:
        tl.store(y, me)
    if READ:
        tl.store(y + me, tl.load(x + me + 1))
    if ADD:
        tl.atomic_add(y + 5, 1)


def races(x: torch.Tensor, y: torch.Tensor, n: int, **switches: bool) -> list:
    chosen = {"SAME": False, "READ": False, "ADD": False} | switches
    with watch(x=x, y=y) as seen:
        racy[(n,)](x, y, **chosen)
    return seen.races()


def test_two_programs_that_store_one_element_race() -> None:
    y = torch.zeros(2, 3, dtype=torch.int32)

    (race,) = races(y, y, 3, SAME=True)

    assert (race.buffer, race.element, race.programs) == ("x", 0, (0, 1, 2))
    assert race.kinds == ("store",)
    assert str(race).startswith("Programs 0, 1 and 2 all store element 0 of x (row 0, column 0):")


def test_a_load_of_what_another_program_stores_races() -> None:
    y = torch.zeros(6, dtype=torch.int32)

    first, second = races(y, y, 3, READ=True)

    assert (first.element, first.programs, first.kinds) == (1, (0, 1), ("load", "store"))
    assert "Program 2 stores element 2 of x, and program 1 loads it in the same" in str(second)


def test_views_of_one_memory_race_under_two_names() -> None:
    memory = torch.zeros(6, dtype=torch.int32)

    (race,) = races(memory[1:], memory[:5], 3, READ=True)

    assert race.programs == (0, 2) and race.element in (1, 2)


def test_an_atomic_races_with_a_plain_load_but_not_with_atomics() -> None:
    y = torch.zeros(8, dtype=torch.int32)

    assert races(y[:2], y[2:], 3, ADD=True) == []
    found = races(y, y, 5, ADD=True, READ=True)

    (race,) = [race for race in found if race.element == 5]
    assert race.kinds == ("load", "atomic") and "atomically, but program 4 loads it" in str(race)


def test_a_program_does_not_race_with_its_own_atomic() -> None:
    @triton.jit
    def take_and_look(counters, out):
        me = tl.program_id(0)
        tl.atomic_add(counters + me, 1)
        tl.store(out + me, tl.load(counters + me))

    counters, out = torch.zeros(3, dtype=torch.int32), torch.zeros(3, dtype=torch.int32)

    with watch(counters=counters, out=out) as seen:
        take_and_look[(3,)](counters, out)

    assert seen.races() == [] and out.tolist() == [1, 1, 1]


def test_launches_wait_for_each_other_and_do_not_race() -> None:
    y = torch.zeros(6, dtype=torch.int32)

    with watch(y=y) as seen:
        for _ in range(2):
            racy[(1,)](y, y, SAME=True, READ=True, ADD=False)

    assert seen.races() == [] and [len(launch.programs) for launch in seen.launches] == [1, 1]


def test_races_of_a_later_launch_count_its_programs_on() -> None:
    y = torch.zeros(6, dtype=torch.int32)

    with watch(y=y) as seen:
        for _ in range(2):
            racy[(2,)](y, y, SAME=True, READ=False, ADD=False)

    assert [race.programs for race in seen.races()] == [(0, 1), (2, 3)]


def test_lanes_of_one_store_must_not_disagree() -> None:
    @triton.jit
    def place(slots, out, values, n: tl.constexpr):
        lanes = tl.arange(0, n)
        tl.store(out + tl.load(slots + lanes), tl.load(values + lanes))

    slots, out = torch.tensor([3, 0, 3, 0]), torch.zeros(4)

    with watch(slots=slots, out=out, values=torch.zeros(4), adopt=True) as seen:
        place[(1,)](slots, out, torch.tensor([1.0, 5.0, 2.0, 5.0]), 4)

    (race,) = seen.races()  # element 0 gets 5 twice, which nobody can tell apart
    assert (race.element, race.programs) == (3, (0,))
    assert "Program 0 stores different values to element 3 of out in one tl.store" in str(race)


# ------------------------------------------------------- lanes that a mask without `other` opens


@triton.jit
def load_open(x, out, n, OTHER: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    values = tl.load(x + lanes, mask=lanes < n, other=7) if OTHER else 0
    if not OTHER:
        values = tl.load(x + lanes, mask=lanes < n)
    tl.store(out + lanes, values)


def open_value(dtype: torch.dtype, **switches: bool) -> torch.Tensor:
    """Load one of four numbers and give what stands in the other three lanes."""
    x, out = torch.ones(4).to(dtype), torch.zeros(4).to(dtype)
    with watch(x=x, out=out, **switches):
        load_open[(1,)](x, out, 1, OTHER=False, BLOCK=4)
    assert out[0].float() == 1
    return out[1:]


@pytest.mark.parametrize(
    "dtype",
    [
        *("float64", "float32", "float16", "bfloat16"),
        *("float8_e5m2", "float8_e4m3fn"),
    ],
)
def test_an_open_lane_of_floats_holds_nan(dtype: str) -> None:
    assert open_value(getattr(torch, dtype)).float().isnan().all()
    assert not open_value(getattr(torch, dtype), poison=False).float().any()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_an_open_lane_of_integers_holds_a_number_far_outside(dtype: torch.dtype) -> None:
    assert (open_value(dtype) >= min(2**30, torch.iinfo(dtype).max // 2)).all()
    assert not open_value(dtype, poison=False).any()


def test_a_single_lane_with_zero_for_other_is_not_open() -> None:
    @triton.jit
    def first_begin(ends, out):
        tl.store(out, tl.load(ends - 1, mask=tl.program_id(0) > 0, other=0))
        lane = tl.arange(0, 1)
        tl.store(out + 1 + lane, tl.load(ends - 1 + lane, mask=lane > 0, other=0))
        tl.store(out + 3, tl.load(ends, mask=tl.program_id(0) > 0))  # after one with `other`

    ends, out = torch.tensor([5]), torch.full((4,), -7)

    with watch(ends=ends, out=out) as seen:
        first_begin[(1,)](ends, out)

    assert out[:3].tolist() == [0, 0, -7] and out[3] > 2**30 and len(seen.open_loads) == 1


def test_open_loads_are_told_once_a_line_and_lanes_with_other_are_not_open() -> None:
    x, out = torch.ones(4), torch.zeros(4)

    with watch(x=x, out=out) as seen:
        load_open[(3,)](x, out, 4, OTHER=False, BLOCK=4)  # all lanes are on
        load_open[(3,)](x, out, 2, OTHER=True, BLOCK=4)
        assert seen.open_loads == [] and out.tolist() == [1, 1, 7, 7]
        load_open[(3,)](x, out, 2, OTHER=False, BLOCK=4)

    (found,) = seen.open_loads
    assert (found.program, found.buffer, found.line.function) == (6, "x", "load_open")
    assert found.sentence == (
        "A load from x switches lanes off and does not say what they hold then. In load_open: "
        "`values = tl.load(x + lanes, mask=lanes < n)`. Triton leaves that open. Pass "
        "other=..., or do not use those lanes."
    )
    assert seen.launch(1).open_loads == [] and seen.launch(2).open_loads[0].program == 0


@triton.jit
def count_three(ids, counts, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    mine = tl.load(ids + lanes, mask=lanes < n)
    for e in range(3):
        tl.store(counts + e, tl.sum((mine == e).to(tl.int32)))


def test_a_kernel_that_counts_on_zeros_gives_other_results_with_poison() -> None:
    ids, counts = torch.tensor([1, 1, 2]), torch.zeros(3, dtype=torch.int32)

    results = []
    for poison in (True, False):
        with watch(poison=poison, ids=ids, counts=counts) as seen:
            count_three[(1,)](ids, counts, 3, BLOCK=4)
        results.append(counts.tolist())
        assert len(seen.open_loads) == 1

    assert results == [[0, 2, 1], [1, 2, 1]]


@triton.jit
def gather_open(x, index, out, n, width, WIDE: tl.constexpr, MASKED: tl.constexpr):
    lanes, columns = tl.arange(0, 4), tl.arange(0, 2)
    token = tl.load(index + lanes, mask=lanes < n)
    token = token.to(tl.int64) if WIDE else token
    at = (token * width)[:, None] + columns[None, :]
    mask = (lanes < n)[:, None] & (columns < width)[None, :]
    values = tl.load(x + at, mask=mask, other=0) if MASKED else tl.load(x + at)
    tl.store(out + lanes[:, None] * width + columns[None, :], values, mask=mask)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_an_open_lane_that_becomes_an_address_is_traced_back_to_its_load(
    dtype: torch.dtype, wide: bool, width: int
) -> None:
    x, index, out = torch.ones(3, width), torch.tensor([0, 2, 1], dtype=dtype), guarded(3, width)

    with watch(a=x, b=index, c=out) as seen, pytest.raises(KernelFault) as caught:
        gather_open[(1,)](x, index, out, 3, width, WIDE=wide, MASKED=False)

    fault = caught.value
    assert fault.cause == "open lane" and fault.buffer == "a"
    assert seen.wrapped == []  # the watcher's own number may have wrapped around, the kernel's none
    assert "In gather_open: `token = tl.load(index + lanes, mask=lanes < n)`." in str(fault)
    assert "Pass other=... there, or switch the lane off here as well" in str(fault)


def test_open_lanes_that_stay_switched_off_harm_nobody() -> None:
    x, index, out = torch.ones(3, 2), torch.tensor([0, 2, 1], dtype=torch.int32), guarded(3, 2)

    with watch(x=x, index=index, out=out) as seen:
        gather_open[(1,)](x, index, out, 3, 2, WIDE=False, MASKED=True)

    assert (out == 1).all() and seen.wrapped == []


def test_a_wrong_index_beside_an_open_lane_is_not_blamed_on_it() -> None:
    x, index, out = torch.ones(3, 2), torch.tensor([0, -1, 1], dtype=torch.int32), guarded(3, 2)

    fault = fault_of(gather_open, (1,), x, index, out, 3, 2, WIDE=False, MASKED=True)

    assert (fault.cause, fault.index_from) == ("negative index", "b")


@triton.jit
def poisoned_arithmetic(x, out, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    values = tl.load(x + lanes, mask=lanes < 0)
    tl.store(out, tl.max(values, axis=0))
    tl.store(out + lanes, values.to(tl.int32).to(tl.float32), mask=lanes < 0)


def test_poison_raises_no_warnings_of_its_own() -> None:
    x, out = torch.ones(4), torch.zeros(2)

    with watch(x=x, out=out):
        poisoned_arithmetic[(1,)](x, out, BLOCK=4)

    assert out[0].isnan()


@triton.jit
def short_block(x, y, n: tl.constexpr, PADDING: tl.constexpr):
    source = tl.make_block_ptr(x, (n,), (1,), (0,), (8,), (0,))
    values = tl.load(source, boundary_check=(0,), padding_option=PADDING)
    tl.store(y + tl.arange(0, 8), values)


@pytest.mark.filterwarnings("ignore:tl.make_block_ptr is deprecated")
def test_block_pointers_leave_lanes_open_unless_they_pad() -> None:
    x, y = torch.ones(5), torch.zeros(8)

    try:
        with watch(x=x, y=y) as seen:
            short_block[(1,)](x, y, 5, PADDING="zero")
    except Exception as error:
        assert "removed" in str(error)  # by Triton 3.9
        return

    assert seen.open_loads == [] and y.tolist() == [1] * 5 + [0] * 3
    with watch(x=x, y=y) as seen:
        short_block[(1,)](x, y, 5, PADDING="")
    assert len(seen.open_loads) == 1 and y[5:].isnan().all()


def test_a_descriptor_says_itself_what_lies_outside() -> None:
    x, y = torch.randn(3, 8), torch.full((3, 8), 7.0)

    with watch(x=x, y=y) as seen:
        copy_by_descriptor[(1,)](x, y, 3, 8, 8, ROWS=4, COLUMNS=8)

    assert seen.open_loads == [] and torch.equal(x, y)


# ------------------------------------------------------------- offsets that outgrow their type


@triton.jit
def last_rows(x, out, row, stride, WIDE: tl.constexpr, HOW: tl.constexpr):
    rows, columns = row + tl.arange(0, 2), tl.arange(0, 2)
    if WIDE:
        rows = rows.to(tl.int64)
    if HOW == "column":
        at = (rows * stride)[:, None] + columns[None, :]
    elif HOW == "tile":
        at = tl.reshape(tl.trans(rows[None, :] * stride + columns[:, None]), (2, 2))
    elif HOW == "select":
        at = tl.where(rows[:, None] >= 0, rows[:, None] * stride + columns[None, :], 0)
    elif HOW == "join":
        at = tl.join(rows * stride, rows * stride + 1)
    elif HOW == "scalar":
        at = (row.to(tl.int64) if WIDE else row) * stride + tl.zeros((2, 2), tl.int32)
    elif HOW == "shift":
        at = (rows << 30)[:, None] + columns[None, :]
    else:
        at = rows[:, None] + (stride + columns[None, :])
    values = tl.load(x + at)
    tl.store(out + tl.arange(0, 2)[:, None] * 2 + columns[None, :], values)


WAYS = {
    "column": "at = (rows * stride)[:, None] + columns[None, :]",
    "tile": "at = tl.reshape(tl.trans(rows[None, :] * stride + columns[:, None]), (2, 2))",
    "select": "at = tl.where(rows[:, None] >= 0, rows[:, None] * stride + columns[None, :], 0)",
    "join": "at = tl.join(rows * stride, rows * stride + 1)",
    "scalar": "at = (row.to(tl.int64) if WIDE else row) * stride + tl.zeros((2, 2), tl.int32)",
    "shift": "at = (rows << 30)[:, None] + columns[None, :]",
}


@pytest.mark.parametrize("way", WAYS)
def test_an_offset_that_wraps_around_is_told_with_the_line_that_did_it(way: str) -> None:
    stride = 2**30
    x, out = vast((4, 2), (stride, 1), dtype=torch.int8), torch.zeros(2, 2, dtype=torch.int8)
    x[2], x[3] = 5, 6

    fault = fault_of(last_rows, (1,), x, out, 2, stride, WIDE=False, HOW=way)

    assert fault.cause == "overflow" and fault.line == "values = tl.load(x + at)"
    assert (
        "An offset left the range of its integer type on the way, and wrapped around. In "
        f"last_rows: `{WAYS[way]}`. Make it int64 before you multiply, as in row.to(tl.int64) * "
        "stride."
    ) in str(fault)
    with watch(x=x, out=out) as seen:
        last_rows[(1,)](x, out, 2, stride, WIDE=True, HOW=way)
    assert out.flatten().tolist() == ([5, 5, 5, 5] if way == "scalar" else [5, 5, 6, 6])
    assert seen.wrapped == []


def test_an_offset_that_wraps_into_the_tensor_is_told_as_well() -> None:
    x, out = vast((2**32 + 4,), dtype=torch.int8), torch.zeros(2, 2, dtype=torch.int8)

    with watch(x=x, out=out) as seen:  # 4 * 2^30 is 0 in 32 bits: in order, but for the value
        last_rows[(1,)](x, out, 4, 2**30, WIDE=False, HOW="scalar")

    (found,) = seen.wrapped
    assert (found.program, found.buffer, found.line.text) == (0, "x", WAYS["scalar"])
    assert found.sentence == (
        f"An offset into x wrapped around. In last_rows: `{WAYS['scalar']}`. It is too large for "
        "its integer type. Make it int64 before you multiply, as in row.to(tl.int64) * stride."
    )


@triton.jit
def harmless(x, out, n, LARGE: tl.constexpr):
    lanes = tl.arange(0, 4)
    far = (lanes + 1) * LARGE  # wraps around in every lane but the first
    tl.store(out + far, 1, mask=lanes == 0)
    tl.store(out + (far ^ far), 2, mask=lanes == 0)
    numbers = tl.load(x + lanes)
    tl.store(out + (numbers * LARGE) % n, 3)
    tl.store(out + numbers.to(tl.uint32) * LARGE, 4)


def test_what_wraps_in_a_lane_that_is_off_or_on_purpose_is_no_wrong_offset() -> None:
    x = torch.tensor([1, 5, 9, 13], dtype=torch.int32)  # times 2^30 all the same in 32 bits
    out = vast((2**30 + 1,), dtype=torch.int8)

    with watch(record=False, x=x, out=out) as seen:
        harmless[(1,)](x, out, 7, LARGE=2**30)

    assert seen.wrapped == []


def test_an_address_of_vast_memory_reads_as_zero_and_keeps_what_is_stored() -> None:
    x = vast((2**20, 2**20), dtype=torch.float32)  # four terabytes

    x[-1, -1] = 3
    assert x.stride() == (2**20, 1) and x[-1, -2:].tolist() == [0, 3]
    assert vast((3, 4), (1, 100), dtype=torch.int16).stride() == (1, 100)


# ---------------------------------------------------------------- products that a GPU rounds more


@triton.jit
def multiply(a, b, out, HOW: tl.constexpr, OUT: tl.constexpr, n: tl.constexpr):
    at = tl.arange(0, n)[:, None] * n + tl.arange(0, n)[None, :]
    left, right = tl.load(a + at), tl.load(b + at)
    if HOW == "default":
        acc = tl.dot(left, right, out_dtype=OUT)
    elif HOW == "allowed":
        acc = tl.dot(left, right, allow_tf32=True)
    else:
        acc = tl.dot(left, right, input_precision=HOW, out_dtype=OUT)
    tl.store(out + at, acc)


def narrow_dots(dtype: torch.dtype, how: str, out: tl.dtype = tl.float32) -> list[NarrowDot]:
    a, b, c = (torch.ones(16, 16, dtype=dtype) for _ in range(3))
    with watch(a=a, b=b, c=c) as seen:
        multiply[(2,)](a, b, c, HOW=how, OUT=out, n=16)
    assert (c == 16).all()
    return seen.narrow_dots


@pytest.mark.parametrize(
    ("how", "cut_to"), [("default", "tf32"), ("tf32", "tf32"), ("tf32x3", "tf32x3")]
)
def test_a_product_of_float32_tiles_is_cut_unless_it_says_ieee(how: str, cut_to: str) -> None:
    (found,) = narrow_dots(torch.float32, how)

    assert (found.program, found.cut_to, found.sums) == (0, cut_to, "fp32")
    assert found.sentence.startswith(
        f"A tl.dot of float32 tiles lets a GPU cut them to {cut_to} first. In multiply: `acc = "
    )
    assert found.sentence.endswith('Write input_precision="ieee" to keep every bit.')
    assert narrow_dots(torch.float32, "ieee") == []


def test_tiles_in_half_precision_are_not_cut_but_their_sums_may_be() -> None:
    assert narrow_dots(torch.float16, "default") == []
    (found,) = narrow_dots(torch.float16, "default", tl.float16)
    assert (found.cut_to, found.sums) == (None, "fp16")
    assert "adds its products up in fp16. In multiply: `acc = tl.dot" in found.sentence


# -------------------------------------------------------------------- opening and closing

DOORS_BY_RELEASE = {
    "create_tensor_pointer_load": ("3.6", "3.7"),  # block pointers as things of their own
    "create_tensor_pointer_store": ("3.6", "3.7"),
    "create_atomic_load": ("3.9",),
    "create_atomic_store": ("3.9",),
    "create_atomic_poll": ("3.9",),
    "create_masked_load": ("3.6", "3.7", "3.8", "3.9"),
    "create_masked_store": ("3.6", "3.7", "3.8", "3.9"),
    "create_atomic_rmw": ("3.6", "3.7", "3.8", "3.9"),
    "create_atomic_cas": ("3.6", "3.7", "3.8", "3.9"),
}


@pytest.mark.parametrize("door", DOORS_BY_RELEASE)
def test_releases_of_triton_differ_as_the_table_says(door: str) -> None:
    from triton.runtime.interpreter import InterpreterBuilder

    release = ".".join(triton.__version__.split(".")[:2])
    if not any(release in releases for releases in DOORS_BY_RELEASE.values()):
        pytest.skip(f"the table does not know Triton {release} yet")
    assert hasattr(InterpreterBuilder, door) == (release in DOORS_BY_RELEASE[door])


def test_no_other_method_of_the_interpreter_touches_memory() -> None:
    from triton.runtime.interpreter import InterpreterBuilder

    touches = re.compile(r"_interpreter\.(load|store|atomic_\w+)\(")
    methods = inspect.getmembers(InterpreterBuilder, inspect.isfunction)

    assert {name for name, method in methods if touches.search(inspect.getsource(method))} == {
        "create_masked_load",
        "create_masked_store",
        "create_atomic_rmw",
        "create_atomic_cas",
    }


BUILDER_METHODS = {
    "set_grid_dim": ("nx", "ny", "nz"),
    "set_grid_idx": ("x", "y", "z"),
    "binary_op": ("lhs", "rhs", "op"),
    "cast_impl": ("src", "dst_type"),
    "create_addptr": ("ptr", "offset"),
    "create_bitcast": ("src", "dst_type"),
    "create_idiv": ("lhs", "rhs"),
    "create_dot": ("a", "b", "d", "input_precision"),
    "create_select": ("cond", "lhs", "rhs"),
    "create_cat": ("lhs", "rhs"),
    "create_join": ("lhs", "rhs"),
    "create_broadcast": ("arg", "shape"),
    "create_expand_dims": ("arg", "axis"),
    "create_reshape": ("arg", "shape"),
    "create_splat": ("ret_ty", "arg"),
    "create_split": ("val",),
    "create_trans": ("arg",),
    "create_unsplat": ("arg",),
    "create_load": ("ptr",),
    "create_store": ("ptr", "val"),
    "create_masked_load": ("ptrs", "mask", "other"),
    "create_masked_store": ("ptrs", "value", "mask"),
    "create_atomic_rmw": ("rmwOp", "ptr", "val", "mask"),
    "create_atomic_cas": ("ptr", "cmp", "val"),
}


@pytest.mark.parametrize("method", BUILDER_METHODS)
def test_the_interpreter_still_has_the_method_that_the_watcher_stands_in_for(method: str) -> None:
    from triton.runtime.interpreter import interpreter_builder

    found = inspect.signature(getattr(interpreter_builder, method)).parameters

    wanted = BUILDER_METHODS[method]
    assert tuple(found)[: len(wanted)] == wanted


def test_the_interpreter_still_has_the_rest_that_the_watcher_builds_on() -> None:
    from triton.runtime import interpreter

    semantic = interpreter.interpreter_semantic
    assert semantic.builder is interpreter.interpreter_builder
    assert [*inspect.signature(semantic.load).parameters][:3] == ["ptr", "mask", "other"]
    assert callable(interpreter.GridExecutor.__call__) and callable(interpreter._implicit_cvt)
    executor = interpreter.GridExecutor(copy.fn, ["x"], (1,))
    assert (executor.fn, executor.arg_names) == (copy.fn, ["x"])
    builder = interpreter.interpreter_builder
    three = builder.get_int32(3)
    assert {field.name for field in dataclasses.fields(three)} >= {"data", "dtype"}
    three.moe_teach_note = 1  # a value takes notes, and arithmetic makes a new value
    assert not hasattr(builder.create_add(three, three), "moe_teach_note")
    three.dtype = type(three.dtype)("int32")  # so do types, and arithmetic hands them on
    three.dtype.moe_teach_note = 1
    assert builder.create_expand_dims(three, 0).dtype.moe_teach_note == 1
    assert tl.pointer_type(tl.float32).is_ptr() and tl.float32.is_fp32() and tl.int32.is_int()
    assert (tl.float16.primitive_bitwidth, tl.bfloat16.name, tl.float8e5.name) == (
        16,
        "bf16",
        "fp8e5",
    )


@pytest.mark.parametrize(
    ("operator", "operation"),
    [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("shl", np.left_shift)],
)
def test_arithmetic_still_goes_through_one_method_with_a_function_of_numpy(
    operator: str, operation: np.ufunc, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.runtime.interpreter import interpreter_builder as builder

    asked: list[object] = []
    monkeypatch.setattr(builder, "binary_op", lambda lhs, rhs, op: asked.append(op))
    getattr(builder, f"create_{operator}")(builder.get_int32(1), builder.get_int32(2))

    assert asked == [operation]


def interpreter_state() -> list[object]:
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    patched = [*sorted(vars(builder)), type(interpreter.interpreter_semantic).load]
    return [*patched, interpreter.GridExecutor.__call__, interpreter._implicit_cvt]


def test_the_interpreter_is_as_before_whatever_happens() -> None:
    before = interpreter_state()

    with pytest.raises(ZeroDivisionError), watch(x=torch.ones(1)):
        assert interpreter_state() != before
        1 / 0  # noqa: B018

    assert interpreter_state() == before
    with pytest.raises(KernelFault), watch():
        copy[(1,)](torch.ones(1), torch.ones(1), 1, 1, 0, BLOCK=1)
    assert interpreter_state() == before


def test_a_second_watch_is_refused_from_any_thread() -> None:
    refused: list[str] = []

    def open_another() -> None:
        try:
            with watch():
                pass
        except RuntimeError as error:
            refused.append(str(error))

    with watch():
        open_another()
        thread = Thread(target=open_another)
        thread.start()
        thread.join()

    assert len(refused) == 2 and all("only once at a time" in sentence for sentence in refused)
    with watch():
        pass


def test_compiled_kernels_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "moe_teach.analysis.kernel_watch.watching.choose_mode"
    for mode, sentence in [("compiled", "cannot be watched"), ("absent", "not installed")]:
        monkeypatch.setattr(place, lambda mode=mode: mode)
        with pytest.raises(RuntimeError, match=sentence), watch():
            pass


def test_only_tensors_on_the_cpu_can_be_watched(as_a_user: None) -> None:
    with (
        pytest.raises(ValueError, match=r"x is on meta.*\.cpu\(\)"),
        watch(x=torch.ones(1, device="meta")),
    ):
        pass
    with pytest.raises(TypeError, match="x must be a tensor to be watched"), watch(x=3):
        pass
    with watch(bias=None) as seen:
        assert seen.buffers == ()


def test_the_switches_of_watch_are_no_names(as_a_user: None) -> None:
    with (
        pytest.raises(ValueError, match="switches, no names"),
        watch(record=torch.ones(2)),
    ):
        pass


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with watch(x=torch.ones(1)) as seen:
        pass

    with pytest.raises(ValueError, match="under the name rows; these are: x"):
        seen.owner("rows")
    with pytest.raises(ValueError, match="no launch 0: 0 were watched"):
        seen.launch(0)
