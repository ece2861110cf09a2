"""Convolution: each output is the sum of a window of the input times a filter, plus a bias.

x        (N, C, H, W) float32
weight   (F, C, R, S) float32
bias     (F,) float32; none means +0.0
y        (N, F, P, Q) float32,  P = (H + 2*padding - R) // stride + 1, Q likewise

    y[n,f,p,q] = bias[f] + sum over c,r,s of
                 x[n, c, p*stride + r - padding, q*stride + s - padding] * weight[f,c,r,s]
    (cross-correlation, as everywhere in the field: the kernel is not flipped)

`conv_math` is that sum in float64. The arithmetic, arithmetic version 1, fixes the order of the
sum and hence every bit of the float32 result:

    total = bias[f]                                                              (1)
    for each K-block of channels, in order:
        acc = +0.0                                                               (2)
        for each 16 channels of the block, for r, for s, for c of these 16:
            acc = fma(x, weight, acc)        one rounding; padding is x = +0.0   (3)
        total = total + acc                                                      (4)
    y = activation(total)

A K-block is 16 channels (with all their taps), or 128 channels for a 1x1 kernel; the last one
takes what is left. Channels that do not exist are skipped, not multiplied by zero: adding +0.0 to
an acc of -0.0 would change its sign. Two levels of summation instead of one long chain keep the
error near that of pairwise sums.

Error   |y - conv_math| <= (n + 1) * 2**-24 * (sum |x*weight| + |bias|) + n * 2**-150, n = C*R*S,
        before the activation (Jeannerod and Rump 2013, for any order of summation).
Ranks   these equations > conv_ref > conv_loops and every fast kernel. conv_ref needs no compiler.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.ops.activation import ACTIVATIONS
from refquant.ops.fma import fma_ref

Array = NDArray[np.float32]
ARITHMETIC_VERSION = 1  # counts changes of the equations here, in activation.py, pool.py, head.py


def channels_per_block(weight_shape: tuple[int, ...]) -> int:
    """How many channels a K-block has for a weight of shape (F, C, R, S)."""
    return 128 if weight_shape[2] * weight_shape[3] == 1 else 16


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many output rows (or columns) there are for `size` input rows (or columns)."""
    return (size + 2 * padding - kernel) // stride + 1


def pad(x: NDArray, padding: int, value: float = 0.0) -> NDArray:
    """Surround H and W of x (..., H, W) with `padding` rows and columns of `value`."""
    sides = [(0, 0)] * (x.ndim - 2) + [(padding, padding)] * 2
    return np.pad(x, sides, constant_values=value)


def windows(x: NDArray, kernel: tuple[int, int], stride: int) -> NDArray:
    """A view of x (N, C, H, W) as (N, C, P, Q, R, S): the window under every output."""
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def conv_math(
    x: NDArray,
    weight: NDArray,
    bias: NDArray | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "linear",
) -> NDArray[np.float64]:
    """The sum in float64, with the shapes above. `activation` is a name in ACTIVATIONS."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    view = windows(pad(x, padding), weight.shape[2:], stride)  # (N, C, P, Q, R, S)
    y = np.tensordot(view, weight, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    if bias is not None:
        y = y + np.asarray(bias, np.float64)[:, None, None]
    return ACTIVATIONS[activation].math(y)


def conv_ref(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "linear",
) -> Array:
    """The definition of every bit, in NumPy alone, with the shapes above."""
    filters, channels, kernel_rows, kernel_columns = weight.shape
    view = windows(pad(x, padding), (kernel_rows, kernel_columns), stride)
    shape = (x.shape[0], filters, *view.shape[2:4])
    start = np.zeros(filters, np.float32) if bias is None else bias
    total = np.broadcast_to(start[:, None, None], shape)  # (1)
    block = channels_per_block(weight.shape)
    for k0 in range(0, channels, block):
        acc = np.zeros(shape, np.float32)  # (2)
        for c0 in range(k0, min(k0 + block, channels), 16):
            for r in range(kernel_rows):
                for s in range(kernel_columns):
                    for c in range(c0, min(c0 + 16, channels)):
                        pixel = view[:, None, c, :, :, r, s]  # (N, 1, P, Q)
                        acc = fma_ref(pixel, weight[:, c, r, s, None, None], acc)  # (3)
        total = total + acc  # (4)
    return ACTIVATIONS[activation].ref(total)
