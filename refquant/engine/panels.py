"""Weights in the order in which the fast convolution reads them, as float32 or as packed codes.

A weight (F, C, R, S) becomes panels (groups, K, vectors, 16): `vectors` * 16 filters per group,
the K = C*R*S products of a sum in the order of the contract (blocked.py), so that a K-block's
panel is one piece of memory, which is read from its first to its last byte. Filters beyond F have
weights, or packed codes, of zero; nobody reads their outputs.

    Panels         weight  (groups, K, vectors, 16) float32
    PackedPanels   masks   (groups, K, vectors, code_bits) uint16: bit i of mask j is bit j
                           of the code of lane i, so that 16 codes take 2 * code_bits bytes
        affine     scale, zero_point  (J, W) float32
        table      levels             (J, L, W) float32, L = 2**code_bits
        either     entry   (K,) int64: product k uses row entry[k] of the arrays above. W is the
                           number of all filters if their maps differ; otherwise it is 16 for an
                           affine map and 1 for a table

Both stand in for the weight in a node's arrays (Decodable of graph.py). Whoever needs the plain
array calls `dequantize`, so that memory holds the weights only once.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.packed import PackedWeights
from refquant.engine.blocked import LANES, aligned, product_order
from refquant.engine.steps import WEIGHT

Shape = tuple[int, int, int, int]
NO_FIELDS = dict.fromkeys(WEIGHT, 0)


@dataclass(frozen=True)
class Panels:
    """A float32 weight in panels."""

    shape: Shape
    weight: NDArray[np.float32]

    @property
    def vectors(self) -> int:
        return self.weight.shape[2]

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes

    def dequantize(self) -> NDArray[np.float32]:
        """The plain weight, (F, C, R, S)."""
        return from_panels(self.weight, self.shape)

    @cached_property
    def finite(self) -> bool:
        """Whether all weights are known to be finite; a sum that overflows may hide that."""
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(self.weight.sum()))

    def fields(self) -> dict[str, int]:
        """The fields WEIGHT of a convolution's step (steps.py)."""
        return NO_FIELDS | {"weight": self.weight.ctypes.data, "vectors": self.vectors}


@dataclass(frozen=True)
class PackedPanels:
    """Packed codes in panels, and the maps that say what the codes stand for."""

    shape: Shape
    masks: NDArray[np.uint16]
    entry: NDArray[np.int64]
    scale: NDArray[np.float32] | None
    zero_point: NDArray[np.float32] | None
    levels: NDArray[np.float32] | None

    @property
    def vectors(self) -> int:
        return self.masks.shape[2]

    @property
    def code_bits(self) -> int:
        return self.masks.shape[3]

    @property
    def nbytes(self) -> int:
        arrays = (self.masks, self.entry, self.scale, self.zero_point, self.levels)
        return sum(array.nbytes for array in arrays if array is not None)

    def dequantize(self) -> NDArray[np.float32]:
        """The plain weight, (F, C, R, S), by equations (2) and (3) of panels_kernel.py."""
        codes = from_panels(codes_of(self.masks), self.shape)
        C, R, S = self.shape[1:]
        entry = np.empty((C, R, S), np.int64)
        entry[tuple(product_order(C, R, S).T)] = self.entry
        if self.levels is not None:
            lane = np.arange(self.shape[0]) % self.levels.shape[2]
            return self.levels[entry, codes, lane[:, None, None, None]]
        assert self.scale is not None and self.zero_point is not None
        lane = (np.arange(self.shape[0]) % self.scale.shape[1])[:, None, None, None]
        return self.scale[entry, lane] * (codes.astype(np.float32) - self.zero_point[entry, lane])

    @cached_property
    def finite(self) -> bool:
        """Whether all weights are finite."""
        if self.levels is not None:
            return bool(np.isfinite(self.levels).all())
        assert self.scale is not None and self.zero_point is not None
        with np.errstate(over="ignore", invalid="ignore"):
            largest = self.scale * (2.0**self.code_bits + np.abs(self.zero_point))
        return bool((np.abs(largest) < np.finfo(np.float32).max).all())

    def fields(self) -> dict[str, int]:
        """The fields WEIGHT of a convolution's step (steps.py)."""
        fields = NO_FIELDS | {
            "weight": self.masks.ctypes.data,
            "vectors": self.vectors,
            "code_bits": self.code_bits,
            "entry": self.entry.ctypes.data,
        }
        if self.levels is not None:
            _, codes, width = self.levels.shape
            per_lane = 4 if width > 1 else 0
            return fields | {
                "levels": self.levels.ctypes.data,
                "entry_row": 4 * codes * width,
                "code_row": 4 * width,
                "lane_row": per_lane,
                "filter_row": LANES * per_lane,
            }
        assert self.scale is not None and self.zero_point is not None
        width = self.scale.shape[1]
        return fields | {
            "scale": self.scale.ctypes.data,
            "zero_point": self.zero_point.ctypes.data,
            "entry_row": 4 * width,
            "filter_row": 4 * LANES if width > LANES else 0,
        }


