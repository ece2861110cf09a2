"""Which tiles a convolution is computed in: how many pixels by how many vectors of 16 filters.

The sums of a tile stay in registers for a whole K-block, and each product costs `vectors` loads
of weights and `pixels` loads of inputs for pixels * vectors fused multiply-adds. So a tile
should fill the registers, with at least 8 sums in flight (4 cycles of latency times 2 per
cycle), and not spill:

    registers  of 16 float32     holds 6x4: 24 sums + 4 weights + 1 input         AVX-512 (32)
    registers  of 8 float32      holds 6x1: 12 sums + 2 weights + 1 input         AVX2 (16)
    registers  of 4 float32      holds 6x1: 24 sums + 4 weights + 1 input         NEON (32)

The pixels of a tile are neighbours in a strip (strips.py), mostly an output row. Tiles come in
three lengths: all numbers but 1, 2, 3 and 7 are sums of sixes, fives and fours. 8x2 serves layers
of 32 filters where 6x4 would compute half of its lanes for nothing. The choice changes the time
and never a bit: each output is its own sum, whatever is computed beside it.

Measured, GFLOP/s of one core (Sapphire Rapids, data in L1, peak 176): 6x4 175, 8x2 174, 6x1 117;
also 8x3 175, 6x2 122, 10x2 125 (spills), 14x1 151.
"""

import os
from typing import NamedTuple


class Tiles(NamedTuple):
    """Tiles of `vectors` * 16 filters: their pixels, and the share of the peak that they reach."""

    pixels: tuple[int, int, int]
    vectors: int
    speed: float

    def split(self, many: int) -> tuple[int, int, int, int]:
        """How many tiles of each length fill a strip, and how many pixels are left over.

        The fewest tiles in all, a pixel that is left over counting as one; of these the fewest
        such pixels and short tiles. `long` tiles of one length would be fewer long ones.
        """
        long, middle, short = self.pixels
        ways = []
        for middles in range(min(long, many // middle + 1)):
            for shorts in range(min(long, (many - middles * middle) // short + 1)):
                longs, left = divmod(many - middles * middle - shorts * short, long)
                ways.append((longs, middles, shorts, left))
        return min(ways, key=lambda way: (sum(way), way[3], way[2]))


# Every tile here has its kernel in simd.py and its branch in conv_kernel.py.
WIDE, HALF, NARROW = Tiles((6, 5, 4), 4, 1.0), Tiles((8, 5, 4), 2, 1.0), Tiles((6, 5, 4), 1, 0.67)
TILES = {tile.vectors: tile for tile in (WIDE, HALF, NARROW)}
TILES_OF_AVX512, TILES_OF_OTHERS = (WIDE, HALF, NARROW), (NARROW,)


def tiles_for_this_cpu() -> tuple[Tiles, ...]:
    """The tiles that do not spill on the CPU that Numba compiles for, best first."""
    return TILES_OF_AVX512 if "avx512" in cpu_compiled_for() else TILES_OF_OTHERS


def cpu_name_and_features() -> tuple[str, str]:
    """The CPU that Numba compiles for, as it tells LLVM; Numba itself is not needed for that."""
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES", "" if name == "generic" else None)
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    return name or llvm.get_host_cpu_name(), features


def cpu_compiled_for() -> str:
    """LLVM's name of the CPU that Numba compiles for, and the features that it has."""
    name, features = cpu_name_and_features()
    return ",".join((name, *(f for f in features.split(",") if not f.startswith("-"))))


def vectors_for(filters: int, tiles: tuple[Tiles, ...]) -> int:
    """Vectors of the fastest tile of which a whole number computes the filters.

    No tile may hang over the last filters: their outputs would have no place in the output map.
    """
    blocks = -(-filters // 16)

    fitting = [tile for tile in (*tiles, NARROW) if blocks % tile.vectors == 0]
    return max(fitting, key=lambda tile: tile.speed).vectors
