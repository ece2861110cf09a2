"""Packed weights: a worked example, every width and grouping, and the same bits when they run."""

import numpy as np
import pytest
from arrays_of_interest import same_bits

from refquant.arrays.errors import BadInput
from refquant.arrays.packed import PackedWeights, group_parts, pack_weights
from refquant.engine.conv_fast import conv_fast
from refquant.engine.loops import conv_loops
from refquant.engine.panels import codes_of, from_panels, masks_of, panels_of, to_panels

SHAPE = (35, 21, 3, 3)
AXES = ("", "F", "C", "FC", "CRS", "FRS", "R", "FR", "FCRS")


def affine(shape=SHAPE, bits=4, axes="F", block=0, seed=0) -> PackedWeights:
    """Random codes with random scales and zero points."""
    rng = np.random.default_rng(seed)
    filter_group, tap_group = group_parts(shape, axes, block)
    groups = int(filter_group.max() + tap_group.max()) + 1
    return pack_weights(
        rng.integers(0, 2**bits, shape).astype(np.uint16),
        bits,
        axes,
        block,
        scale=rng.random(groups) * 0.1,
        zero_point=rng.integers(0, 2**bits, groups),
    )


def table(shape=SHAPE, bits=4, axes="F", seed=0) -> PackedWeights:
    """Random codes with random levels."""
    rng = np.random.default_rng(seed)
    filter_group, tap_group = group_parts(shape, axes)
    groups = int(filter_group.max() + tap_group.max()) + 1
    codes = rng.integers(0, 2**bits, shape).astype(np.uint16)
    levels = rng.standard_normal((groups, 2**bits))
    return pack_weights(codes, bits, axes, levels=levels)


def test_weights_of_a_worked_example():
    codes = np.array([[1, 2], [3, 0]], np.uint8).reshape(2, 2, 1, 1)
    packed = pack_weights(codes, 2, "F", scale=[0.5, 10.0], zero_point=[1, 2])
    assert packed.stream.tolist() == [1 + (2 << 2) + (3 << 4)]
    assert packed.dequantize().ravel().tolist() == [0.0, 0.5, 10.0, -20.0]
    assert packed.nbytes == 1 + 8 + 8


def test_levels_of_a_worked_example():
    codes = np.array([[1, 0], [1, 1]], np.uint8).reshape(2, 2, 1, 1)
    packed = pack_weights(codes, 1, "C", levels=[[-1.0, 1.0], [5.0, 7.0]])
    assert packed.dequantize().ravel().tolist() == [1.0, 5.0, 1.0, 7.0]


def test_groups_are_numbered_row_major_over_the_kept_axes():
    filter_group, tap_group = group_parts((2, 3, 1, 2), "FC")
    assert filter_group.tolist() == [0, 3]
    assert tap_group[:, 0, 0].tolist() == [0, 1, 2]
    assert group_parts((2, 3, 1, 2), "F", block=4)[1].ravel().tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("vectors", [1, 2, 4])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), SHAPE, (64, 130, 1, 1), (70, 3, 6, 6)])
def test_panels_give_the_weight_back(shape, vectors):
    weight = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    assert same_bits(panels_of(weight, vectors).dequantize(), weight)
    assert same_bits(from_panels(to_panels(weight, vectors), shape), weight)


@pytest.mark.parametrize("bits", range(1, 10))
def test_masks_give_the_codes_back(bits):
    codes = np.random.default_rng(1).integers(0, 2**bits, (2, 5, 4, 16)).astype(np.uint16)
    assert np.array_equal(codes_of(masks_of(codes, bits)), codes)


@pytest.mark.parametrize("make", [affine, table])
@pytest.mark.parametrize("axes", AXES)
def test_packed_panels_decode_to_the_same_bits(make, axes):
    packed = make(axes=axes)
    for vectors in (1, 4):
        assert same_bits(panels_of(packed, vectors).dequantize(), packed.dequantize())


@pytest.mark.parametrize("make", [affine, table])
@pytest.mark.parametrize("bits", range(1, 10))
def test_a_convolution_with_packed_weights_has_the_bits_of_the_dequantized(make, bits):
    packed = make(bits=bits)
    x = np.random.default_rng(2).standard_normal((1, 21, 7, 9), dtype=np.float32)
    expected = conv_loops(x, packed.dequantize(), padding=1)
    assert same_bits(conv_fast(x, packed, padding=1), expected)
    other = make(bits=bits, seed=1)
    assert not same_bits(conv_fast(x, other, padding=1), expected)


@pytest.mark.parametrize("make", [affine, table])
@pytest.mark.parametrize("axes", AXES)
def test_every_grouping_runs_packed(make, axes):
    packed = make(axes=axes)
    x = np.random.default_rng(2).standard_normal((1, 21, 7, 9), dtype=np.float32)
    expected = conv_loops(x, packed.dequantize(), padding=1, activation="silu")
    assert same_bits(conv_fast(x, packed, padding=1, activation="silu", threads=2), expected)


@pytest.mark.parametrize("block", [32, 64, 128])
def test_blocks_within_filters_run_packed(block):
    packed = affine((64, 130, 1, 1), block=block)
    x = np.random.default_rng(2).standard_normal((1, 130, 5, 6), dtype=np.float32)
    assert same_bits(conv_fast(x, packed), conv_loops(x, packed.dequantize()))


def test_packed_panels_take_the_bytes_of_their_codes():
    packed = affine((256, 128, 3, 3), bits=4)
    panels = panels_of(packed, 4)
    parameters = 2 * 4 * 256 + 8 * 128 * 9  # scale, zero point; an entry per product
    assert panels.nbytes == 256 * 128 * 9 // 2 + parameters
    assert panels.nbytes < packed.dequantize().nbytes / 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (2, 2, 1)}, "shape"),
        ({"stream": np.zeros(2, np.uint8)}, "codes"),
        ({"scale": np.ones(1, np.float32)}, "maps"),
        ({"scale": np.ones(2)}, "maps"),
        ({"zero_point": np.array([0.5, 0], np.float32)}, "zero_point"),
        ({"filter_group": np.array([0, 7])}, "maps"),
        ({"levels": np.zeros((2, 3), np.float32)}, "levels"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    fields = {
        "shape": (2, 2, 1, 1),
        "code_bits": 2,
        "stream": np.zeros(1, np.uint8),
        "filter_group": np.array([0, 1]),
        "tap_group": np.zeros((2, 1, 1), np.int64),
        "scale": np.ones(2, np.float32),
        "zero_point": np.zeros(2, np.float32),
    }
    assert PackedWeights(**fields).dequantize().tolist() == np.zeros((2, 2, 1, 1)).tolist()
    with pytest.raises(BadInput, match=message):
        PackedWeights(**{**fields, **change})
