"""Sums in order, and exp, log and the normal tail of IEEE operations: the same bits everywhere."""

import math

import mpmath
import numpy as np
import pytest

from refquant.quant import elementary
from refquant.quant.scheme import TILE
from refquant.quant.sums import mean_and_deviation, total, total_of_squares


def test_sums_of_a_worked_example():
    # 2**53 + 1 is a tie, to even, so the first 1 is lost and the second one is not
    x = np.array([[2.0**53, 1.0, -(2.0**53), 1.0], [1.0, 2.0, 3.0, 6.0]])
    assert total(x).tolist() == [[1.0], [12.0]]
    assert total_of_squares(x[1:], 3.0).tolist() == [[4.0 + 1.0 + 0.0 + 9.0]]
    mean, deviation = mean_and_deviation(x[1:])
    assert (mean.item(), deviation.item()) == (3.0, math.sqrt(14 / 3))


def in_order(values):
    """The sum from left to right."""
    result = 0.0
    for value in values:
        result += value
    return result


def test_sums_run_in_order_over_pieces_too():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, TILE + 77)) * 10.0 ** rng.uniform(-9, 9, (3, TILE + 77))
    x = x.astype(np.float32)  # of such magnitudes that every sum is rounded
    rows = x.astype(np.float64)
    assert total(x)[:, 0].tolist() == [in_order(row) for row in rows.tolist()]
    mean, _ = mean_and_deviation(x)
    squares = [in_order(row) for row in ((rows - mean) ** 2).tolist()]
    assert total_of_squares(x, mean)[:, 0].tolist() == squares
    backwards = [in_order(row[::-1]) for row in rows.tolist()]
    assert backwards != total(x)[:, 0].tolist()  # another order, other bits


def test_a_constant_row_and_one_weight_have_no_deviation():
    x = np.full((2, 7), 0.1, np.float32)
    assert mean_and_deviation(x)[1].tolist() == [[0.0], [0.0]]
    assert mean_and_deviation(x[:, :1])[1].tolist() == [[0.0], [0.0]]


def exp(x):
    """Equations (1) and (2) of elementary.py on one Python float."""
    n = round(x / math.log(2))
    r = (x - n * elementary.LN2_HI) - n * elementary.LN2_LO
    result = 1.0
    for i in range(elementary.EXP_TERMS, 0, -1):
        result = result * (r / i) + 1.0
    return math.ldexp(result, n)


def log(x):
    """Equations (3) and (4)."""
    f, n = math.frexp(x)
    if f < math.sqrt(0.5):
        f, n = 2 * f, n - 1
    s = (f - 1) / (f + 1)
    result = 0.0
    for i in range(elementary.LOG_TERMS, -1, -1):
        result = result * (s * s) + 1.0 / (2 * i + 1)
    return n * elementary.LN2_HI + (n * elementary.LN2_LO + 2 * s * result)


def density(x):
    """Equation (5)."""
    return exp(-x * x / 2) / math.sqrt(2 * math.pi)


def tail(x):
    """Equations (6) and (7)."""
    if x > 3.0:
        below = x
        for i in range(elementary.FRACTION_TERMS, 0, -1):
            below = x + i / below
        return density(x) / below
    result = 1.0
    for i in range(elementary.SERIES_TERMS, 0, -1):
        result = result * (x * x * (1.0 / (2 * i + 1))) + 1.0
    return 0.5 - density(x) * (x * result)


RNG = np.random.default_rng(1)
FUNCTIONS = {
    "exp": (elementary.exp, exp, mpmath.exp, RNG.uniform(-30, 0, 3000)),
    "log": (elementary.log, log, mpmath.log, 10 ** RNG.uniform(-3, 3, 3000)),
    "density": (elementary.normal_density, density, None, RNG.uniform(0, 8, 1000)),
    "tail": (
        lambda x: elementary.normal_tail(x, elementary.normal_density(x)),
        tail,
        None,
        RNG.uniform(0, 8, 1000),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_give_the_bits_of_the_equations_on_python_floats(name):
    function, equation, exact, x = FUNCTIONS[name]
    bits = [float(value) for value in function(x)]
    assert bits == [equation(value) for value in x.tolist()]
    if exact is not None:  # rounded once; ours are right too, but not always in the last bit
        rounded = [float(exact(value)) for value in x.tolist()]
        assert bits != rounded
        assert bits == pytest.approx(rounded, rel=1e-14, abs=1e-15)
