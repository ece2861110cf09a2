"""Piecewise linear quantization: worked examples of all four forms, their levels, their bits."""

import numpy as np
import pytest

from refquant.quant.piecewise import maximum_of, params_of
from refquant.quant.schemes import find_scheme
from refquant.quant.tensor import quantize

FORMS = ("pwlq", "pwlq-eq3", "pwlq-code", "pwlq-overlap")


def params(p, m):
    return {"breakpoint": np.array([[p]], np.float32), "maximum": np.array([[m]], np.float32)}


# bits = 3: L = 4, H = 3, B = 7. p = 3 and m = 9 make the centre's step 1 and the tail's step 2.
X = np.array([[-9.0, -6.1, -3.0, -2.9, -0.4, 0.0, 0.5, 1.5, 2.9, 3.0, 4.0, 5.9, 6.0, 9.0]])
WORKED = {
    # negative tail 0..3 (-9 -7 -5 -3), centre 4..11 (-4 unused, -3..3), positive tail 12..15
    "pwlq": (
        [0, 1, 3, 5, 8, 8, 8, 10, 11, 12, 12, 13, 14, 15],
        [-9, -7, -3, -3, 0, 0, 0, 2, 3, 3, 3, 5, 7, 9],
    ),
    # 7 - i and 3 - j below zero, 8 + i and 12 + j above: zero has two codes
    "pwlq-eq3": (
        [0, 1, 3, 4, 7, 8, 8, 10, 11, 12, 12, 13, 14, 15],
        [-9, -7, -3, -3, 0, 0, 0, 2, 3, 3, 3, 5, 7, 9],
    ),
    # the centre's step is 6/7: codes 5..11 stand for -18/7 ... 18/7
    "pwlq-code": (
        [0, 1, 3, 5, 8, 8, 9, 10, 11, 12, 12, 13, 14, 15],
        [-9, -7, -3, -18 / 7, 0, 0, 6 / 7, 12 / 7, 18 / 7, 3, 3, 5, 7, 9],
    ),
    # centre q + 4 with step 1; tails 8 + q + 4 with step 9/3 = 3
    "pwlq-overlap": (
        [9, 10, 11, 1, 4, 4, 4, 6, 7, 13, 13, 14, 14, 15],
        [-9, -6, -3, -3, 0, 0, 0, 2, 3, 3, 3, 6, 6, 9],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_codes_of_a_worked_example(form):
    scheme, x = find_scheme(form), X.astype(np.float32)
    codes, levels = WORKED[form]
    q = scheme.quantize(x, params(3.0, 9.0), 3)
    assert q.tolist() == [codes]
    assert scheme.dequantize(q, params(3.0, 9.0), 3)[0].tolist() == pytest.approx(levels, abs=3e-7)


@pytest.mark.parametrize(("form", "count"), [("pwlq", 29), ("pwlq-eq3", 29), ("pwlq-code", 31)])
def test_reachable_levels_at_four_bits(form, count):
    scheme, ends = find_scheme(form), params(0.3, 1.0)
    x = np.linspace(-1, 1, 200_001, dtype=np.float32)[None]
    reached = scheme.dequantize(scheme.quantize(x, ends, 4), ends, 4)
    assert np.unique(reached).size == count


def test_the_lowest_code_of_the_centre_of_the_released_code_is_never_reached():
    scheme, ends = find_scheme("pwlq-code"), params(0.3, 1.0)
    x = np.linspace(-1, 1, 200_001, dtype=np.float32)[None]
    codes = np.unique(scheme.quantize(x, ends, 4))
    assert set(range(32)) - set(codes.tolist()) == {8}
    lowest = scheme.dequantize(np.array([[8]], np.uint8), ends, 4).item()
    assert lowest == pytest.approx(-16 / 15 * 0.3, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_k_bits_store_k_plus_one(form, bits):
    w = np.random.default_rng(bits).standard_normal((4, 50, 1, 1)).astype(np.float32)
    tensor = quantize(w, scheme=form, bits=bits)
    assert tensor.code_bits == bits + 1
    assert tensor.codes_nbytes == -(-200 * (bits + 1) // 8)
    assert tensor.codes.max() >= 2**bits  # and k bits would not do


def test_both_ends_of_a_tail_are_exact():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p, m = np.sort(rng.uniform(1e-3, 1, 2)).astype(np.float32)
        for bits in (2, 4, 8):
            x = np.array([[-m, -p, p, m]], np.float32)
            scheme, ends = find_scheme("pwlq"), params(p, m)
            assert (scheme.dequantize(scheme.quantize(x, ends, bits), ends, bits) == x).all()


def test_the_first_published_form_decodes_as_that_of_the_paper():
    x = np.random.default_rng(1).standard_normal((5, 500)).astype(np.float32)
    for bits in range(2, 9):
        a, b = find_scheme("pwlq"), find_scheme("pwlq-eq3")
        ends, codes = a.encode(x, bits)
        other = b.quantize(x, ends, bits)
        assert (b.dequantize(other, ends, bits) == a.dequantize(codes, ends, bits)).all()
        assert (other != codes).any()


def test_overlapping_pieces_are_worse():
    x = np.random.default_rng(2).standard_normal((50, 500)).astype(np.float32)
    errors = {}
    for form in ("pwlq", "pwlq-overlap"):
        scheme = find_scheme(form)
        ends, codes = scheme.encode(x, 4)
        errors[form] = float(((scheme.decode(codes, ends, 4) - x) ** 2).sum())
    assert errors["pwlq-overlap"] > errors["pwlq"]


def test_no_weight_lies_beyond_a_maximum_stored_in_float16():
    x = np.random.default_rng(3).standard_normal((500, 20)).astype(np.float32)
    largest = abs(x).max(axis=1, keepdims=True)
    stored = maximum_of(x, np.float16)
    assert (stored >= largest).all()
    assert (np.nextafter(stored, np.float16(0)) < largest).all()  # and none is smaller
    assert (largest.astype(np.float16) < largest).any()  # rounding to nearest would clip


def test_a_breakpoint_is_kept_between_a_65536th_of_the_maximum_and_the_maximum():
    m = np.array([[1.0], [1.0], [1.0], [2.0**-149]], np.float32)
    p = np.array([[1e-9], [3.0], [0.0], [1e-60]])
    stored = params_of(p, m)["breakpoint"][:, 0].tolist()
    assert stored == [2.0**-16, 1.0, 0.5, 2.0**-149]
