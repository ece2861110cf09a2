"""The panel that a convolution is about to use, decoded on the fly from packed codes.

The layout is that of panels.py: 16 codes of `code_bits` bits are kept as `code_bits` masks of 16
bits, of which mask j holds bit j of the code of every lane. So 16 codes take 2 * code_bits bytes,
whatever their width, and lane by lane

    code = the sum of 2**j over all j whose mask is set        is exact in float32      (1)
    w = scale * (code - zero_point)    for an affine map       has one rounding         (2)
    w = levels[code]                   for a table             has none                 (3)

These are the bits of PackedWeights.dequantize (arrays/packed.py). The difference
in (2) is exact, because packed weights have whole zero points below 2**23 only.
"""

from typing import Any

import numpy as np

from refquant.engine.jit import inner
from refquant.engine.simd import (
    LANES,
    choose,
    load,
    load_int,
    load_mask,
    load_one,
    store,
    store_one,
)
from refquant.engine.steps import LINE

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


@inner
def codes_at(masks: int, code_bits: int) -> Any:
    """16 codes as float32, equation (1)."""
    power = ONE
    code = choose(load_mask(masks), power, ZERO)
    for j in range(1, code_bits):
        power = power * TWO
        code = choose(load_mask(masks + 2 * j), code + power, code)
    return code


@inner
def dequantize_panel(step: Any, group: int, first: int, count: int, panel: int) -> None:
    """Products first ... first + count - 1 of a group of filters, (count, vectors, 16) float32."""
    size = 2 * step.code_bits
    masks = step.weight + (group * step.products + first) * step.vectors * size
    for k in range(count):
        params = load_int(step.entry + 8 * (first + k)) * step.entry_row
        for v in range(step.vectors):
            block = (group * step.vectors + v) * step.filter_row + params
            code = codes_at(masks, step.code_bits)
            if step.levels == 0:
                scale, zero_point = load(step.scale + block), load(step.zero_point + block)
                store(panel, scale * (code - zero_point))  # (2)
            else:
                store(panel, code)
                look_up(step, block, panel)
            masks += size
            panel += LINE


@inner
def look_up(step: Any, block: int, place: int) -> None:
    """Replace 16 codes, as float32, by their levels, equation (3)."""
    for lane in range(LANES):
        code = int(load_one(place + 4 * lane))
        level = step.levels + block + code * step.code_row + lane * step.lane_row
        store_one(place + 4 * lane, load_one(level))
