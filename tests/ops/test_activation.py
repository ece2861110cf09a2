"""Activations: worked values, special values, fast equals ref, error against float64."""

import numpy as np
import pytest
from arrays_of_interest import SPECIAL, any_float32, same_bits

from refquant.engine.fast import FAST_ACTIVATIONS
from refquant.ops.activation import ACTIVATIONS, exp_ref

NAMES = list(ACTIVATIONS)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_values_of_a_worked_example():
    x = f32(0.0, 2.0, -10.0)
    # silu(0) = 0 / (1 + 1); leaky is exact but for 0.1, which float32 holds as 0.10000000149.
    assert ACTIVATIONS["silu"].ref(x)[0] == 0
    assert ACTIVATIONS["sigmoid"].ref(x)[0] == 0.5
    assert ACTIVATIONS["leaky"].ref(x).tolist() == [0.0, 2.0, -1.0]


def test_exp_of_multiples_of_ln2_scales_by_powers_of_two():
    assert exp_ref(f32(0.0)).item() == 1.0
    assert exp_ref(f32(89.0)).item() == np.inf
    assert exp_ref(f32(-104.0)).item() == 0.0
    assert 0 < exp_ref(f32(-103.0)).item() < 2**-126  # a subnormal, kept


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("silu", np.inf, np.inf),
        ("silu", -np.inf, -0.0),
        ("silu", -0.0, -0.0),
        ("silu", -1e30, -0.0),
        ("silu", -88.73, -0.0),
        ("sigmoid", np.inf, 1.0),
        ("sigmoid", -np.inf, 0.0),
        ("sigmoid", -88.73, 0.0),
        ("leaky", -np.inf, -np.inf),
        ("leaky", -0.0, -0.0),
    ],
)
def test_special_values_are_those_of_the_docstring(name, x, y):
    assert same_bits(ACTIVATIONS[name].ref(f32(x)), f32(y))


@pytest.mark.parametrize("name", ["silu", "sigmoid", "leaky"])
@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00001, 0x7F800001])
def test_nan_becomes_the_canonical_nan(name, bits):
    x = np.array([bits], np.uint32).view(np.float32)
    for y in (ACTIVATIONS[name].ref(x), FAST_ACTIVATIONS[name](x)):
        assert y.view(np.uint32).item() == 0x7FC00000


@pytest.mark.parametrize("name", NAMES)
def test_fast_equals_ref_bit_for_bit(name):
    dense = np.linspace(-110, 110, 100_001, dtype=np.float32)
    x = np.concatenate([any_float32(100_000, 5), dense, SPECIAL])
    with np.errstate(invalid="ignore"):
        assert same_bits(FAST_ACTIVATIONS[name](x), ACTIVATIONS[name].ref(x))


@pytest.mark.parametrize("name", ["silu", "sigmoid"])
def test_error_is_at_most_two_and_a_half_ulp_where_the_docstring_promises_it(name):
    # 2.5: half an ulp each for exp's last addition, 1 + exp and the division; one for the rest
    # of exp, which the smaller half of a binade can double.
    x = np.linspace(-88.72, 110, 400_001, dtype=np.float32)
    exact = ACTIVATIONS[name].math(x.astype(np.float64))
    normal = abs(exact) >= np.finfo(np.float32).tiny
    ulp = np.spacing(abs(exact[normal]).astype(np.float32)).astype(np.float64)
    error = abs(ACTIVATIONS[name].ref(x)[normal] - exact[normal]) / ulp
    assert error.max() <= 2.5
    assert error.max() > 0.5  # the measure can see an error at all


def test_a_flipped_bit_is_noticed():
    y = ACTIVATIONS["silu"].ref(f32(0.5, 1.5))
    wrong = y.copy()
    wrong.view(np.uint32)[1] ^= 1
    assert not same_bits(wrong, y)
