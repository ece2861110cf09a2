"""Weights that stay quantized in memory: packed codes, and what each code stands for.

shape          (F, C, R, S)
stream         (bytes,) uint8      codes of `code_bits` bits (1 ... 9), row-major (bits.py)
filter_group   (F,) int64          the group of a weight is the sum of two parts,
tap_group      (C, R, S) int64         g = filter_group[f] + tap_group[c, r, s]            (1)
and one of
    scale, zero_point  (G,) float32    w = scale[g] * (code - zero_point[g])               (2)
    levels             (G, L) float32  w = levels[g, code]                                 (3)

Any set of kept axes and any blocks within a filter have the form (1). (2) is evaluated in
float32: the difference of a code below 512 and an integer zero point is exact, so the product is
the only rounding; a scheme whose values are not (2) to the last bit gives its values as a table
(3). Nothing here knows a scheme, and nothing is needed but these arrays to decode.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.bits import pack, packed_bytes, unpack
from refquant.arrays.errors import BadInput

LARGEST_ZERO_POINT = 1 << 23  # beyond it code - zero_point need not be exact in float32


@dataclass(frozen=True)
class PackedWeights:
    """Packed codes with an affine map or a table of levels; see the file's docstring."""

    shape: tuple[int, int, int, int]
    code_bits: int
    stream: NDArray[np.uint8]
    filter_group: NDArray[np.int64]
    tap_group: NDArray[np.int64]
    scale: NDArray[np.float32] | None = None
    zero_point: NDArray[np.float32] | None = None
    levels: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and of what they stand for."""
        maps = (self.scale, self.zero_point, self.levels)
        return self.stream.nbytes + sum(array.nbytes for array in maps if array is not None)

    def codes(self) -> NDArray[Any]:
        """The codes, (F, C, R, S) uint8, or uint16 for 9 bits."""
        return unpack(self.stream, math.prod(self.shape), self.code_bits).reshape(self.shape)

    def groups(self) -> NDArray[np.int64]:
        """The group of every weight, (F, C, R, S), equation (1)."""
        return self.filter_group[:, None, None, None] + self.tap_group

    def dequantize(self) -> NDArray[np.float32]:
        """The weight, (F, C, R, S) float32, equation (2) or (3)."""
        groups, codes = self.groups(), self.codes()
        if self.levels is not None:
            return self.levels[groups, codes]  # (3)
        assert self.scale is not None and self.zero_point is not None
        return self.scale[groups] * (codes.astype(np.float32) - self.zero_point[groups])  # (2)


def pack_weights(
    codes: NDArray[np.unsignedinteger],
    code_bits: int,
    axes: str = "F",
    block: int = 0,
    **maps: NDArray[Any],
) -> PackedWeights:
    """PackedWeights of codes (F, C, R, S).

    axes     letters of FCRS: the kept axes; groups are numbered row-major over them
    block    with axes "F": weights per group within a flattened filter, 0 for all of them
    maps     scale and zero_point (G,), or levels (G, L); converted to float32
    """
    filter_group, tap_group = group_parts(codes.shape, axes, block)
    arrays = {name: np.ascontiguousarray(a, np.float32) for name, a in maps.items()}
    stream = pack(codes, code_bits)
    return PackedWeights(codes.shape, code_bits, stream, filter_group, tap_group, **arrays)


def group_parts(
    shape: tuple[int, ...], axes: str, block: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """filter_group and tap_group for kept axes, or for blocks within each filter."""
    F, *taps = shape
    if block:
        tap_group = np.arange(math.prod(taps)).reshape(taps) // block
        return np.arange(F) * (int(tap_group.max()) + 1), tap_group
    kept = [size if letter in axes else 1 for letter, size in zip("CRS", taps, strict=True)]
    tap_group = np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), taps).copy()
    return np.arange(F) * (math.prod(kept) if "F" in axes else 0), tap_group


def check(packed: PackedWeights) -> None:
    """Refuse parts that do not fit each other, and maps that would not decode exactly."""
    shape = packed.shape
    if len(shape) != 4 or min(shape) < 1:
        raise BadInput("shape", f"{shape} is not (F, C, R, S) of at least one weight")
    need = packed_bytes(math.prod(shape), packed.code_bits)
    if packed.stream.dtype != np.uint8 or packed.stream.shape != (need,):
        raise BadInput("codes", f"{packed.stream.shape} should be ({need},) uint8")
    if packed.filter_group.shape != shape[:1] or packed.tap_group.shape != shape[1:]:
        raise BadInput("groups", f"do not have the shapes of a weight {shape}")
    maps = (packed.scale, packed.zero_point) if packed.levels is None else (packed.levels,)
    least = int(packed.filter_group.min() + packed.tap_group.min())
    most = int(packed.filter_group.max() + packed.tap_group.max())
    for array in maps:
        if array is None or array.dtype != np.float32 or not least >= 0 or most >= len(array):
            raise BadInput("maps", f"need float32 entries for the groups {least} ... {most}")
    if packed.levels is not None:
        if packed.levels.ndim != 2 or packed.levels.shape[1] < 1 << packed.code_bits:
            raise BadInput("levels", f"{packed.levels.shape} is not (G, {1 << packed.code_bits})")
    elif not is_whole(packed.zero_point):
        raise BadInput("zero_point", "must be whole numbers below 2**23", "give levels instead")


def is_whole(numbers: NDArray[np.float32] | None) -> bool:
    """Whether all are whole numbers small enough that a difference with a code is exact."""
    return numbers is not None and bool(
        np.all((numbers == np.rint(numbers)) & (abs(numbers) < LARGEST_ZERO_POINT))
    )
