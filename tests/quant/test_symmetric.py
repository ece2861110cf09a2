"""Symmetric quantization: the worked example, zero, and the code that is never used."""

import numpy as np

from refquant.quant.schemes import find_scheme
from refquant.quant.symmetric import SYMMETRIC


def test_codes_of_a_worked_example():
    x = np.array([[-7.0, -0.5, 0.0, 0.5, 1.5, 3.2, 7.0]], np.float32)  # max 7: scale 1, H = 8
    params, codes = SYMMETRIC.encode(x, 4)
    assert params["scale"].item() == 1.0
    assert codes.tolist() == [[1, 8, 8, 8, 10, 11, 15]]  # ties to even
    assert SYMMETRIC.decode(codes, params, 4).tolist() == [[-7.0, 0.0, 0.0, 0.0, 2.0, 3.0, 7.0]]


def test_the_lowest_code_is_never_used():
    x = np.random.default_rng(0).standard_normal((300, 50)).astype(np.float32)
    for bits in range(2, 9):
        _, codes = SYMMETRIC.encode(x, bits)
        assert codes.min() == 1
        assert codes.max() == 2**bits - 1


def test_a_row_and_its_negative_decode_to_opposite_values():
    x = np.random.default_rng(1).standard_normal((20, 50)).astype(np.float32)
    params, codes = SYMMETRIC.encode(x, 4)
    _, opposite = SYMMETRIC.encode(-x, 4)
    assert (SYMMETRIC.decode(opposite, params, 4) == -SYMMETRIC.decode(codes, params, 4)).all()


def test_percentile_clips_the_largest_magnitude_in_a_thousand():
    x = np.append(np.linspace(-1, 1, 999), 50.0).astype(np.float32)[None]
    params = find_scheme("symmetric:percentile").choose_params(x, 4)
    assert params["scale"] == SYMMETRIC.choose_params(x[:, :-1], 4)["scale"]
