"""Pooling, routing, norm and the head's decode; and that the catalogue is complete."""

import numpy as np
import pytest
from arrays_of_interest import SPECIAL, same_bits

from refquant.engine.fast import FAST
from refquant.ops.catalogue import OPS
from refquant.ops.head import decode_math, decode_ref
from refquant.ops.norm import batch_norm_math, batch_norm_ref
from refquant.ops.pool import max_pool_fast, max_pool_ref
from refquant.ops.routing import (
    add,
    add_channel,
    concat,
    multiply_channel,
    space_to_depth,
    upsample,
)


def image(*rows: list[float]) -> np.ndarray:
    return np.array([[rows]], np.float32)


@pytest.mark.parametrize("pool", [max_pool_ref, max_pool_fast])
def test_pooling_of_a_worked_example_ignores_padding(pool):
    x = image([-1, -2, -3], [-4, -5, -6], [-7, -8, -9])
    y = pool(x, kernel=3, stride=1, padding=1)
    assert y.tolist() == [[[[-1, -1, -2], [-1, -1, -2], [-4, -4, -5]]]]  # zeros would win


@pytest.mark.parametrize("pool", [max_pool_ref, max_pool_fast])
def test_a_nan_under_the_window_gives_nan(pool):
    x = image([np.nan, 1, 2, 3], [0, 1, 2, np.nan])
    y = pool(x, kernel=2, stride=1, padding=0)
    assert np.isnan(y).tolist() == [[[[True, False, True]]]]


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (5, 1), (9, 1), (13, 1), (3, 2)])
def test_fast_pooling_equals_ref(kernel, stride):
    rng = np.random.default_rng(1)
    x = rng.choice(SPECIAL, size=(2, 3, 15, 14)).astype(np.float32)
    options = {"kernel": kernel, "stride": stride, "padding": kernel // 2 if stride == 1 else 0}
    assert same_bits(max_pool_fast(x, **options), max_pool_ref(x, **options))


def test_pooling_with_5_twice_is_pooling_with_9():
    x = np.random.default_rng(1).standard_normal((1, 2, 20, 20), dtype=np.float32)
    once = max_pool_ref(x, kernel=5, stride=1, padding=2)
    twice = max_pool_ref(once, kernel=5, stride=1, padding=2)
    assert same_bits(twice, max_pool_ref(x, kernel=9, stride=1, padding=4))


def test_upsampling_repeats_each_pixel():
    assert upsample(image([1, 2]), scale=2).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


def test_space_to_depth_orders_even_even_odd_even_even_odd_odd_odd():
    x = image([1, 2], [3, 4])  # (row, column) parities: 1 = (0,0), 3 = (1,0), 2 = (0,1), 4 = (1,1)
    assert space_to_depth(x).ravel().tolist() == [1, 3, 2, 4]


def test_space_to_depth_keeps_the_channels_of_a_block_together():
    x = np.concatenate([image([1, 2], [3, 4]), image([5, 6], [7, 8])], axis=1)
    assert space_to_depth(x).ravel().tolist() == [1, 5, 3, 7, 2, 6, 4, 8]


def test_concat_keeps_the_order_of_its_inputs():
    assert concat(image([2]), image([1]), image([3])).ravel().tolist() == [2, 1, 3]


def test_add_sums_from_left_to_right():
    big, one = image([2.0**24]), image([1.0])
    assert add(big, one, one).item() == 2.0**24  # each 1 is lost to rounding
    assert add(one, one, big).item() == 2.0**24 + 2


def test_implicit_layers_act_per_channel():
    x = np.ones((1, 2, 1, 1), np.float32)
    values = np.array([2, 3], np.float32)
    assert add_channel(x, values).ravel().tolist() == [3, 4]
    assert multiply_channel(x, values).ravel().tolist() == [2, 3]


def test_batch_norm_of_a_worked_example():
    # scale = 3 / sqrt(3.999 + 0.001) = 1.5, shift = 1 - 2 * 1.5 = -2; 4 * 1.5 - 2 = 4.
    one = [np.array([v], np.float64) for v in (3, 1, 2, 3.999)]
    y = batch_norm_math(np.full((1, 1, 1, 1), 4.0), *one, eps=1e-3)
    assert abs(y.item() - 4) < 1e-12


def test_batch_norm_in_float32_is_within_two_roundings():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 5, 4, 4), dtype=np.float32)
    weight, bias, mean = rng.standard_normal((3, 5), dtype=np.float32)
    variance = rng.random(5, dtype=np.float32)
    exact = batch_norm_math(x, weight, bias, mean, variance, eps=1e-3)
    y = batch_norm_ref(x, weight, bias, mean, variance, eps=1e-3)
    scale = weight / np.sqrt(variance.astype(np.float64) + 1e-3)
    shift = bias - mean * scale
    sizes = abs(x * scale[:, None, None]) + abs(shift[:, None, None])
    # Scale, product, shift and sum are rounded once each: 3 roundings along either summand.
    bound = 3.01 * 2.0**-24 * sizes
    assert np.all(abs(y - exact) <= bound)
    assert not np.all(
        abs(batch_norm_ref(x, weight, bias, mean, variance, eps=1e-2) - exact) <= bound
    )


