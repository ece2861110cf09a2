"""Which tiles a convolution is computed in: how many pixels by how many vectors of 16 filters.

The sums of a tile stay in registers for a whole K-block, and each product costs `vectors` loads
of weights and `pixels` loads of inputs for pixels * vectors fused multiply-adds. So a tile
should fill the registers without spilling, and have at least 8 sums in flight (a latency of 4
cycles times 2 multiply-adds per cycle):

    tile   registers it takes                      of      on
    6x4    24 sums + 4 weights + 1 input           32      AVX-512, 16 float32 each
    6x1    12 sums + 2 weights + 1 input           16      AVX2, 8 float32 each
    6x1    24 sums + 4 weights + 1 input           32      NEON, 4 float32 each

The pixels of a tile are neighbours in a strip (strips.py), which mostly is an output row. Tiles
come in three lengths, since all numbers but 1, 2, 3 and 7 are sums of sixes, fives and fours. The
tile 8x2 serves layers of 32 filters, where 6x4 would compute half of its lanes for nothing. The
choice changes the time and never a bit, because each output is a sum of its own, whatever is
computed beside it.

Measured in GFLOP/s of one core (Sapphire Rapids, data in L1, peak 176): 6x4 reaches 175, 8x2 174,
6x1 117; of tiles that are not used, 8x3 175, 6x2 122, 10x2 125 (it spills) and 14x1 151.
"""

import os
from typing import NamedTuple


class Tiles(NamedTuple):
    """Tiles of `vectors` * 16 filters in three lengths.

    pixels    how many pixels a long, a middle and a short tile have
    speed     the share of the CPU's peak that long ones reach
    """

    pixels: tuple[int, int, int]
    vectors: int
    speed: float

    def split(self, count: int) -> tuple[int, int, int, int]:
        """How many tiles of each length fill `count` pixels, and how many pixels are left over.

        The way with the fewest tiles is taken, where a pixel that is left over counts as a tile;
        among equals, that with the fewest such pixels, then the fewest short tiles. No way
        takes `long` middle tiles or more, since `middle` long ones have as many pixels.
        """
        long, middle, short = self.pixels
        ways = []
        for middles in range(min(long, count // middle + 1)):
            for shorts in range(min(long, (count - middles * middle) // short + 1)):
                longs, left = divmod(count - middles * middle - shorts * short, long)
                ways.append((longs, middles, shorts, left))
        return min(ways, key=lambda way: (sum(way), way[3], way[2]))


# Every tile here has its kernel in tile_kernel.py and its branch in conv_kernel.py.
WIDE, HALF, NARROW = Tiles((6, 5, 4), 4, 1.0), Tiles((8, 5, 4), 2, 1.0), Tiles((6, 5, 4), 1, 0.67)
TILES = {tile.vectors: tile for tile in (WIDE, HALF, NARROW)}
TILES_OF_AVX512, TILES_OF_OTHERS = (WIDE, HALF, NARROW), (NARROW,)


def tiles_for_this_cpu() -> tuple[Tiles, ...]:
    """The tiles that do not spill on the CPU that Numba compiles for, best first."""
    return TILES_OF_AVX512 if "avx512" in cpu_compiled_for() else TILES_OF_OTHERS


def cpu_name_and_features() -> tuple[str, str]:
    """The CPU that Numba compiles for, as Numba tells LLVM, found without importing Numba."""
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES", "" if name == "generic" else None)
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    return name or llvm.get_host_cpu_name(), features


def cpu_compiled_for() -> str:
    """LLVM's name of the CPU that Numba compiles for, and its features, with commas between."""
    name, features = cpu_name_and_features()
    return ",".join((name, *(f for f in features.split(",") if not f.startswith("-"))))


def vectors_for(filters: int, tiles: tuple[Tiles, ...]) -> int:
    """The width of the fastest tile of which a whole number computes the filters.

    No tile may reach beyond the last block of filters, where the output map has no place.
    """
    blocks = -(-filters // 16)
    fitting = [tile for tile in (*tiles, NARROW) if blocks % tile.vectors == 0]
    return max(fitting, key=lambda tile: tile.speed).vectors
