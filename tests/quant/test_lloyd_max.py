"""Lloyd-Max: optimal where it says so, the loops' bits those of the definition."""

from itertools import combinations

import numpy as np
import pytest
from nasty import NASTY

from refquant.quant.lloyd_fit import fit_rows_ref
from refquant.quant.lloyd_loops import fit_rows
from refquant.quant.lloyd_max import LLOYD_MAX, is_optimal, quantize_ref
from refquant.quant.nearest_loops import count_below


def test_levels_of_a_worked_example():
    x = np.array([[0.0, 1.0, 1.5, 10.0, 20.0, 20.5]], np.float32)  # {0} {1, 1.5} {10} {20, 20.5}
    params, codes = LLOYD_MAX.encode(x, 2)
    assert params["levels"].tolist() == [[0.0, 1.25, 10.0, 20.25]]
    assert codes.tolist() == [[0, 1, 1, 2, 3, 3]]


def squared_error(x, levels):
    return float((np.min(abs(x[:, None] - levels[None]), axis=1) ** 2).sum())


@pytest.mark.parametrize("seed", range(5))
def test_levels_are_as_good_as_the_best_of_all_partitions(seed):
    x = np.sort(np.random.default_rng(seed).standard_normal(12).astype(np.float32))
    exact = x.astype(np.float64)
    best = min(
        sum(float(((part - part.mean()) ** 2).sum()) for part in np.split(exact, cuts))
        for cuts in combinations(range(1, 12), 3)
    )
    assert squared_error(exact, fit_rows(x[None], 4, True)[0]) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("K", [4, 8, 16, 64])
def test_loops_give_the_bits_of_the_definition(K):
    rng = np.random.default_rng(K)
    rows = [rng.standard_normal((2, n)).astype(np.float32) for n in (5, 17, 100, 700)]
    for x in (*rows, *(w.reshape(1, -1) for w in NASTY.values())):
        ordered = np.sort(x, axis=1)
        assert np.array_equal(fit_rows(ordered, K, True), fit_rows_ref(ordered, K, True))


def test_loops_give_the_bits_of_the_definition_of_long_rows():
    x = np.sort(np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32), axis=1)
    assert np.array_equal(fit_rows(x, 8, False), fit_rows_ref(x, 8, False))


def test_long_rows_come_close_to_the_optimum():
    x = np.sort(np.random.default_rng(1).laplace(size=(1, 20_000)).astype(np.float32), axis=1)
    local, optimal = (squared_error(x[0], fit_rows(x, 16, exact)[0]) for exact in (False, True))
    assert optimal <= local <= 1.001 * optimal


def test_one_outlier_does_not_spoil_the_levels_of_the_others():
    x = np.append(np.random.default_rng(2).standard_normal(50), 1e30).astype(np.float32)
    y = np.append(-x[-1:], x[:-1])
    for row in (x, y):
        levels = fit_rows(np.sort(row)[None], 8, True)[0]
        small = row[abs(row) < 1e20]
        assert squared_error(small, levels) < 0.1 * float((small**2).sum())


def test_it_is_called_optimal_only_where_the_exact_program_runs():
    assert is_optimal(2**14, 4)
    assert not is_optimal(2**14 + 1, 4)
    x = np.zeros((3, 2**14 + 1), np.float32)
    assert LLOYD_MAX.cases("lloyd-max", x, 4) == {"local": 3}
    assert LLOYD_MAX.cases("lloyd-max", x[:, 1:], 4) == {"optimal": 3}


def test_bisection_counts_as_comparison_does():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4, 300)).astype(np.float32)
    for bits in (2, 5, 8):
        params, codes = LLOYD_MAX.encode(x, bits)
        assert (codes == quantize_ref(x, params, bits)).all()
        shifted = count_below(x, params["levels"][:, 1:].astype(np.float64))
        assert (codes != shifted).any()


def test_a_weight_between_two_levels_goes_to_the_lower():
    levels = {"levels": np.array([[0.0, 1.0, 2.0, 4.0]], np.float32)}
    x = np.array([[0.5, 1.5, 3.0]], np.float32)
    assert LLOYD_MAX.quantize(x, levels, 2).tolist() == [[0, 1, 2]]
