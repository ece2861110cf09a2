"""The a-priori bound of a convolution: y = b + sum of n = C*R*S products x*w, per output element.

    S = sum (|x| + B) |w|,   T = S + |b|,   B the bound of x                                (1)
    carried     sum B |w|                                                                   (2)
    direct      g * T + n * tiny,  g = (n + 1) * u_a     (Jeannerod and Rump 2013: any order,
                fma or not, no condition on n u; the bias is a term of its own)             (3)
    storage     (2 u_s + u_s**2) * T + tiny_s * (sum |x| + sum |w| + 1), and u_a (1 + u_s)**2
                for u_a in (3): x, w and b are rounded; nothing where the storage is float32 (4)
    flushed     (2n + 3) 2**-126 + 2**-126 * (sum |x| + sum |w|): n products, n + 1 sums, and
                what goes in and comes out                                                  (5)
    unfolded    W = weight_magnitude, beta = bias_magnitude instead of |w|, |b| in (1), and
                n + 16 for n + 1: eps, root, quotient, gamma, mean and beta of the batch norm
                (7), two sums of branches, the two implicit layers (2), the roundings of the
                golden's own folded weights (2), the rest to spare                          (6)
    Winograd    g(C + 48) * 36100 * sum over c of max |x_c| * max |w_fc| + (3), the maximum over
                the 11 x 11 pixels that a tile of F(4,3) can hold. 36100 = (19 * 10)**2: the row
                sums of |A^T| and |B^T|, that of |G| is 1; F(2,3) lies below                (7)
    FFT         g(18 log2 M + C + 8) * sum over c of ||x_c||2 ||w_fc||2, M points of the padded
                map (Higham 2002, theorem 24.2 with 6u per stage, three transforms) + (3)   (8)
    oracle      n * 2**-53 * T                                                              (9)

Algorithm "any" takes the largest of (3), (7) and (8); with storage other than float32 it decides
nothing, nor do kernels other than 3x3 under (7). Nothing is decided either where n*u_a >= 1/4, or
where S may exceed the largest number of a type (H2).
"""

import math

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Node, array_of
from refquant.ops.conv import conv_math, output_size, pad
from refquant.ops.pool import max_pool_fast
from refquant.verification.declared import UNDERFLOW, Declared
from refquant.verification.enclosed import Enclosed, grown

Float64 = NDArray[np.float64]
WINDOW_BYTES = 1 << 26  # of the windows of some output rows, in float64
WINOGRAD = 36100.0
UNFOLDED_ROUNDINGS = 16


def enclose_conv(node: Node, x: Enclosed, declared: Declared) -> Enclosed:
    """The Enclosed of a convolution before its activation."""
    weight = np.asarray(array_of(node.arrays["weight"]), np.float64)
    F, n = weight.shape[0], math.prod(weight.shape[1:])
    bias = np.asarray(array_of(node.arrays["bias"]), np.float64) if "bias" in node.arrays else 0.0
    bias = np.broadcast_to(bias, (F,))[:, None, None]
    magnitude, offset = magnitudes(node, weight, bias, declared)
    value = sums(node, x.value, weight) + bias
    carried = sums(node, x.bound, abs(weight)) if x.bound.any() else 0.0  # (2)
    S = sums(node, abs(x.value) + x.bound, magnitude)
    T = S + offset  # (1)
    bound = carried + direct(node, x, n, T, declared) + n * 2.0**-53 * T  # (3) to (6), (9)
    if declared.algorithm == "any":
        bound = np.maximum(bound, carried + any_algorithm(node, x, magnitude, T, declared))
    largest = min(declared.stored.largest, declared.summed.largest)
    return Enclosed(value, np.where(largest <= T, np.inf, bound))


