"""Codes against exact rational arithmetic: 100 000 random weights per scheme, no mismatch.

Every number of a row is a whole multiple of 2**-149, so fractions are quotients of integers, and
an oracle in integers is exact: Fraction itself checks the one rounding function that they share.
"""

from bisect import bisect_left, bisect_right
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from refquant.quant.schemes import SCHEMES, find_scheme

UNIT = 2**149
GROUPS, N = 100, 1000


def whole(array):
    """The numbers as integers, in units of 2**-149: exact for every float32."""
    return [[int(v * 2.0**75 * 2.0**74) for v in row] for row in array.astype(np.float64).tolist()]


def half_even(a, b):
    """round(a / b), ties to even, for integers a and b > 0."""
    quotient, rest = divmod(a, b)
    return quotient + (2 * rest > b or (2 * rest == b and quotient & 1))


def affine(x, params, bits):
    (s,), (z,) = params["scale"], params["zero_point"]
    return [min(max(half_even(v, s) + z, 0), 2**bits - 1) for v in x]


def symmetric(x, params, bits):
    (s,), H = params["scale"], 2 ** (bits - 1)
    return [min(max(half_even(v, s), -H), H - 1) + H for v in x]


def pieces(x, params, bits):
    """(weight, whether in the centre, p, m, j of the tails) of piecewise linear schemes."""
    (p,), (m,), H = params["breakpoint"], params["maximum"], 2 ** (bits - 1) - 1
    for v in x:
        if abs(v) < p:
            yield v, True, p, m, 0
        else:
            j = min(half_even((abs(v) - p) * H, m - p), H) if m > p else 0
            yield v, False, p, m, j


def pwlq(x, params, bits):
    L, H = 2 ** (bits - 1), 2 ** (bits - 1) - 1
    return [
        2 * L + half_even(v * H, p) if inside else (H - j if v < 0 else 3 * L + j)
        for v, inside, p, _, j in pieces(x, params, bits)
    ]


def pwlq_eq3(x, params, bits):
    L, H = 2 ** (bits - 1), 2 ** (bits - 1) - 1
    steps = [
        (v, half_even(abs(v) * H, p) if inside else L + j)
        for v, inside, p, _, j in pieces(x, params, bits)
    ]
    return [2 * L - 1 - step if v < 0 else 2 * L + step for v, step in steps]


def pwlq_code(x, params, bits):
    L, H, B = 2 ** (bits - 1), 2 ** (bits - 1) - 1, 2**bits - 1
    return [
        2 * L + min(max(half_even(v * B, 2 * p), -L), H)
        if inside
        else (H - j if v < 0 else 3 * L + j)
        for v, inside, p, _, j in pieces(x, params, bits)
    ]


def pwlq_overlap(x, params, bits):
    L, H = 2 ** (bits - 1), 2 ** (bits - 1) - 1
    return [
        L + half_even(v * H, p) if inside else 3 * L + min(max(half_even(v * H, m), -H), H)
        for v, inside, p, m, _ in pieces(x, params, bits)
    ]


def lloyd_max(x, params, bits):
    levels = params["levels"]
    borders = [a + b for a, b in pairwise(levels)]  # twice the midpoints
    return [bisect_left(borders, 2 * v) for v in x]


def power_of_two(x, params, bits):
    H, (E,) = 2 ** (bits - 1) - 1, params["exponent"]
    # Borders between zero and the levels: half of the lowest, then 3/4 of each next one.
    lowest = E - H + 1
    borders = [Fraction(UNIT) * Fraction(2) ** (lowest - 1)]
    borders += [Fraction(UNIT) * Fraction(2) ** (lowest + i) * Fraction(3, 4) for i in range(1, H)]
    return [H + (1 if v > 0 else -1) * bisect_right(borders, abs(v)) for v in x]


ORACLES = {
    "affine": affine,
    "affine:minmax": affine,
    "affine:mse": affine,
    "affine:percentile": affine,
    "symmetric": symmetric,
    "symmetric:mse": symmetric,
    "pwlq": pwlq,
    "pwlq-eq3": pwlq_eq3,
    "pwlq-code": pwlq_code,
    "pwlq-overlap": pwlq_overlap,
    "lloyd-max": lloyd_max,
    "power-of-two": power_of_two,
}


