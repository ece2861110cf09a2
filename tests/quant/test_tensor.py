"""QuantizedTensor: what it stores, and what it refuses, since files make them too."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.quant.recipe import quantize_model
from refquant.quant.scheme import round_up
from refquant.quant.schemes import every_scheme, find_scheme
from refquant.quant.tensor import QuantizedTensor, quantize

W = np.random.default_rng(0).standard_normal((4, 6, 3, 3)).astype(np.float32)


def test_bytes_of_a_worked_example():
    tensor = quantize(W, bits=3)  # 216 codes of 3 bits: 81 bytes; 4 groups of 4 + 1 bytes
    assert (tensor.codes_nbytes, tensor.params_nbytes, tensor.nbytes) == (81, 20, 101)
    assert tensor.bits_per_weight == 8 * 101 / 216


def test_float16_parameters_take_half_the_bytes():
    assert quantize(W, scheme="symmetric", params_dtype="float16").params_nbytes == 8
    assert quantize(W, scheme="symmetric").params_nbytes == 16


def test_names_and_objects_give_the_same():
    named = quantize(W, scheme="pwlq:search", granularity="c-shape", bits=5)
    scheme = find_scheme("pwlq:search")
    given = quantize(W, scheme=scheme, granularity=named.grouping, bits=5)
    assert np.array_equal(named.codes, given.codes)
    assert (named.scheme, named.granularity) == (given.scheme, given.granularity)


def test_the_input_is_not_changed():
    w = W.copy()
    quantize(w, scheme="lloyd-max+bc", granularity="f-shape")
    assert np.array_equal(w, W)


@pytest.mark.parametrize("scheme", [s.name + c for s in every_scheme() for c in ("", "+bc")])
def test_packed_weights_decode_to_the_same_bits(scheme):
    for granularity in ("layer", "c-shape", "block-32"):
        for bits in (2, 8):
            tensor = quantize(W, scheme=scheme, granularity=granularity, bits=bits)
            assert np.array_equal(tensor.packed().dequantize(), tensor.dequantize())


def test_a_far_zero_point_is_packed_as_levels():
    w = np.full((1, 4, 1, 1), 1.0, np.float32)
    w[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    tensor = quantize(w, scheme="affine:minmax", bits=8)
    assert tensor.packed().levels is not None
    assert np.array_equal(tensor.packed().dequantize(), tensor.dequantize())
    assert quantize(W).packed().levels is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**127])
def test_weights_that_no_level_can_reach_are_refused_by_name(value):
    w = W.copy()
    w[1, 2, 0, 0] = value
    with pytest.raises(BadInput, match=r"^model\.7\.conv: has a weight of magnitude"):
        quantize(w, name="model.7.conv")


def test_the_largest_float16_is_a_parameter_that_fits():
    assert round_up(np.array([65504.0]), np.float16).item() == 65504
    with pytest.raises(BadInput, match="does not fit float16"):
        round_up(np.array([65504.5]), np.float16)


@pytest.mark.parametrize("w", [W[0], W[:0], W.astype(np.int32)])
def test_what_is_no_weight_is_refused(w):
    with pytest.raises(BadInput, match=r"^weight: "):
        quantize(w)


@pytest.mark.parametrize("bits", [1, 9, 0, -4, 4.0, True, "4"])
def test_bits_outside_of_the_range_are_refused(bits):
    with pytest.raises(BadInput, match=r"choose 2\.\.8"):
        quantize(W, bits=bits)


@pytest.mark.parametrize("dtype", ["float64", "int8", "no type", None, np.float64])
def test_a_type_that_parameters_cannot_have_is_refused(dtype):
    with pytest.raises(BadInput, match=r"^params_dtype=.*: choose float32 \| float16$"):
        quantize(W, params_dtype=dtype)
    assert quantize(W, params_dtype=np.float16).params["scale"].dtype == np.float16


def is_short(door):
    """Whether `help` shows the call of a function in five lines of a terminal."""
    return len(str(inspect.signature(door))) < 400


def test_help_shows_short_types():
    def long(w: tuple[(QuantizedTensor,) * 20]):
        pass

    assert all(map(is_short, (quantize, quantize_model, QuantizedTensor)))
    assert not is_short(long)


def test_an_unknown_scheme_or_option_lists_the_choices():
    with pytest.raises(BadInput, match=r"choose affine \| symmetric \| pwlq"):
        quantize(W, scheme="affin")
    with pytest.raises(BadInput, match=r"choose affine \| affine:minmax"):
        quantize(W, scheme="affine:max")


GOOD = quantize(W, bits=4)
PWLQ = quantize(W, scheme="pwlq", bits=4)
LEVELS = quantize(W, scheme="lloyd-max", bits=4)


def with_params(tensor, **arrays):
    return {"params": {**tensor.params, **arrays}}


BROKEN = {
    "codes of another shape": (GOOD, {"codes": GOOD.codes[:, :-1]}),
    "codes of another dtype": (GOOD, {"codes": GOOD.codes.astype(np.uint16)}),
    "codes too wide": (GOOD, {"codes": GOOD.codes + np.uint8(16)}),
    "piecewise codes too wide": (PWLQ, {"codes": PWLQ.codes + np.uint8(32)}),
    "bits": (GOOD, {"bits": 9}),
    "scheme": (GOOD, {"scheme": "affine:"}),
    "granularity": (GOOD, {"granularity": "axes:Q"}),
    "shape": (GOOD, {"shape": (4, 6, 9)}),
    "a shape with zero": (GOOD, {"shape": (4, 6, 3, 0)}),
    "a shape of other groups": (GOOD, {"shape": (6, 4, 3, 3)}),
    "no parameter": (GOOD, {"params": {"scale": GOOD.params["scale"]}}),
    "one parameter more": (GOOD, with_params(GOOD, levels=GOOD.params["scale"])),
    "a scale of zero": (GOOD, with_params(GOOD, scale=0 * GOOD.params["scale"])),
    "a negative scale": (GOOD, with_params(GOOD, scale=-GOOD.params["scale"])),
    "a scale of NaN": (GOOD, with_params(GOOD, scale=np.nan * GOOD.params["scale"])),
    "a scale in float64": (GOOD, with_params(GOOD, scale=GOOD.params["scale"].astype(float))),
    "a scale per layer": (GOOD, with_params(GOOD, scale=GOOD.params["scale"][:1])),
    "a flat scale": (GOOD, with_params(GOOD, scale=GOOD.params["scale"][:, 0])),
    "zero points as floats": (GOOD, with_params(GOOD, zero_point=GOOD.params["scale"])),
    "too few levels": (LEVELS, with_params(LEVELS, levels=LEVELS.params["levels"][:, :-1])),
    "infinite levels": (LEVELS, with_params(LEVELS, levels=LEVELS.params["levels"] * np.inf)),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_parts_that_do_not_fit_are_refused(what):
    tensor, change = BROKEN[what]
    with pytest.raises(BadInput):
        replace(tensor, **change)


def test_the_parts_themselves_fit():
    for tensor in (GOOD, PWLQ, LEVELS):
        assert np.array_equal(replace(tensor).dequantize(), tensor.dequantize())


def test_parameters_that_decode_beyond_float32_are_refused_on_decoding():
    huge = np.full_like(GOOD.params["scale"], 3e38)
    tensor = replace(GOOD, **with_params(GOOD, scale=huge))
    with pytest.raises(BadInput, match="float32 cannot hold"):
        tensor.dequantize()
