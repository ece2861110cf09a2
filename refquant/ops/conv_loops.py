"""The convolution as plain loops: the kernel to read, and the twin that the tests hold tiles to.

It follows the definition in conv.py line by line, equation numbers and all, and gives its bits.
Python runs it as it stands. Compiled by engine/loops.py with Numba it is quick enough for
wide sweeps. Only the order of memory differs, so that the innermost loop walks over neighbours:
    x        (H, W, C) float32     one image with channels last, already padded with +0.0
    weight   (C, R, S, F) float32  with filters last
    out      (P, Q, F) float32     with channels last
The sum of one output is a chain, whose order is the contract. The chains of the F filters of a
pixel are independent, so they run side by side, each with one rounding per step.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.ops.fma import fma


def conv_image(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    stride: int,
    channels_per_block: int,
    out: NDArray[np.float32],
) -> None:
    """Fill `out`, the output of one image."""
    channels, kernel_rows, kernel_columns, filters = weight.shape
    acc = np.empty(filters, np.float32)
    for p in range(out.shape[0]):
        for q in range(out.shape[1]):
            total = out[p, q]
            total[:] = bias  # (1)
            for k0 in range(0, channels, channels_per_block):
                acc[:] = np.float32(0.0)  # (2)
                for c0 in range(k0, min(k0 + channels_per_block, channels), 16):
                    for r in range(kernel_rows):
                        for s in range(kernel_columns):
                            for c in range(c0, min(c0 + 16, channels)):
                                pixel = x[p * stride + r, q * stride + s, c]
                                row = weight[c, r, s]
                                for f in range(filters):
                                    acc[f] = fma(pixel, row[f], acc[f])  # (3)
                for f in range(filters):
                    total[f] = total[f] + acc[f]  # (4)