def random_rows(seed):
    """Rows of many shapes and magnitudes: normal, heavy-tailed, one-signed, on a coarse grid."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((GROUPS, N)) * 10.0 ** rng.uniform(-6, 3, (GROUPS, 1))
    x[20:40] **= 3
    x[40:50] = abs(x[40:50])
    x[50:70] = np.rint(rng.standard_normal((20, N)) * 8)  # many ties
    x[70:75] *= 1e-40
    x[75:80] = 1000 + np.rint(rng.standard_normal((5, N))) * 2.0**-14  # a few ulps apart
    return x.astype(np.float32)


def exact_params(params, group):
    """One group's parameters as integers in units of 2**-149; integers stay as they are."""
    return {
        name: whole(array[group : group + 1])[0]
        if np.issubdtype(array.dtype, np.floating)
        else [int(v) for v in array[group]]
        for name, array in params.items()
    }


def mismatches(name, codes, x, params, bits):
    oracle, count = ORACLES[name], 0
    for group, row in enumerate(whole(x)):
        expected = oracle(row, exact_params(params, group), bits)
        count += int((np.array(expected) != codes[group]).sum())
    return count


def test_rounding_of_a_worked_example():
    pairs = ((5, 2), (7, 2), (-5, 2), (-7, 2), (-1, 3), (8, 3), (0, 9))
    assert [half_even(a, b) for a, b in pairs] == [2, 4, -2, -4, 0, 3, 0]
    assert all(half_even(a, b) == round(Fraction(a, b)) for a, b in pairs)


@pytest.mark.parametrize("name", ORACLES)
def test_codes_of_100_000_weights_are_exact(name):
    scheme = find_scheme(name)
    for seed, bits in ((0, 3), (1, 4), (2, 8)):
        x = random_rows(seed)[seed::3]  # together GROUPS rows of N weights
        params, codes = scheme.encode(x, bits)
        assert mismatches(name, codes, x, params, bits) == 0


@pytest.mark.parametrize("name", [n for n in ORACLES if n != "power-of-two"])
def test_codes_are_exact_against_float16_parameters_as_stored(name):
    x = random_rows(5)[:70]
    x = x[(abs(x).max(axis=1) < 6e4) & (abs(x).max(axis=1) > 1e-2)]  # within float16
    assert len(x) > 30
    params, codes = find_scheme(name).encode(x, 4, np.float16)
    assert any(array.dtype == np.float16 for array in params.values())
    assert mismatches(name, codes, x, params, 4) == 0


def test_every_scheme_has_an_oracle():
    assert set(SCHEMES) <= set(ORACLES)


def test_the_oracle_sees_a_scale_that_is_off_by_a_thousandth():
    x = random_rows(0)[:10]
    scheme = find_scheme("affine")
    params, _ = scheme.encode(x, 4)
    other = {**params, "scale": params["scale"] * np.float32(1.001)}
    assert mismatches("affine", scheme.quantize(x, other, 4), x, params, 4) > 0


def test_the_oracle_sees_a_division_in_float32():
    x = random_rows(3)
    params, _ = find_scheme("affine").encode(x, 8)
    q = np.clip(np.rint(x / params["scale"]) + params["zero_point"], 0, 255)
    assert mismatches("affine", q.astype(np.uint8), x, params, 8) > 0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_parameters_of_affine_are_exact(bits):
    x = random_rows(4)
    params = find_scheme("affine").choose_params(x, bits)
    for group, row in enumerate(whole(x)):
        lo, hi = min(*row, 0), max(*row, 0)
        exact = exact_params(params, group)
        (s,), (z,) = exact["scale"], exact["zero_point"]
        below = whole(np.nextafter(params["scale"][group : group + 1], np.float32(0)))[0][0]
        assert (2**bits - 1) * below < hi - lo <= (2**bits - 1) * s
        assert z == half_even(-lo, s)
