"""Bias correction: mean and spread of a group come back, at a price that is counted."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.quant.schemes import SCHEMES, find_scheme
from refquant.quant.tensor import quantize


def test_a_worked_example():
    # symmetric, 2 bits: scale 1, codes of (-1, -0.4, 0.4, 0.8) decode to (-1, 0, 0, 1).
    # deviations: sqrt(1.95/3) and sqrt(2/3), so a = sqrt(0.975) = 0.98742; means: -0.05 and 0
    x = np.array([[-1.0, -0.4, 0.4, 0.8]], np.float32)
    scheme = find_scheme("symmetric+bc")
    params, codes = scheme.encode(x, 2)
    assert params["scale"].item() == pytest.approx(0.98742, abs=1e-5)
    assert params["offset"].item() == pytest.approx(-0.05, abs=1e-7)
    expected = [-1.03742, -0.05, -0.05, 0.93742]
    assert scheme.decode(codes, params, 2)[0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", SCHEMES)
def test_means_come_back_and_spreads_where_a_parameter_can_carry_them(name):
    x = np.random.default_rng(0).standard_normal((10, 400)).astype(np.float32) + np.float32(0.1)
    plain, scheme = find_scheme(name), find_scheme(f"{name}+bc")
    params, codes = scheme.encode(x, 3)
    x_hat = scheme.decode(codes, params, 3)
    before = plain.decode(*plain.encode(x, 3)[::-1], 3)
    means = [a.astype(np.float64).mean(axis=1) for a in (x, x_hat, before)]
    assert abs(means[1] - means[0]).max() < 1e-6
    if name != "lloyd-max":  # whose levels are means: there is nothing to correct
        assert abs(means[2] - means[0]).max() > 1e-4
    if plain.linear:
        spreads = [a.astype(np.float64).std(axis=1, ddof=1) for a in (x, x_hat)]
        assert spreads[1] == pytest.approx(spreads[0], rel=1e-5)


def test_codes_are_those_of_the_scheme_itself():
    x = np.random.default_rng(1).standard_normal((5, 100)).astype(np.float32)
    assert (find_scheme("pwlq+bc").encode(x, 4)[1] == find_scheme("pwlq").encode(x, 4)[1]).all()


def test_the_offset_costs_four_bytes_per_group():
    w = np.random.default_rng(2).standard_normal((6, 50, 1, 1)).astype(np.float32)
    plain, corrected = quantize(w), quantize(w, scheme="affine+bc")
    assert corrected.nbytes == plain.nbytes + 4 * 6
    assert corrected.rules.nominal_params(4) == plain.rules.nominal_params(4) + 1


def test_a_group_that_decodes_to_one_number_gets_its_mean_only():
    x = np.array([[0.1, 0.2, -0.1, 1e3], [0.3, 0.3, 0.3, 0.3]], np.float32)
    scheme = find_scheme("power-of-two+bc")
    params, codes = scheme.encode(x, 2)
    assert scheme.decode(codes, params, 2)[1].tolist() == pytest.approx([0.3] * 4, rel=1e-6)


def test_without_the_weights_there_is_no_bound():
    w = np.random.default_rng(3).standard_normal((2, 9, 1, 1)).astype(np.float32)
    assert np.isinf(quantize(w, scheme="affine+bc").error_bound()).all()


def test_correcting_twice_is_refused():
    with pytest.raises(BadInput, match=r"'affine\+bc\+bc': is corrected twice"):
        find_scheme("affine+bc+bc")
