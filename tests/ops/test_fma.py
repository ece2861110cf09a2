"""fma_ref against the C library's fmaf, and worked by hand."""

import ctypes
import ctypes.util

import numpy as np
import pytest
from arrays_of_interest import SPECIAL, any_float32, same_bits

from refquant.ops.fma import fma_ref


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_one_rounding_of_a_worked_example():
    # (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24. Minus 1: 2^-11 + 2^-24, which float32 holds exactly. A
    # product that is rounded first is a tie and loses the 2^-24.
    x = f32(1 + 2**-12)
    assert fma_ref(x, x, f32(-1)).item() == 2**-11 + 2**-24
    assert (x * x + f32(-1)).item() == 2**-11


def test_rounding_twice_is_avoided():
    # x * w = 2^-24 * (1 - 2^-30), so the sum lies just below the middle between 1 + 2^-23 and
    # 1 + 2^-22. float64 rounds it to the middle, and from there float32 would go up, to the even.
    x, w, acc = f32(2**-24 * (1 + 2**-15)), f32(1 - 2**-15), f32(1 + 2**-23)
    assert fma_ref(x, w, acc).item() == 1 + 2**-23
    assert np.float32(x.item() * w.item() + acc.item()) == 1 + 2**-22


@pytest.fixture(scope="module")
def fmaf():
    name = ctypes.util.find_library("m")
    if name is None:
        pytest.skip("no C mathematics library to compare with")
    function = ctypes.CDLL(name).fmaf
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    return lambda *xs: np.array([function(*map(float, t)) for t in zip(*xs, strict=True)], "f4")


@pytest.mark.parametrize("kind", ["any bits", "cancellation", "special"])
def test_equals_the_c_library(fmaf, kind):
    if kind == "special":
        x, w, acc = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL, SPECIAL))
    else:
        x, w, acc = (any_float32(30_000, seed) for seed in (1, 2, 3))
    if kind == "cancellation":
        steps = np.random.default_rng(4).integers(-4, 5, x.size)
        with np.errstate(all="ignore"):
            acc = (-(x.astype(np.float64) * w) * (1 + steps * 2.0**-23)).astype(np.float32)
    assert same_bits(fma_ref(x, w, acc), fmaf(x, w, acc))


def test_two_roundings_would_be_noticed(fmaf):
    x, w = (np.random.default_rng(s).standard_normal(30_000, dtype=np.float32) for s in (1, 2))
    acc = (-x * w).astype(np.float32)
    assert not same_bits(x * w + acc, fmaf(x, w, acc))
