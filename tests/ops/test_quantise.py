"""Blocks of codes: the same bytes as the reference, and no surprise at the edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moe_teach.ops.quantise import KINDS, Kind, dequantise, kind_named, quantise
from moe_teach.ops.quantise.packing import packed, unpacked

CODED = [name for name, kind in KINDS.items() if kind.dtype is None]
HALF_STEPS = {"Q8_0": 1 / 127, "Q5_0": 1 / 16, "Q4_0": 1 / 8, "Q4_1": 2 / 15}
"""The step between codes as a share of the largest weight of a block that reaches both ways."""


def awkward() -> Tensor:
    """Return blocks (4, 6, 64) with zeros, ties, signs, an outlier and one lonely weight."""
    weights = torch.randn(4, 6, 64, generator=torch.Generator().manual_seed(0))
    weights[0, 0] = 0
    weights[0, 1, :32] = 0.5
    weights[0, 2, :32] = -0.5
    weights[0, 3, ::2], weights[0, 3, 1::2] = 1.0, -1.0  # which of two largest decides
    weights[1, 0, 3] = 1000.0
    weights[1, 1, 4] = -1000.0
    weights[1, 2, :] = 0
    weights[1, 2, 40] = -3.0
    weights[2] *= 1e-3
    weights[3] = weights[3].abs() + 1  # nothing near zero
    return weights


def reference_bytes(weights: Tensor, name: str) -> np.ndarray:
    gguf = pytest.importorskip("gguf", reason="the extra `deploy` brings gguf")
    with np.errstate(divide="ignore"):
        return gguf.quants.quantize(weights.numpy(), gguf.GGMLQuantizationType[name])


@pytest.mark.parametrize("name", KINDS)
def test_bytes_are_those_of_the_reference(name: str) -> None:
    weights = awkward()
    expected = reference_bytes(weights, name)
    assert np.array_equal(packed(quantise(weights, name)).numpy(), expected.view(np.uint8))


@pytest.mark.parametrize("name", KINDS)
def test_bytes_stand_for_the_weights_of_the_reference(name: str) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `deploy` brings gguf")
    content = reference_bytes(awkward(), name)
    expected = gguf.quants.dequantize(content, gguf.GGMLQuantizationType[name])

    back = dequantise(unpacked(torch.from_numpy(content.view(np.uint8)), name))

    assert np.array_equal(back.numpy(), expected.reshape(back.shape))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(-60_000, 60_000, width=32), min_size=32, max_size=32), min_size=1
    ),
    name=st.sampled_from(CODED),
)
def test_any_numbers_give_the_bytes_of_the_reference(rows: list, name: str) -> None:
    weights = torch.tensor(rows, dtype=torch.float32)
    # Where a scale is too small for 1 / scale, the reference multiplies zero by infinity.
    weights = torch.where(weights.abs() < 1e-30, 0.0, weights)
    expected = reference_bytes(weights, name)
    assert np.array_equal(packed(quantise(weights, name)).numpy(), expected)


@pytest.mark.parametrize("name", HALF_STEPS)
def test_no_weight_moves_further_than_half_a_step(name: str) -> None:
    """Two exceptions: a scale in float16 is off by 2^-11, and the far side of Q4_0 and Q5_0 lacks
    the last code, so that it can be a whole step away."""
    weights = torch.rand(50, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    largest = weights.abs().amax(dim=-1, keepdim=True)
    step = HALF_STEPS[name] * largest
    lacks_a_code = name in ("Q4_0", "Q5_0")
    allowed = step * (1.0 if lacks_a_code else 0.5) + largest * 2**-10

    moved = (dequantise(quantise(weights, name)) - weights).abs()

    assert bool((moved <= allowed).all())
    assert float(moved.max()) > 0.3 * float(step.min())


def test_more_bits_move_weights_less() -> None:
    weights = torch.randn(20, 64, generator=torch.Generator().manual_seed(2))
    errors = {k: (dequantise(quantise(weights, k)) - weights).norm().item() for k in KINDS}
    names = ("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_1", "Q4_0", "MXFP4")
    assert [*sorted(names, key=lambda name: errors[name])] == [*names]
    assert errors["F32"] == 0


@pytest.mark.parametrize("name", KINDS)
def test_an_expert_is_rounded_by_its_own_weights_alone(name: str) -> None:
    weights = awkward()
    together = dequantise(quantise(weights, name))
    for expert in range(len(weights)):
        assert torch.equal(together[expert], dequantise(quantise(weights[expert], name)))


@pytest.mark.parametrize("name", CODED)
def test_an_outlier_spoils_its_own_block_and_no_other(name: str) -> None:
    weights = torch.full((1, 96), 0.5)
    weights[0, 40] = 5000.0
    moved = (dequantise(quantise(weights, name)) - weights).abs()[0]
    assert moved[:32].max() < 0.01
    assert moved[64:].max() < 0.01
    assert moved[32:64].max() > 0.1


@pytest.mark.parametrize("name", KINDS)
def test_zeros_stay_zeros(name: str) -> None:
    assert not dequantise(quantise(torch.zeros(3, 64), name)).any()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(32,), (1, 32), (1, 1, 32), (3, 5, 64), (0, 32)])
def test_packed_bytes_come_back_as_the_same_record(name: str, shape: tuple[int, ...]) -> None:
    record = quantise(torch.randn(shape, generator=torch.Generator().manual_seed(3)), name)
    content = packed(record)
    back = unpacked(content, name)

    assert content.numel() == record.n_bytes == back.n_bytes
    assert content.shape[:-1] == shape[:-1]
    for mine, theirs in ((record.codes, back.codes), (record.scales, back.scales)):
        assert (mine is None) == (theirs is None)
        assert mine is None or (mine.dtype == theirs.dtype and torch.equal(mine, theirs))
    assert torch.equal(dequantise(back), dequantise(record))


@pytest.mark.parametrize("name", KINDS)
def test_layout_and_dtype_do_not_matter(name: str) -> None:
    narrow = awkward().to(torch.bfloat16)
    expected = packed(quantise(narrow.float(), name))
    turned = narrow.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    assert torch.equal(packed(quantise(turned, name)), expected)
    assert torch.equal(packed(quantise(narrow.double(), name)), expected)


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_left_as_they_are(name: str) -> None:
    weights = awkward().requires_grad_()
    before = weights.detach().clone()
    quantise(weights, name)
    assert torch.equal(weights.detach(), before)


def test_bits_count_the_scales() -> None:
    bits = {name: kind.bits for name, kind in KINDS.items()}
    assert bits == {
        "F32": 32,
        "F16": 16,
        "BF16": 16,
        "Q8_0": 8.5,
        "Q5_0": 5.5,
        "Q4_1": 5,
        "Q4_0": 4.5,
        "MXFP4": 4.25,
    }


def test_tiny_weights_become_zeros_where_their_scale_is_no_float16() -> None:
    weights = torch.full((1, 32), 1e-9)
    for name in ("Q8_0", "Q5_0", "Q4_0", "F16"):
        assert not dequantise(quantise(weights, name)).any()
    assert dequantise(quantise(weights, "MXFP4")).allclose(weights, rtol=0.2, atol=0)
    subnormal = torch.full((1, 32), 1e-40)
    for name in CODED:
        assert dequantise(quantise(subnormal, name)).isfinite().all()


@pytest.mark.parametrize(
    ("weights", "name", "sentence"),
    [
        (torch.ones(4, 48), "Q8_0", "Rows of 48 weights do not divide into blocks of 32, and Q8_0"),
        (torch.ones(4, 0), "Q4_0", "Rows of 0 weights"),
        (torch.tensor([[torch.nan] * 32]), "Q4_0", "32 of 32 weights are NaN or infinite"),
        (torch.tensor([[1.0, -torch.inf]]), "F32", "1 of 2 weights are NaN or infinite"),
        (
            torch.full((1, 32), 1e8),
            "Q8_0",
            r"largest weight is 1e\+08, beyond what Q8_0 can",
        ),
        (torch.full((1, 32), 1e6), "Q4_0", "scales are float16 and end at 65504"),
        (torch.full((1, 32), 1e5), "Q4_1", "beyond what Q4_1 can hold"),
        (torch.full((1, 2), 1e5), "F16", "beyond what F16 can hold, .* choose BF16 or F32"),
        (torch.ones(1, 32, dtype=torch.int32), "Q8_0", "Only floating-point weights"),
        (torch.ones(1, 32), "Q4", "no kind of quantisation called 'Q4': choose one of F32, F16"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(
    weights: Tensor, name: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        quantise(weights, name)


def test_bytes_of_another_kind_are_refused() -> None:
    content = packed(quantise(torch.ones(2, 32), "Q8_0"))
    with pytest.raises(ValueError, match="A block of Q4_0 takes 18 bytes, but these rows are 34"):
        unpacked(content, "Q4_0")


def test_a_kind_may_be_given_itself() -> None:
    kind = KINDS["Q4_0"]
    assert isinstance(kind, Kind)
    assert kind_named(kind) is kind
    assert quantise(torch.ones(1, 32), kind).kind is kind
