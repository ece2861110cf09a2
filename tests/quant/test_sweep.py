"""Every scheme, option and width over all rows that the nasty arrays have in any granularity.

A scheme never sees a layer, so rows of equal length from all arrays and granularities are put into
one tensor: the full product, without its repetitions.
"""

from functools import cache

import numpy as np
import pytest
from nasty import NASTY

from refquant.quant.granularity import GRANULARITIES, find_granularity
from refquant.quant.scheme import BITS
from refquant.quant.schemes import SCHEMES, every_scheme, find_scheme
from refquant.quant.tensor import quantize

NAMES = [scheme.name for scheme in every_scheme()]
CORRECTED = [f"{name}+bc" for name in SCHEMES]
# These make no promise about zero.
ZERO_MOVES = ("affine:minmax", "lloyd-max")


def rows_by_length():
    """(G, N, 1, 1) arrays: all different rows of length N."""
    found = {}
    for w in NASTY.values():
        for name in (*GRANULARITIES, "axes:F,R"):
            rows = find_granularity(name).to_rows(w)
            found.setdefault(rows.shape[1], []).append(rows)
    return [np.unique(np.concatenate(r), axis=0)[:, :, None, None] for r in found.values()]


ROWS = rows_by_length()


@cache
def every_tensor(name):
    """(rows, tensor) of every length and width; encoded once for all tests."""
    return [(w[:, :, 0, 0], quantize(w, scheme=name, bits=bits)) for w in ROWS for bits in BITS]


@pytest.mark.parametrize("name", NAMES + CORRECTED)
def test_errors_are_within_the_bound(name):
    for x, tensor in every_tensor(name):
        error = abs(tensor.rows() - x.astype(np.float64))
        bound = tensor.rules.error_bound(x, tensor.params, tensor.bits)
        assert (error <= bound).all()


@pytest.mark.parametrize("name", [n for n in NAMES if ":mse" not in n and n != "lloyd-max"])
def test_errors_are_within_the_bound_that_a_file_alone_gives(name):
    for x, tensor in every_tensor(name):
        assert (abs(tensor.rows() - x.astype(np.float64)) <= tensor.error_bound()).all()


@pytest.mark.parametrize("name", [n for n in NAMES if "overlap" not in n])
def test_quantizing_decoded_values_again_changes_nothing(name):
    # Levels shared by two codes keep their value, not their code: p of pwlq and pwlq-eq3.
    for _, tensor in every_tensor(name):
        x_hat = tensor.rows()
        codes = tensor.rules.quantize(x_hat, tensor.params, tensor.bits)
        again = tensor.rules.dequantize(codes, tensor.params, tensor.bits)
        assert np.array_equal(again, x_hat)
        if not name.startswith(("pwlq", "lloyd-max", "power-of-two")):
            assert np.array_equal(codes, tensor.codes)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ZERO_MOVES])
def test_zero_is_decoded_exactly(name):
    for x, tensor in every_tensor(name):
        zero = np.zeros((len(x), 1), np.float32)
        codes = tensor.rules.quantize(zero, tensor.params, tensor.bits)
        assert not tensor.rules.dequantize(codes, tensor.params, tensor.bits).any()


@pytest.mark.parametrize("name", NAMES + CORRECTED)
def test_a_ramp_reaches_at_least_half_of_the_bound(name):
    x = np.linspace(-1, 1, 20_001, dtype=np.float32)[None]
    for bits in BITS:
        tensor = quantize(x[:, :, None, None], scheme=name, bits=bits)
        error = abs(tensor.rows() - x.astype(np.float64)).max()
        assert error >= tensor.rules.error_bound(x, tensor.params, bits).item() / 2


@pytest.mark.parametrize("name", NAMES)
def test_zeros_are_not_within_the_bound(name):
    w = NASTY["normal"]
    tensor = quantize(w, scheme=name, bits=5)
    x = tensor.grouping.to_rows(w).astype(np.float64)
    assert (abs(x) > tensor.rules.error_bound(w.reshape(5, -1), tensor.params, 5)).any()


@pytest.mark.parametrize("name", NAMES)
def test_float16_parameters_keep_the_bound_where_they_fit(name):
    for key in ("normal", "laplace", "zeros", "constant", "all negative", "ties", "one element"):
        w = NASTY[key]
        for bits in (2, 4, 8):
            tensor = quantize(w, scheme=name, bits=bits, params_dtype="float16")
            x = tensor.grouping.to_rows(w)
            bound = tensor.rules.error_bound(x, tensor.params, bits)
            assert (abs(tensor.rows() - x.astype(np.float64)) <= bound).all()


@pytest.mark.parametrize("name", NAMES)
def test_tiles_do_not_show(name):
    x = np.random.default_rng(0).standard_normal((3, 70_000)).astype(np.float32)  # 2 tiles a row
    scheme = find_scheme(name)
    params, codes = scheme.encode(x, 4)
    assert np.array_equal(codes, scheme.quantize(x, params, 4))
    assert np.array_equal(scheme.decode(codes, params, 4), scheme.dequantize(codes, params, 4))
    lone = [scheme.encode(row[None], 4)[0] for row in x]
    for key in params:
        assert np.array_equal(params[key], np.concatenate([one[key] for one in lone]))


def test_every_scheme_is_in_the_catalogue():
    import pkgutil

    import refquant.quant

    catalogued = {
        scheme.choose_params.__module__.rpartition(".")[2] for scheme in SCHEMES.values()
    }
    catalogued |= {scheme.dequantize.__module__.rpartition(".")[2] for scheme in SCHEMES.values()}
    for module in pkgutil.iter_modules(refquant.quant.__path__):
        source = __import__(f"refquant.quant.{module.name}", fromlist=["x"])
        if hasattr(source, "dequantize") and hasattr(source, "explain"):
            assert module.name in catalogued
    assert len(SCHEMES) == 8
