"""A step: one operation on maps in memory, as a row of numbers that jitted code can read.

A network becomes an array of steps (program.py runs it). Each step splits into `items` that may
run in any order and on any thread; step n+1 begins when all items of step n are done. All fields
are int64; addresses and distances are in bytes.

kind        the operation, a constant below          items    how many pieces of work
x, x_plane, x_row, x_pixel    the input map: address of pixel (0, 0), distances (blocked.py)
y, y_plane, y_row             the output map; its pixels are 64 bytes apart
rows, columns                 of the output          blocks   of 16 channels
input_rows, input_columns     of the input
kernel, stride, padding       of a pooling; stride also of a decode, and an upsampling's scale;
                              padding also of a border
z, z_plane, z_row             the second input of an addition
first_channel                 of the output, where a copy goes

of a convolution, whose strips say where its maps lie but for x_pixel and y_plane
weight      address of its panels (panels.py)        bias     address of the filters' bias
products    C*R*S                                    taps     R*S
chain       products per K-block                     groups   of vectors * 16 filters
vectors     width of the tiles (tiles.py)            activation    a constant below
strips      address of (n,) STRIP (strips.py)
bounds      address of (runs of rows + 1, 2) int64: number of the first strip, first row
then        address of a pooling's step: every item pools what it computed; 0 if there is none
code_bits   0: the panels are float32; else bits of a code, and
scale, zero_point, levels, entry             addresses (panels.py); 0 for those that there are not
entry_row, filter_row, code_row, lane_row    bytes from an entry, 16 filters, a code, a lane to the
                                             next, 0 where they share

of a decode
anchors     address of (A, 2) float32                entries  E, numbers per row of predictions
groups      A, anchors per cell

A convolution's pixels lie in strips (strips.py), a record of int64 each:

x, x_step   where the first pixel's window begins, and from there to the next one's
y, y_step   where the first pixel's outputs begin; both steps are 0 for a single pixel
table       address of (runs, 2) int64, the runs of its products (conv_step.py)
taps        how many of a window's R*S it has
longs, middles, shorts    tiles of each length
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("conv", "max_pool", "upsample", "add", "copy", "border", "decode")
CONV, MAX_POOL, UPSAMPLE, ADD, COPY, BORDER, DECODE = range(len(KINDS))

LINE = 64  # bytes of a cache line, and of 16 float32

FUSED = ("linear", "silu", "leaky", "sigmoid")
LINEAR, SILU, LEAKY, SIGMOID = range(len(FUSED))

FIELDS = (
    *("kind", "items"),
    *("x", "x_plane", "x_row", "x_pixel", "input_rows", "input_columns"),
    *("y", "y_plane", "y_row", "rows", "columns", "blocks"),
    *("z", "z_plane", "z_row"),
    *("kernel", "stride", "padding", "first_channel"),
    *("weight", "bias", "products", "taps", "chain", "groups", "vectors", "strips", "bounds"),
    *("activation", "then", "anchors", "entries"),
    *("code_bits", "scale", "zero_point", "levels"),
    *("entry", "entry_row", "filter_row", "code_row", "lane_row"),
)
STEP = np.dtype([(name, np.int64) for name in FIELDS])

STRIP_FIELDS = ("x", "x_step", "y", "y_step", "table", "taps", "longs", "middles", "shorts")
STRIP = np.dtype([(name, np.int64) for name in STRIP_FIELDS])


def step(kind: int, items: int, **fields: Any) -> NDArray[np.void]:
    """A step, (1,) STEP; fields that are not given are 0."""
    row = np.zeros(1, STEP)
    for name, value in {"kind": kind, "items": items, **fields}.items():
        row[name] = value
    return row
