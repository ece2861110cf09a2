"""`conv_loops`: the readable loops of ops/conv_loops.py, compiled, as a function of NCHW arrays.

No model runs on it. It gives the bits of `conv_ref` at a hundred times its speed, so the tests
hold the tiles of conv_kernel.py to it over sweeps for which NumPy would take hours.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from refquant.engine.fast import FAST_ACTIVATIONS
from refquant.engine.jit import kernel
from refquant.engine.simd import fma as fma_instruction
from refquant.ops.conv import channels_per_block, output_size, pad
from refquant.ops.conv_loops import conv_image
from refquant.ops.fma import fma

Array = NDArray[np.float32]


@overload(fma, strict=False)
def _fma(x: Any, w: Any, acc: Any) -> Callable:
    """In jitted code the `fma` of three numbers is the processor's own."""
    return lambda x, w, acc: fma_instruction(x, w, acc)


compiled_conv_image = kernel(conv_image)


def conv_loops(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "linear",
) -> Array:
    """The convolution of conv.py, with its shapes."""
    filters, _, kernel_rows, kernel_columns = weight.shape
    height = output_size(x.shape[2], kernel_rows, stride, padding)
    width = output_size(x.shape[3], kernel_columns, stride, padding)
    start = np.zeros(filters, np.float32) if bias is None else np.ascontiguousarray(bias)
    filters_last = np.ascontiguousarray(weight.transpose(1, 2, 3, 0))
    block = channels_per_block(weight.shape)
    y = np.empty((x.shape[0], filters, height, width), np.float32)
    for n in range(x.shape[0]):
        image = np.ascontiguousarray(pad(x[n], padding).transpose(1, 2, 0))
        out = np.empty((height, width, filters), np.float32)
        compiled_conv_image(image, filters_last, start, stride, block, out)
        y[n] = out.transpose(2, 0, 1)
    return FAST_ACTIVATIONS[activation](y)
