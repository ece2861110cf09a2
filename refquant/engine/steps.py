"""A step: one operation on maps in memory, as a row of numbers that jitted code can read.

A model becomes an array of steps, and program.py runs them. Each step is cut into `items`, pieces
of work that may be done in any order and on any thread; step n + 1 begins when all items of step n
are done. Every number is an int64; addresses and distances are in bytes.

All rows are equally long, so that step n is found at once. What a row says after `kind` and
`items` depends on its kind: RECORDS has a NumPy type for each kind, which is laid over the row.
So neither Python nor jitted code can ask a step for a field that its kind does not have.

x, x_plane, x_row     the input map: the address of its pixel (0, 0), the distances from a block of
                      channels and from a row to the next (blocked.py); z is a second input
x_pixel               the distance from a pixel to the next: 64 in blocks, 4 in a planar map
y, y_plane, y_row     the output map, whose pixels are 64 bytes apart
rows, columns         the size of the output; of a decode, that of its input
input_rows, input_columns    the size of the input
kernel, stride, padding      as in pool.py                 scale     of an upsampling
first_channel         the output's channel to which a copy brings the input's first
halo                  the width of a border in pixels

Of a convolution, whose strips say where its inputs and outputs begin:
strips                the address of (n,) STRIP (strips.py)
bounds                the address of (runs of rows + 1, 2) int64: the number of a run's first
                      strip, and its first row
bias                  the address of the bias, (groups * vectors, 16) float32
products, taps        C*R*S and R*S
block_products        how many products a K-block has
groups                how many groups of vectors * 16 filters there are
activation            one of the constants below
pool_step             the address of a pooling's step, if every item pools what it has computed;
                      otherwise 0
weight                the address of the panels (panels.py)
vectors               the width of the tiles in vectors of 16 filters (tiles.py)
code_bits             0 if the panels are float32, otherwise the bits of a code; then
entry, scale, zero_point, levels         are addresses (panels.py), 0 for an array that there is
                                         not, and
entry_row, filter_row, code_row, lane_row    are the distances from an entry, from 16 filters, from
                                         a code and from a lane to the next, 0 where these share

Of a decode:
blocks                how many blocks of 16 channels the input has
anchors, anchor_count the address of (anchor_count, 2) float32: the anchors of a cell
entries               E, how many numbers a row of predictions has
predictions           the address of the level's first row of predictions
stride                pixels of the image per cell

A convolution's output pixels lie in strips (strips.py). A strip is a record of int64 as well:
x, x_step             where the first pixel's window begins, and the distance to the next one's
y, y_step             where the first pixel's outputs begin, and the distance to the next one's;
                      both distances are 0 if the strip is a single pixel
table                 the address of (runs, 2) int64, the runs of its products (conv_step.py)
taps                  how many of a window's R*S taps it has
longs, middles, shorts    how many tiles of each length compute it
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("conv", "max_pool", "upsample", "add", "copy", "border", "decode")
CONV, MAX_POOL, UPSAMPLE, ADD, COPY, BORDER, DECODE = range(len(KINDS))

LINE = 64  # bytes of a cache line, and of 16 float32

FUSED = ("linear", "silu", "leaky", "sigmoid")
LINEAR, SILU, LEAKY, SIGMOID = range(len(FUSED))

HEAD = ("kind", "items")
X, Y, Z = (tuple(f"{map_}{field}" for field in ("", "_plane", "_row")) for map_ in "xyz")
SIZE = ("rows", "columns")
WEIGHT = (
    *("weight", "vectors", "code_bits", "entry", "scale", "zero_point", "levels"),
    *("entry_row", "filter_row", "code_row", "lane_row"),
)
FIELDS = {
    CONV: (
        *("x_pixel", "y_plane", "strips", "bounds", "bias", "products", "taps"),
        *("block_products", "groups", "activation", "pool_step", *WEIGHT),
    ),
    MAX_POOL: (*X, "input_rows", "input_columns", *Y, *SIZE, "kernel", "stride", "padding"),
    UPSAMPLE: (*X, *Y, *SIZE, "scale"),
    ADD: (*X, *Y, *Z, *SIZE),
    COPY: (*X, "x_pixel", *Y, *SIZE, "first_channel"),
    BORDER: (*Y, "rows", "halo"),
    DECODE: (
        *(*X, *SIZE, "blocks", "anchors", "anchor_count", "entries", "predictions", "stride"),
    ),
}
REST = max(map(len, FIELDS.values()))
STEP = np.dtype([*((name, np.int64) for name in HEAD), ("rest", np.int64, (REST,))])


def record(fields: tuple[str, ...]) -> np.dtype:
    """The type of a row with those fields after its head; it is as long as STEP."""
    names = (*HEAD, *fields)
    return np.dtype(
        {
            "names": names,
            "formats": [np.int64] * len(names),
            "offsets": [8 * i for i in range(len(names))],
            "itemsize": STEP.itemsize,
        }
    )


RECORDS = {kind: record(fields) for kind, fields in FIELDS.items()}

STRIP_FIELDS = ("x", "x_step", "y", "y_step", "table", "taps", "longs", "middles", "shorts")
STRIP = np.dtype([(name, np.int64) for name in STRIP_FIELDS])


def step(kind: int, items: int, **fields: Any) -> NDArray[np.void]:
    """A step, (1,) STEP. Every field that its kind has must be given, and no other."""
    has, given = set(FIELDS[kind]), set(fields)
    if given != has:
        raise TypeError(f"{KINDS[kind]}: give {sorted(has - given)}, not {sorted(given - has)}")
    row = np.zeros(1, STEP)
    for name, value in {"kind": kind, "items": items, **fields}.items():
        row.view(RECORDS[kind])[name] = value
    return row