def to_panels(weight: NDArray[Any], vectors: int, new: Any = aligned) -> NDArray[Any]:
    """(F, C, R, S) of any dtype as (groups, K, vectors, 16), made by new(shape, dtype)."""
    F, C, R, S = weight.shape
    wide = LANES * vectors
    groups = -(-F // wide)
    panels = new((groups, C * R * S, wide), weight.dtype.type)
    c, r, s = product_order(C, R, S).T
    order = (c * R + r) * S + s
    rows = weight.reshape(F, -1)
    for g in range(groups):
        some = rows[g * wide : (g + 1) * wide]
        panels[g, :, : len(some)] = some.T[order]
    return panels.reshape(groups, C * R * S, vectors, LANES)


def from_panels(panels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Undo `to_panels`."""
    F, C, R, S = shape
    by_filter = panels.transpose(0, 2, 3, 1).reshape(-1, panels.shape[1])[:F]
    weight = np.empty(shape, panels.dtype)
    c, r, s = product_order(C, R, S).T
    weight[:, c, r, s] = by_filter
    return weight


def panel_bytes(shape: tuple[int, ...], vectors: int) -> int:
    """How many bytes a weight's panels take in float32."""
    wide = LANES * vectors
    return -(-shape[0] // wide) * wide * int(np.prod(shape[1:])) * 4


def panels_of(
    weight: NDArray[np.float32] | PackedWeights, vectors: int, new: Any = aligned
) -> Panels | PackedPanels:
    """A weight in panels of groups of vectors * 16 filters; packed weights stay packed.

    new(shape, dtype) gives the memory of panels in float32.
    """
    if isinstance(weight, PackedWeights):
        return packed_panels(weight, vectors)
    shape: Any = weight.shape
    return Panels(shape, to_panels(np.asarray(weight, np.float32), vectors, new))


def packed_panels(weight: PackedWeights, vectors: int) -> PackedPanels:
    """Packed weights with their codes as masks and their maps laid out by filter and product."""
    F, C, R, S = weight.shape
    c, r, s = product_order(C, R, S).T
    taps, entry = np.unique(weight.tap_group[c, r, s], return_inverse=True)  # taps (J,)
    masks = masks_of(to_panels(weight.codes(), vectors), weight.code_bits)
    same = bool(np.all(weight.filter_group == weight.filter_group[0]))
    width = (
        (1 if weight.levels is not None else LANES) if same else masks.shape[0] * vectors * LANES
    )
    filters = np.full(width, weight.filter_group[0])
    if not same:
        filters[:F] = weight.filter_group
    groups = taps[:, None] + filters  # (J, W)
    maps = {
        "scale": lined_up(weight.scale, groups),
        "zero_point": lined_up(weight.zero_point, groups),
        "levels": lined_up(weight.levels, groups),
    }
    return PackedPanels(weight.shape, masks, entry.reshape(-1).astype(np.int64), **maps)


def lined_up(values: NDArray[np.float32] | None, groups: NDArray[np.int64]) -> Any:
    """values (G,) as (J, W), or (G, L) as (J, L, W), for groups (J, W)."""
    if values is None:
        return None
    chosen = values[groups]
    chosen = chosen if values.ndim == 1 else chosen.transpose(0, 2, 1)
    lined = aligned(chosen.shape)
    lined[:] = chosen
    return lined


def masks_of(codes: NDArray[Any], code_bits: int) -> NDArray[np.uint16]:
    """Codes (groups, K, vectors, 16) as masks (groups, K, vectors, code_bits)."""
    masks = aligned((*codes.shape[:3], code_bits), np.uint16)
    for j in range(code_bits):
        bits = np.packbits((codes >> j) & 1 != 0, axis=-1, bitorder="little")
        masks[..., j] = bits.view("<u2")[..., 0]
    return masks


def codes_of(masks: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Undo `masks_of`."""
    lane = np.arange(LANES, dtype=np.uint16)
    codes = np.zeros((*masks.shape[:3], LANES), np.uint16)
    for j in range(masks.shape[3]):
        codes |= ((masks[..., j, None] >> lane) & 1) << np.uint16(j)
    return codes