@pytest.mark.parametrize("decode", [decode_math, decode_ref])
def test_decode_of_a_worked_example(decode):
    # One level, one anchor 10 x 20, stride 8, a grid of 1 x 2, all logits 0: p = 0.5.
    # cx = (2*0.5 - 0.5 + column) * 8 = 4, 12; cy = 4; w = (2*0.5)^2 * 10 = 10, h = 20.
    raw = np.zeros((1, 6, 1, 2), np.float32)
    anchors = np.array([[[10, 20]]], np.float32)
    rows = decode(raw, anchors=anchors, strides=(8,))
    assert rows.tolist() == [[[4, 4, 10, 20, 0.5, 0.5], [12, 4, 10, 20, 0.5, 0.5]]]


def test_decode_orders_levels_then_anchors_then_rows_then_columns():
    raw = [np.zeros((1, 12, 2, 3), np.float32), np.zeros((1, 12, 1, 1), np.float32)]
    anchors = np.array([[[1, 1], [2, 2]], [[3, 3], [4, 4]]], np.float32)
    rows = decode_ref(*raw, anchors=anchors, strides=(8, 16))[0]
    assert rows[:, 2].tolist() == [1] * 6 + [2] * 6 + [3, 4]  # widths tell the anchors
    assert rows[:6, 0].tolist() == [4, 12, 20, 4, 12, 20]
    assert rows[:6, 1].tolist() == [4, 4, 4, 12, 12, 12]


EXAMPLES = {
    "conv": ((1, 2, 4, 4), {"weight": (3, 2, 1, 1), "bias": (3,)}, 1),
    "batch_norm": ((1, 2, 4, 4), dict.fromkeys(("weight", "bias", "mean", "variance"), (2,)), 1),
    "silu": ((1, 2, 4, 4), {}, 1),
    "leaky": ((1, 2, 4, 4), {}, 1),
    "sigmoid": ((1, 2, 4, 4), {}, 1),
    "max_pool": ((1, 2, 4, 4), {}, 1),
    "concat": ((1, 2, 4, 4), {}, 2),
    "upsample": ((1, 2, 4, 4), {}, 1),
    "space_to_depth": ((1, 2, 4, 4), {}, 1),
    "add": ((1, 2, 4, 4), {}, 2),
    "add_channel": ((1, 2, 4, 4), {"implicit": (2,)}, 1),
    "multiply_channel": ((1, 2, 4, 4), {"implicit": (2,)}, 1),
    "decode": ((1, 12, 4, 4), {"anchors": (1, 2, 2)}, 1),
}
VALUES = {"stride": 1, "padding": 0, "activation": "silu", "eps": 1e-3, "kernel": 2, "scale": 2}


@pytest.mark.parametrize("name", OPS)
def test_every_operation_has_three_forms_that_agree(name):
    op = OPS[name]
    shape, arrays, count = EXAMPLES[name]  # a new operation must come with an example
    assert set(arrays) == set(op.arrays)
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(shape, dtype=np.float32) for _ in range(count)]
    own = {key: rng.random(size, dtype=np.float32) for key, size in arrays.items()}
    options = {key: (8,) if key == "strides" else VALUES[key] for key in op.attributes}
    ref, fast = op.ref(*inputs, **own, **options), FAST[name](*inputs, **own, **options)
    exact = op.math(*(x.astype(np.float64) for x in inputs), **own, **options)
    assert ref.dtype == np.float32
    assert exact.dtype == np.float64
    assert same_bits(ref, fast)
    assert np.allclose(ref, exact, rtol=1e-5, atol=1e-6)  # a blunder check; bounds stand elsewhere