def magnitudes(
    node: Node, weight: Float64, bias: Float64, declared: Declared
) -> tuple[Float64, Float64 | float]:
    """|w| and |b|, or what stands for them where the decomposition is open (6)."""
    if declared.folded:
        return abs(weight), abs(bias)
    if "bias_magnitude" not in node.arrays:
        # Folded by somebody else: what cancelled is unknown. A plain linear layer folds nothing.
        linear = node.attributes["activation"] == "linear"
        plain = linear and "weight_magnitude" not in node.arrays
        return abs(weight), abs(bias) if plain else math.inf
    large = node.arrays.get("weight_magnitude")
    wide = abs(weight) if large is None else np.asarray(array_of(large), np.float64)
    offset = np.asarray(array_of(node.arrays["bias_magnitude"]), np.float64)[:, None, None]
    # Stored magnitudes are rounded to float32; they may not be smaller than what they bound.
    wide = np.maximum(wide * (1 + 2.0**-23), abs(weight))
    return wide, np.maximum(offset * (1 + 2.0**-23), abs(bias))


def direct(node: Node, x: Enclosed, n: int, T: Float64, declared: Declared) -> Float64 | float:
    """Equations (3) to (6)."""
    u_s = 0.0 if declared.storage == "float32" else declared.stored.u
    u_a = declared.summed.u
    if n * u_a >= 0.25:
        return math.inf
    terms = n + 1 if declared.folded else n + UNFOLDED_ROUNDINGS
    bound: Float64 = terms * u_a * (1 + u_s) ** 2 * T + n * declared.summed.tiny  # (3)
    if u_s:
        stored = declared.stored.tiny * (plain_sums(node, x) + 1)
        bound = bound + (2 * u_s + u_s**2) * T + stored  # (4)
    if declared.flush:
        bound = bound + UNDERFLOW * (2 * n + 3 + plain_sums(node, x))  # (5)
    return bound


def plain_sums(node: Node, x: Enclosed) -> Float64:
    """sum |x| + sum |w| under every window."""
    weight = abs(np.asarray(array_of(node.arrays["weight"]), np.float64))
    ones = np.ones((1, *weight.shape[1:]))
    return sums(node, abs(x.value) + x.bound, ones) + weight.sum((1, 2, 3))[:, None, None]


def any_algorithm(
    node: Node, x: Enclosed, magnitude: Float64, T: Float64, declared: Declared
) -> Float64 | float:
    """The larger of (7) and (8), with a (3) of UNFOLDED_ROUNDINGS; 0 for 1x1, a plain product."""
    _, C, R, S = magnitude.shape
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    if (R, S) == (1, 1):
        return 0.0
    if declared.storage != "float32" or (R, S) != (3, 3):
        return math.inf
    u, high = declared.summed.u, abs(x.value) + x.bound
    around = max_pool_fast(high, kernel=11, stride=1, padding=5)
    rows, columns = (output_size(size, R, stride, padding) for size in high.shape[2:])
    # The pixel under the middle of each window; the padding adds zeros, which win no maximum.
    around = pad(around, padding)[:, :, 1::stride, 1::stride][:, :, :rows, :columns]
    peak = magnitude.max((2, 3))
    winograd = grown(C + 48, u) * WINOGRAD * np.tensordot(peak, around, (1, 1)).swapaxes(0, 1)
    M = math.prod(size + 2 * padding + R for size in high.shape[2:])
    norms = np.sqrt((high**2).sum((2, 3))) @ np.sqrt((magnitude**2).sum((2, 3))).T  # (N, F)
    fft = grown(18 * math.log2(M) + C + 8, u) * norms[:, :, None, None]
    terms = R * S * C + UNFOLDED_ROUNDINGS
    return np.maximum(winograd, fft) + terms * u * T


def sums(node: Node, x: Float64, weight: Float64) -> Float64:
    """The convolution in float64 without bias, some output rows at a time."""
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    R, S = weight.shape[2:]
    x = pad(x, padding)
    rows = output_size(x.shape[2], R, stride, 0)
    columns = output_size(x.shape[3], S, stride, 0)
    y = np.empty((x.shape[0], weight.shape[0], rows, columns))
    per_row = 8 * x.shape[0] * columns * math.prod(weight.shape[1:])
    step = max(1, WINDOW_BYTES // max(1, per_row))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        slab = x[:, :, first * stride : (last - 1) * stride + R]
        y[:, :, first:last] = conv_math(slab, weight, stride=stride)
    return y
