"""Breakpoints: roots against mpmath, closed forms within their stated errors, rules by case."""

import mpmath
import numpy as np
import pytest

from refquant.quant.breakpoint import (
    CLOSED,
    GAUSSIAN,
    HALF,
    LAPLACIAN,
    ROOT,
    breakpoints,
    g,
    root,
)
from refquant.quant.elementary import exp, log, normal_density, normal_tail

mpmath.mp.dps = 40
ROOT2 = mpmath.sqrt(2)


def gaussian_g(p, m):
    return p - m * mpmath.erfc(p / ROOT2) - m * (m - 2 * p) * mpmath.npdf(p)


def laplacian_g(p, m):
    fall = mpmath.exp(-ROOT2 * p)
    return p - m * fall - m * (m - 2 * p) * fall / ROOT2


CASES = {
    "gaussian": (GAUSSIAN, gaussian_g, 1.35, 0.0121),
    "laplacian": (LAPLACIAN, laplacian_g, 0.981, 0.0209),
}


def test_the_gaussian_breakpoint_of_a_worked_example():
    # sigma = 2 and m = 8, that is 4 sigma: p = 2 * ln(0.86143114 * 4 + 0.607901097496529) = 2.7995
    x = np.array([[8.0, *[-2.0, 2.0] * 200]])
    x[0, 1:] *= np.sqrt((4 * 400 - 64 + 64 / 401) / (4 * 400))  # so that the variance is 4
    found = breakpoints(x.astype(np.float32), GAUSSIAN)
    assert found.case.tolist() == [[CLOSED]]
    assert found.p.item() == pytest.approx(2.7995, abs=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_roots_are_those_of_mpmath_to_1e_12(name):
    density, oracle, least, _ = CASES[name]
    rng = np.random.default_rng(0)
    m = np.concatenate((rng.uniform(least, 25, 120), 10 ** rng.uniform(np.log10(least), 7.2, 60)))
    for p, largest in zip(root(m, density), m, strict=True):
        exact = mpmath.findroot(lambda t: oracle(t, mpmath.mpf(float(largest))), float(p))  # noqa: B023
        assert abs(exact - mpmath.mpf(float(p))) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_there_is_a_root_from_the_stated_width_on(name):
    density, oracle, _, _ = CASES[name]
    for step, sign in ((1 + 1e-9, 1), (1 - 1e-9, -1)):
        m = mpmath.mpf(density.least) * step
        assert sign * oracle(m / 2, m) > 0


def test_the_oracle_would_see_an_error_of_2e_12():
    m = np.array([5.0])
    wrong = root(m, GAUSSIAN) + 2e-12
    exact = mpmath.findroot(lambda t: gaussian_g(t, mpmath.mpf(5)), float(wrong[0]))
    assert abs(exact - mpmath.mpf(float(wrong[0]))) > 1e-12


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_are_within_their_stated_error_and_not_within_less(name):
    density, _, _, stated = CASES[name]
    m = np.linspace(3, 10, 2001)
    worst = abs(density.fit(m) - root(m, density)).max()
    assert 0.97 * stated < worst <= stated


@pytest.mark.parametrize("name", CASES)
def test_the_root_minimises_the_expected_error(name):
    density = CASES[name][0]
    for m in (2.0, 4.0, 9.0):
        p = root(np.array([m]), density)[0]

        def error(t, m=m):  # equation (1) of the docstring
            inside = 1 - 2 * density.parts(np.array([t]))[0][0]
            return (m - t) ** 2 + m * (2 * t - m) * inside

        near = [error(p + step) for step in (-1e-3, 0.0, 1e-3)]
        assert near[1] < near[0]
        assert near[1] < near[2]


def test_no_root_gives_half_of_the_maximum():
    assert g(np.array([0.5]), np.array([1.0]), GAUSSIAN)[0] < 0  # at m/2, so none below
    x = np.array([[1.0, -1.0, 1.0, -1.0]], np.float32)  # m = 0.866 sigma
    found = breakpoints(x, GAUSSIAN)
    assert (found.case.item(), found.p.item()) == (HALF, 0.5)


@pytest.mark.parametrize("x", [[0.7], [0.3, 0.3, 0.3], [0.0, 0.0]])
def test_one_weight_or_no_spread_gives_half_of_the_maximum(x):
    found = breakpoints(np.array([x], np.float32), LAPLACIAN)
    assert (found.case.item(), found.p.item()) == (HALF, np.float32(max(x)).item() / 2)


def test_outside_of_three_to_ten_sigma_the_root_takes_the_closed_form_s_place():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 1000)).astype(np.float32)
    for largest, case in ((2.9, ROOT), (5.0, CLOSED), (9.5, CLOSED), (25.0, ROOT)):
        y = np.clip(x, -2.0, 2.0)
        y[0, 0] = largest * y.std(ddof=1)
        m = np.abs(y).max() / y.std(ddof=1)
        found = breakpoints(y, GAUSSIAN)
        assert found.case.item() == (CLOSED if 3 <= m <= 10 else ROOT)
        assert found.case.item() == case
        if case == ROOT:
            sigma = y.astype(np.float64).std(ddof=1)
            assert found.p.item() / sigma == pytest.approx(root(np.array([m]), GAUSSIAN)[0], 1e-6)
    assert breakpoints(y, GAUSSIAN, True).case.item() == ROOT


def tail_of(x):
    return normal_tail(x, normal_density(x))


def test_elementary_functions_keep_their_stated_errors():
    rng = np.random.default_rng(2)
    below, above = rng.uniform(-700, 0, 300), 10 ** rng.uniform(-300, 300, 300)
    tails = np.concatenate((rng.uniform(0, 3.2, 200), rng.uniform(3, 32, 100)))
    for ours, theirs, x, stated in (
        (exp, mpmath.exp, below, 1e-15),
        (log, mpmath.log, above, 1e-15),
        (
            lambda x: normal_tail(x, normal_density(x)),
            lambda t: mpmath.erfc(t / ROOT2) / 2,
            tails,
            1e-12,
        ),
        (normal_density, mpmath.npdf, tails, 1e-13),
    ):
        for value, at in zip(ours(x), x, strict=True):
            exact = theirs(mpmath.mpf(float(at)))
            assert abs(mpmath.mpf(float(value)) / exact - 1) < stated
