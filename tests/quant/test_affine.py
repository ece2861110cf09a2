"""Affine quantization: the worked example, the proof's steps, the cases of the docstring."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.quant.affine import AFFINE
from refquant.quant.schemes import find_scheme

MINMAX = find_scheme("affine:minmax")


def rows(*values):
    return np.array([values], np.float32)


def test_codes_of_a_worked_example():
    x = rows(-1.0, 0.0, 0.5, 1.5, 2.75, 14.0)  # range 15, so scale 1, zero_point 1
    params, codes = AFFINE.encode(x, 4)
    assert (params["scale"].item(), params["zero_point"].item()) == (1.0, 1)
    assert codes.tolist() == [[0, 1, 1, 3, 4, 15]]  # 0.5 and 1.5 are ties: to even
    assert AFFINE.decode(codes, params, 4).tolist() == [[-1.0, 0.0, 0.0, 2.0, 3.0, 14.0]]


def test_minmax_of_a_worked_example():
    x = rows(10.0, 11.2, 25.0)  # range 15 from 10: scale 1, zero point -10, outside of the codes
    params, codes = MINMAX.encode(x, 4)
    assert (params["scale"].item(), params["zero_point"].item()) == (1.0, -10)
    assert params["zero_point"].dtype == np.int32
    assert codes.tolist() == [[0, 1, 15]]
    assert MINMAX.decode(codes, params, 4).tolist() == [[10.0, 11.0, 25.0]]


def test_default_range_includes_zero_on_a_one_signed_row():
    params, codes = AFFINE.encode(rows(10.0, 25.0), 4)
    assert params["zero_point"].item() == 0
    assert AFFINE.decode(np.zeros_like(codes), params, 4).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("value", [0.37, -1.5, 2.0**126, 2.0**-149, -(2.0**-130)])
def test_minmax_decodes_a_constant_row_exactly(value):
    x = rows(value, value, value)
    params, codes = MINMAX.encode(x, 4)
    assert MINMAX.decode(codes, params, 4).tolist() == x.tolist()


def test_scale_is_the_smallest_float32_that_covers_the_range():
    x = np.random.default_rng(0).standard_normal((500, 7)).astype(np.float32)
    params = AFFINE.choose_params(x, 4)
    lo = np.minimum(x.min(axis=1), 0).astype(np.float64)
    hi = np.maximum(x.max(axis=1), 0).astype(np.float64)
    scale = params["scale"][:, 0]
    assert (15 * scale.astype(np.float64) >= hi - lo).all()
    smaller = np.nextafter(scale, np.float32(0)).astype(np.float64)
    assert (15 * smaller < hi - lo).all()


def test_no_weight_is_clipped_by_rounding():
    x = np.random.default_rng(1).standard_normal((2000, 9)).astype(np.float32)
    for bits in (2, 3, 4, 8):
        params = AFFINE.choose_params(x, bits)
        q = np.rint(x / params["scale"].astype(np.float64)) + params["zero_point"]
        assert q.min() >= 0
        over = np.maximum(q - (2**bits - 1), 0)
        assert over.max() <= 1  # a tie at the upper end at most, half a step away


def test_codes_are_chosen_against_a_float16_scale_as_stored():
    x = np.random.default_rng(2).standard_normal((3, 1000)).astype(np.float32)
    params, codes = AFFINE.encode(x, 8, np.float16)
    assert params["scale"].dtype == np.float16
    q = np.rint(x / params["scale"].astype(np.float64)) + params["zero_point"]
    assert (codes == np.clip(q, 0, 255)).all()
    wide, _ = AFFINE.encode(x, 8)
    q = np.rint(x / wide["scale"].astype(np.float64)) + wide["zero_point"]
    assert (codes != np.clip(q, 0, 255)).any()  # the codes of a float32 scale are others


def test_a_scale_too_large_for_float16_is_refused():
    with pytest.raises(BadInput, match="does not fit float16: store parameters as float32"):
        AFFINE.encode(rows(0.0, 1e8), 4, np.float16)


def test_clipped_weights_count_in_the_bound():
    percentile = find_scheme("affine:percentile")
    x = np.ones((1, 4000), np.float32)
    x[0, 0], x[0, 1] = 100.0, -100.0
    params, codes = percentile.encode(x, 4)
    error = abs(percentile.decode(codes, params, 4) - x).max()
    assert error > 98
    assert percentile.error_bound(x, params, 4).item() >= error
    assert percentile.error_bound(None, params, 4).item() < 1


def test_percentile_leaves_out_one_weight_in_two_thousand_on_either_side():
    x = np.arange(-1000.0, 1000.0, dtype=np.float32)[None]  # 2000 weights: r = 1
    params = find_scheme("affine:percentile").choose_params(x, 8)
    full = AFFINE.choose_params(x[:, 1:-1], 8)
    assert params["scale"] == full["scale"]
    assert find_scheme("affine:percentile").choose_params(x[:, 1:], 8)["scale"] > full["scale"]
