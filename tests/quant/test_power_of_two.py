"""Power-of-two quantization: the worked example, the nearest power, the levels that vanish."""

import numpy as np

from refquant.quant.power_of_two import POWER_OF_TWO, nearest_exponent


def test_codes_of_a_worked_example():
    # bits = 3: H = 3, E = 0 since 0.75 <= 1 < 1.5, levels 0, 1/4, 1/2, 1
    x = np.array([[1.0, -0.75, 0.74, 0.375, 0.374, -0.125, 0.124, 0.0, 1.4]], np.float32)
    params, codes = POWER_OF_TWO.encode(x, 3)
    assert params["exponent"].item() == 0
    assert codes.tolist() == [[6, 0, 5, 5, 4, 2, 3, 3, 6]]
    decoded = POWER_OF_TWO.decode(codes, params, 3)
    assert decoded.tolist() == [[1.0, -1.0, 0.5, 0.5, 0.25, -0.25, 0.0, 0.0, 1.0]]


def test_the_exponent_is_that_of_the_nearest_power():
    x = np.geomspace(1e-30, 1e30, 5001)
    e = nearest_exponent(x)
    distance = abs(x - 2.0**e)
    assert (distance <= abs(x - 2.0 ** (e - 1))).all()
    assert (distance <= abs(x - 2.0 ** (e + 1))).all()


def test_two_bits_are_three_levels():
    x = np.random.default_rng(0).standard_normal((1, 500)).astype(np.float32)
    params, codes = POWER_OF_TWO.encode(x, 2)
    assert np.unique(POWER_OF_TWO.decode(codes, params, 2)).size == 3


def test_levels_below_the_smallest_float32_decode_to_zero():
    x = np.array([[2.0**-149, -(2.0**-149), 0.0]], np.float32)
    params, codes = POWER_OF_TWO.encode(x, 4)
    assert POWER_OF_TWO.decode(codes, params, 4).tolist() == x.tolist()
    every = np.arange(15, dtype=np.uint8)[None]
    assert np.unique(POWER_OF_TWO.decode(every, params, 4)).tolist() == [
        -(2.0**-149),
        0,
        2.0**-149,
    ]
