"""The layout of the fast kernels: channels in blocks of 16, 64 bytes per pixel and block.

A map (C, H, W) float32 lies in memory as [ceil(C/16)][rows][columns][16]: channel c of a pixel
is lane c mod 16 of block c div 16. Around H x W there may be a halo of zero pixels, so that a
window that hangs over the edge reads +0.0 without a question being asked.

    address of (c, h, w) = address + (c div L)*plane + h*row + w*pixel + (c mod L)*4       (1)

L is 16, and pixel is 64. The image is an exception: it has 3 channels and stays planar, so that L
is 1 and pixel is 4. In the order of the contract (conv.py, equation 3), product k of a sum is that
of

    weight[f, c_k, r_k, s_k]  with  x at  window + offset_k                               (2)
    offset_k = (c_k div L)*plane + (r_k - padding)*row + (s_k - padding)*pixel + (c_k mod L)*4

where `window` is the address (1) of pixel (p*stride, q*stride), channel 0. In that order the
channels of a block follow each other for one tap: they are a run of neighbours in memory, L of
them or as many as are left. So a table of runs serves every kernel size, padding, stride and
channel count, and any choice of taps. A channel that does not exist makes no product, so nothing
depends on lanes beyond C.
"""

import mmap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.engine.steps import LINE

LANES = 16
LARGE = 1 << 21  # bytes of a large page


class PlacedMap(NamedTuple):
    """A map of `channels`, `rows` and `columns`, and where it lies: equation (1).

    address        of pixel (0, 0) of the first channel
    lanes          channels of a block: L
    plane, row     bytes from a block, and from a row, to the next
    """

    address: int
    channels: int
    rows: int
    columns: int
    lanes: int
    plane: int
    row: int

    @property
    def pixel(self) -> int:
        """Bytes from a pixel to its right neighbour."""
        return 4 * self.lanes

    @property
    def blocks(self) -> int:
        """How many blocks of `lanes` channels there are."""
        return -(-self.channels // self.lanes)

    def from_row(self, first: int, rows: int) -> "PlacedMap":
        """Rows `first` to first + rows - 1 as a map; they may lie outside of this one."""
        return self._replace(address=self.address + first * self.row, rows=rows)

    def part(self, first_channel: int, channels: int) -> "PlacedMap":
        """Some of the channels as a map; the first must begin a block."""
        shift = first_channel // self.lanes * self.plane
        return self._replace(address=self.address + shift, channels=channels)


def address_fields(name: str, place: PlacedMap) -> dict[str, int]:
    """The three fields of a step that say where its map `name` ("x", "y" or "z") lies."""
    return {name: place.address, f"{name}_plane": place.plane, f"{name}_row": place.row}


def size_fields(place: PlacedMap) -> dict[str, int]:
    """The fields of a step that give a map's size."""
    return {"rows": place.rows, "columns": place.columns}


def strides(rows: int, columns: int, halo: int, lanes: int = LANES) -> tuple[int, int]:
    """(plane, row) in bytes of a map with that halo; every plane begins on a cache line.

    A plane is one line longer than it need be: at the usual sizes planes would otherwise begin at
    multiples of 4096 bytes, which share a cache set.
    """
    row = (columns + 2 * halo) * 4 * lanes
    size = (rows + 2 * halo) * row
    return -(-size // LINE) * LINE + LINE, row


def placed_at(
    start: int, channels: int, rows: int, columns: int, halo: int, lanes: int = LANES
) -> PlacedMap:
    """The map whose memory, halo included, begins at the address `start`."""
    plane, row = strides(rows, columns, halo, lanes)
    first = start + halo * row + halo * 4 * lanes
    return PlacedMap(first, channels, rows, columns, lanes, plane, row)


def aligned(shape: tuple[int, ...], dtype: type = np.float32) -> NDArray:
    """An array of zeros that begins on a cache line.

    A large array gets pages of its own from the system, and large ones where it has them. They go
    back to it as soon as the array goes, which malloc does not promise.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size >= LARGE and hasattr(mmap, "MAP_PRIVATE"):
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(pages, dtype).reshape(shape)
    memory = np.zeros(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def cutter(size: int) -> Callable[..., NDArray]:
    """A function like `aligned` that cuts arrays, `size` bytes in all, from one piece of memory.

    One piece has large pages throughout, while an array by itself has small ones at its ends; that
    is 0.5% of YOLOv7's time. The sizes must be whole cache lines.
    """
    memory, used = aligned((size,), np.uint8), 0

    def cut(shape: tuple[int, ...], dtype: type = np.float32) -> NDArray:
        nonlocal used
        first, used = used, used + int(np.prod(shape)) * np.dtype(dtype).itemsize
        return memory[first:used].view(dtype).reshape(shape)

    return cut


def view_of(memory: NDArray[np.uint8], place: PlacedMap) -> NDArray[np.float32]:
    """The map as a view (blocks, H, W, lanes) of the memory that holds it."""
    shape = (place.blocks, place.rows, place.columns, place.lanes)
    return np.ndarray(
        shape,
        np.float32,
        memory,
        place.address - memory.ctypes.data,
        (place.plane, place.row, place.pixel, 4),
    )


def put(
    x: NDArray[np.float32], memory: NDArray[np.uint8], place: PlacedMap, halo: int = 0
) -> None:
    """Copy x (C, H, W) into a map, and write zeros into its halo."""
    rows, columns = place.rows + 2 * halo, place.columns + 2 * halo
    corner = place.address - halo * (place.row + place.pixel)
    view = view_of(memory, place._replace(address=corner, rows=rows, columns=columns))
    for edge in (view[:, :halo], view[:, rows - halo :]):
        edge[:] = 0
    for edge in (view[:, :, :halo], view[:, :, columns - halo :]):
        edge[:] = 0
    for c in range(place.channels):
        inner = view[c // place.lanes, halo : rows - halo, halo : columns - halo]
        inner[:, :, c % place.lanes] = x[c]


def take(memory: NDArray[np.uint8], place: PlacedMap) -> NDArray[np.float32]:
    """A map as a new array (C, H, W)."""
    y = np.empty((place.blocks, place.lanes, place.rows, place.columns), np.float32)
    y[:] = view_of(memory, place).transpose(0, 3, 1, 2)
    return y.reshape(-1, place.rows, place.columns)[: place.channels]


def product_order(channels: int, kernel_rows: int, kernel_columns: int) -> NDArray[np.int64]:
    """(c_k, r_k, s_k) of every product of a sum, (K, 3) int64, in the order of the contract.

    The products of a K-block follow each other, whether it has 16 or 128 channels.
    """
    c, r, s = np.indices((channels, kernel_rows, kernel_columns)).reshape(3, -1)
    # np.lexsort sorts by its last key first.
    order = np.lexsort((c, s, r, c // LANES))
    return np.stack((c, r, s), axis=1)[order]


class Runs(NamedTuple):
    """The runs of a convolution's products: (runs,) each, k, r, s and offset (2) of the first."""

    k: NDArray[np.int64]
    r: NDArray[np.int64]
    s: NDArray[np.int64]
    offset: NDArray[np.int64]


def runs_of(place: PlacedMap, kernel: tuple[int, int], padding: int) -> Runs:
    """The runs of the products of a convolution that reads the map."""
    order = product_order(place.channels, *kernel)
    k = np.flatnonzero(order[:, 0] % place.lanes == 0)
    c, r, s = order[k].T
    block, row, column = c // place.lanes, r - padding, s - padding
    return Runs(k, r, s, block * place.plane + row * place.row + column * place.pixel)
