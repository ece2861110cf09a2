"""Convolution: worked by hand, the order of summation, loops against ref, ref against math."""

import numpy as np
import pytest
from arrays_of_interest import same_bits

from refquant.engine.loops import conv_loops
from refquant.ops.conv import channels_per_block, conv_math, conv_ref
from refquant.ops.conv_loops import conv_image
from refquant.ops.fma import fma_ref

KERNELS = [conv_ref, conv_loops]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("conv", [*KERNELS, conv_math])
def test_outputs_of_a_worked_example(conv):
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)  # rows 1 2 3, 4 5 6, 7 8 9
    weight = np.array([[[[1, 2], [3, 4]]]], np.float32)
    # Upper left window: 1*1 + 2*2 + 4*3 + 5*4 = 37; not flipped (that would give 1*4 + ... = 23).
    y = conv(x, weight, np.array([0.5], np.float32))
    assert y.tolist() == [[[[37.5, 47.5], [67.5, 77.5]]]]


@pytest.mark.parametrize("conv", [*KERNELS, conv_math])
def test_padding_counts_as_zero_and_stride_skips(conv):
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    y = conv(x, np.ones((1, 1, 3, 3), np.float32), stride=2, padding=1)
    assert y.tolist() == [[[[1 + 2 + 4 + 5, 2 + 3 + 5 + 6], [4 + 5 + 7 + 8, 5 + 6 + 8 + 9]]]]


@pytest.mark.parametrize("channels", [3, 8, 24, 130])
@pytest.mark.parametrize("size", [1, 3])
def test_the_order_of_summation_is_the_contract(channels, size):
    """The chain of numerics, written once more as scalars: blocks, 16 channels, r, s, channel."""
    x, weight = normal(1, 1, channels, size, size), normal(2, 1, channels, size, size)
    bias = normal(3, 1)
    total = bias[0]
    block = 128 if size == 1 else 16
    for k0 in range(0, channels, block):
        acc = np.float32(0)
        for c0 in range(k0, min(k0 + block, channels), 16):
            for r in range(size):
                for s in range(size):
                    for c in range(c0, min(c0 + 16, channels)):
                        acc = fma_ref(x[0, c, r, s], weight[0, c, r, s], acc)
        total = np.float32(total + acc)
    for conv in KERNELS:
        assert conv(x, weight, bias).item() == total


def test_another_order_of_summation_is_noticed():
    x, weight = normal(1, 1, 130, 5, 5), normal(2, 8, 130, 3, 3)
    other = conv_ref(x[:, ::-1], weight[:, ::-1])  # the same sum, channels backwards
    assert not same_bits(other, conv_ref(x, weight))


@pytest.mark.parametrize("conv", KERNELS)
def test_the_sign_of_a_zero_result_is_defined(conv):
    # -2^-149 * 2^-149 underflows: acc = -0.0, and -0.0 + -0.0 = -0.0. One channel that does not
    # exist, multiplied by zero after it, would make acc +0.0.
    x, weight = np.full((1, 1, 1, 1), -1e-45, np.float32), np.full((1, 1, 1, 1), 1e-45, np.float32)
    y = conv(x, weight, np.array([-0.0], np.float32))
    assert same_bits(y, np.full((1, 1, 1, 1), -0.0, np.float32))
    padded = [np.pad(a, ((0, 0), (0, 1), (0, 0), (0, 0))) for a in (x, weight)]
    assert same_bits(conv(*padded, np.array([-0.0], np.float32)), np.zeros((1, 1, 1, 1), "f4"))


GEOMETRIES = [
    (c, f, kernel, stride, padding, h, w)
    for kernel in (1, 2, 3, 4, 5, 6)
    for c, f, stride, padding, h, w in (
        (1, 1, 1, 0, 7, 6),
        (3, 8, 2, 2, 9, 11),
        (17, 5, 1, kernel // 2, 8, 13),
        (40, 18, 2, 1, 7, 7),
    )
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_loops_equal_ref_bit_for_bit(geometry):
    c, f, kernel, stride, padding, h, w = geometry
    x, weight, bias = normal(1, 2, c, h, w), normal(2, f, c, kernel, kernel), normal(3, f)
    options = {"stride": stride, "padding": padding, "activation": "silu"}
    ref = conv_ref(x, weight, bias, **options)
    assert same_bits(conv_loops(x, weight, bias, **options), ref)


def test_infinities_and_nan_pass_through():
    x, weight = normal(1, 1, 20, 4, 4), normal(2, 3, 20, 3, 3)
    x[0, 3, 1, 1], x[0, 5, 2, 2] = np.inf, np.nan
    assert same_bits(conv_loops(x, weight), conv_ref(x, weight))


@pytest.mark.parametrize("channels", [3, 64, 200])
@pytest.mark.parametrize("kernel", [1, 3])
def test_error_is_within_the_bound_of_the_docstring(channels, kernel):
    x, weight, bias = (
        normal(1, 1, channels, 9, 9),
        normal(2, 6, channels, kernel, kernel),
        normal(3, 6),
    )
    n = channels * kernel * kernel
    sizes = conv_math(abs(x), abs(weight), abs(bias))
    bound = (n + 1) * 2.0**-24 * sizes + n * 2.0**-150
    exact = conv_math(x, weight, bias)
    assert np.all(abs(conv_ref(x, weight, bias) - exact) <= bound)
    one_channel_lost = conv_ref(x[:, 1:], weight[:, 1:], bias)
    assert not np.all(abs(one_channel_lost - exact) <= bound)


def test_a_block_is_128_channels_only_for_a_1x1_kernel():
    assert channels_per_block((8, 256, 1, 1)) == 128
    assert channels_per_block((8, 256, 3, 3)) == 16
    assert channels_per_block((8, 256, 1, 3)) == 16


def test_the_readable_loops_need_no_compiler():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 3, 2), dtype=np.float32)  # (H, W, C)
    weight = rng.standard_normal((2, 2, 2, 3), dtype=np.float32)  # (C, R, S, F)
    bias, out = np.ones(3, np.float32), np.empty((2, 2, 3), np.float32)
    conv_image(x, weight, bias, 1, 16, out)
    expected = conv_ref(x.transpose(2, 0, 1)[None], weight.transpose(3, 0, 1, 2), bias)
    assert same_bits(out.transpose(2, 0, 1)[None], expected)
