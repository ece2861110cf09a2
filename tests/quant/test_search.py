"""The three-stage search: loops give the bits of the definition, and it finds what it should."""

import numpy as np
import pytest
from nasty import NASTY

from refquant.quant.piecewise import maximum_of, params_of
from refquant.quant.schemes import find_scheme
from refquant.quant.search import best_of, errors_ref, three_stage
from refquant.quant.search_loops import FORMS, breakpoint_errors, range_errors

ROWS = {name: w.reshape(len(w), -1) for name, w in NASTY.items()}


def test_stages_of_a_worked_example():
    seen = []

    def errors(t):
        seen.append(t[0].tolist())
        return abs(t - 437.0)

    assert three_stage(1, errors, 900).tolist() == [[437]]
    assert seen[0] == [100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert seen[1] == list(range(310, 500, 10))
    assert seen[2] == list(range(431, 450))


def test_the_last_candidate_of_the_first_stage_is_nine_tenths():
    # x on the centre's grid of p = 0.9, H = 7, and the maximum: no error at t = 900
    x = np.append(0.9 * np.arange(-7, 8) / 7, 1.0).astype(np.float32)[None]
    params = find_scheme("pwlq:search").choose_params(x, 4)
    assert params["breakpoint"].item() == np.float32(0.9)


def test_of_equal_errors_the_smallest_ratio_wins():
    assert best_of(np.array([[100, 200, 300]]), lambda t: np.zeros(t.shape)).tolist() == [[100]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_loops_for_breakpoints_give_the_bits_of_the_definition(form, bits):
    scheme = find_scheme(form)
    for x in ROWS.values():
        m = maximum_of(x, np.float32)
        candidates = [params_of(m.astype(np.float64) * t / 1000, m) for t in (1, 250, 437, 900)]
        p = np.concatenate([params["breakpoint"] for params in candidates], axis=1)
        exact = errors_ref(scheme.quantize, scheme.dequantize, x, candidates, bits)
        assert np.array_equal(breakpoint_errors(form, x, p, m, bits), exact)


@pytest.mark.parametrize("name", ["affine", "symmetric"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_loops_for_ranges_give_the_bits_of_the_definition(name, bits):
    scheme = find_scheme(name)
    for x in ROWS.values():
        candidates = [scheme.choose_params(x * np.float32(t), bits) for t in (0.01, 0.5, 1.0)]
        scale = np.concatenate([params["scale"] for params in candidates], axis=1)
        if name == "affine":
            zero = np.concatenate([params["zero_point"] for params in candidates], axis=1)
            ends = (0, 2**bits - 1)
        else:
            zero, ends = np.zeros_like(scale), (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        exact = errors_ref(scheme.quantize, scheme.dequantize, x, candidates, bits)
        assert np.array_equal(range_errors(x, scale, zero, *ends), exact)


def test_the_definition_would_see_a_form_taken_for_another():
    x = ROWS["normal"]
    m = maximum_of(x, np.float32)
    p = params_of(m.astype(np.float64) / 3, m)["breakpoint"]
    one, other = (breakpoint_errors(form, x, p, m, 4) for form in ("pwlq", "pwlq-code"))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "base", ["pwlq", "pwlq-eq3", "pwlq-code", "pwlq-overlap", "affine", "symmetric"]
)
def test_a_search_is_at_least_as_good_as_the_default_on_dense_rows(base):
    option = "search" if base.startswith("pwlq") else "mse"
    x = np.random.default_rng(0).standard_normal((20, 2000)).astype(np.float32)
    totals = []
    for name in (base, f"{base}:{option}"):
        scheme = find_scheme(name)
        params, codes = scheme.encode(x, 4)
        totals.append(float(((scheme.decode(codes, params, 4) - x.astype(np.float64)) ** 2).sum()))
    assert totals[1] < totals[0]
