"""`conv_fast`: the bits of `conv_ref`, computed by the tiles of conv_kernel.py.

Any kernel, stride, padding, width and channel count takes this path, in the layout of
blocked.py. The function here converts layouts at both ends, for one convolution on its own; for a
whole model the engine (engine.py) strings steps together and converts only the image.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.packed import PackedWeights
from refquant.engine.blocked import LANES, PlacedMap, aligned, placed_at, put, take
from refquant.engine.conv_step import conv_constants, conv_step, scratch_for
from refquant.engine.panels import panels_of
from refquant.engine.strips import Windows
from refquant.engine.tiles import Tiles, tiles_for_this_cpu, vectors_for
from refquant.ops.conv import output_size

Array = NDArray[np.float32]


def conv_fast(
    x: Array,
    weight: Array | PackedWeights,
    bias: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "linear",
    threads: int = 1,
    tiles: tuple[Tiles, ...] | None = None,
) -> Array:
    """The convolution of conv.py, with its shapes; the weight may be packed.

    `tiles` serves tests; it changes no bit.
    """
    from refquant.engine.program import Program  # imported here, because that takes Numba

    N, C, H, W = x.shape
    F, _, R, S = weight.shape
    P, Q = output_size(H, R, stride, padding), output_size(W, S, stride, padding)
    y = np.empty((N, F, P, Q), np.float32)
    panels = panels_of(weight, vectors_for(F, tiles or tiles_for_this_cpu()))
    source, memory = new_map(C, H, W, padding)
    target, result = new_map(F, P, Q, 0)
    constants = conv_constants(source, panels, bias, padding)
    windows = Windows(source, target, (R, S), stride, padding, 0, constants.all_taps)
    conv, _items = conv_step(windows, panels, constants, threads, activation)
    program = Program([conv], threads, scratch_for(panels))
    for n in range(N):
        put(x[n], memory, source)
        program.run()
        y[n] = take(result, target)
    return y


def new_map(
    channels: int, rows: int, columns: int, halo: int
) -> tuple[PlacedMap, NDArray[np.uint8]]:
    """A map of zeros, and the memory in which it lies."""
    blocks = -(-channels // LANES)
    size = placed_at(0, channels, rows, columns, halo).plane * blocks
    memory = aligned((size,), np.uint8)
    return placed_at(memory.ctypes.data, channels, rows, columns, halo), memory
