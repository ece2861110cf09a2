"""Batch normalization at inference: an affine map per channel, which only unfolded graphs have.

x                               (N, C, H, W)
weight, bias, mean, variance    (C,) float32: gamma, beta and the running statistics
eps                             1e-3 in every YOLOv7 file

    scale = weight / sqrt(variance + eps),  shift = bias - mean * scale          (1)
    y = x * scale + shift                                                        (2)

Arithmetic  (1) is computed in float64 and rounded once to float32. (2) is computed in float32,
with a rounding for the product and one for the sum. In `batch_norm_math` all of it is float64.
"""

import numpy as np
from numpy.typing import NDArray


def scale_and_shift(
    weight: NDArray, bias: NDArray, mean: NDArray, variance: NDArray, eps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Equation (1) in float64: two arrays (C,)."""
    scale = np.asarray(weight, np.float64) / np.sqrt(np.asarray(variance, np.float64) + eps)
    return scale, np.asarray(bias, np.float64) - np.asarray(mean, np.float64) * scale


def batch_norm_math(
    x: NDArray,
    weight: NDArray,
    bias: NDArray,
    mean: NDArray,
    variance: NDArray,
    *,
    eps: float,
) -> NDArray[np.float64]:
    """Equation (2) in float64."""
    scale, shift = scale_and_shift(weight, bias, mean, variance, eps)
    return np.asarray(x, np.float64) * scale[:, None, None] + shift[:, None, None]


def batch_norm_ref(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    *,
    eps: float,
) -> NDArray[np.float32]:
    """Equation (2) in float32, with two roundings."""
    scale, shift = (
        part.astype(np.float32)[:, None, None]
        for part in scale_and_shift(weight, bias, mean, variance, eps)
    )
    return x * scale + shift
