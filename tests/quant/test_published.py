"""The published equations as they are printed, in float64, against what the schemes decode to.

r a weight of a group, k bits, range [beta, alpha]; s multiplies here, scale = 1 / s divides there.
Ties and the float32 of stored parameters may differ: weights are random, and the tolerance is what
rounding scale, breakpoint and maximum to float32 can move a level, 2**-23 of the largest magnitude
per operation, three of them.
"""

import numpy as np
import pytest

from refquant.quant.schemes import find_scheme

BITS = (2, 3, 4, 8)
X = (np.random.default_rng(3).standard_t(4, size=(40, 300)) * 0.05).astype(np.float32)


def affine(r, k):
    """Baghbanbashi et al. 2023: s = (2^k - 1) / (alpha - beta), z = -round(beta*s) - 2^(k-1)."""
    beta, alpha = r.min(), r.max()
    s = (2**k - 1) / (alpha - beta)
    z = -np.round(beta * s) - 2 ** (k - 1)
    q = np.clip(np.round(r * s + z), -(2 ** (k - 1)), 2 ** (k - 1) - 1)
    return (q - z) / s


def symmetric(r, k):
    """The same: s = (2^(k-1) - 1) / alpha, alpha = max|r|."""
    s = (2 ** (k - 1) - 1) / abs(r).max()
    return np.clip(np.round(r * s), -(2 ** (k - 1)), 2 ** (k - 1) - 1) / s


def piecewise(r, k):
    """The same: centre symmetric, k bits; tails affine, k - 1; p of Fang et al. 2020."""
    m, sigma = abs(r).max(), r.std(ddof=1)
    assert 3 <= m / sigma <= 10  # where the closed form holds
    p = np.log(0.86143114 * m / sigma + 0.607901097496529) * sigma
    centre, tail = (2 ** (k - 1) - 1) / p, (2 ** (k - 1) - 1) / (m - p)
    outer = np.sign(r) * (p + np.round((abs(r) - p) * tail) / tail)
    return np.where(abs(r) < p, np.round(r * centre) / centre, outer)


PUBLISHED = {"affine:minmax": affine, "symmetric": symmetric, "pwlq": piecewise}


def test_equations_of_a_worked_example():
    # k = 4, range [-1, 14]: s = 1, z = 1 - 8 = -7, and 2.75 -> round(-4.25) = -4 -> 3
    r = np.array([-1.0, 0.2, 2.75, 14.0])
    assert affine(r, 4).tolist() == [-1.0, 0.0, 3.0, 14.0]
    assert symmetric(np.array([-7.0, 0.4, 3.2]), 4).tolist() == [-7.0, 0.0, 3.0]


def with_closed_form(x):
    """The rows whose maximum lies at 3 to 10 sigma."""
    exact = x.astype(np.float64)
    m = abs(exact).max(axis=1) / exact.std(axis=1, ddof=1)
    return x[(m > 3) & (m < 10)]


def difference(name, x, bits, equation):
    """The largest difference, in units of the largest magnitude of its row."""
    scheme = find_scheme(name)
    params, codes = scheme.encode(x, bits)
    decoded = scheme.decode(codes, params, bits)
    exact = x.astype(np.float64)
    rows = np.stack([equation(row, bits) for row in exact])
    return (abs(decoded - rows) / abs(exact).max(axis=1, keepdims=True)).max()


@pytest.mark.parametrize("name", PUBLISHED)
def test_schemes_decode_to_what_the_published_equations_give(name):
    x = with_closed_form(X)
    assert len(x) > 20
    for bits in BITS:
        assert difference(name, x, bits, PUBLISHED[name]) <= 3 * 2.0**-23


def test_other_schemes_do_not():
    x = with_closed_form(X)
    for name, equation in (("symmetric", affine), ("affine", symmetric), ("pwlq-code", piecewise)):
        assert difference(name, x, 4, equation) > 1e-3
