"""Codes of 1 to 9 bits as a stream of bytes without gaps: little-endian, low bits first.

codes    (n,) uint8, or uint16 where width = 9; every code < 2**width
stream   (ceil(n * width / 8),) uint8

    bit k of code i  =  bit (i*width + k) of the stream                          (1)
    bit m of the stream  =  bit (m mod 8) of byte (m div 8)                      (2)
    the bits after the last code are 0                                           (3)

Eight codes fill exactly `width` bytes: a block. In it, code i (0 ... 7) starts
shift = i*width - 8*j bits above the low end of byte j (0 ... width - 1), and

    byte j  =  OR over the codes i that touch it of (code i << shift) mod 256    (4)
    code i  =  OR over the bytes j that it touches of (byte j >> shift) mod 2**width   (5)
    a negative shift goes the other way; i and j touch where -width < shift < 8

`unpack` undoes `pack` exactly. 36.9 million codes take 0.05 s (1 bit) to 0.14 s (9 bits) either
way, measured on one core of an Ice Lake Xeon.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput

WIDTHS = range(1, 10)
BLOCKS_AT_ONCE = 1 << 14  # 2**17 codes: what is at work stays in a 1 MB cache


def packed_bytes(count: int, width: int) -> int:
    """Bytes of the stream of `count` codes."""
    return -(-count * width // 8)


def pack(codes: NDArray[np.unsignedinteger], width: int) -> NDArray[np.uint8]:
    """The stream of an array of codes of any shape, taken in row-major order."""
    check_width(width)
    flat = np.ravel(codes)
    if flat.size and int(flat.max()) >> width:
        raise BadInput("codes", f"{int(flat.max())} does not fit into {width} bits")
    blocks = -(-flat.size // 8)
    stream = np.zeros((blocks, width), np.uint8)
    for first in range(0, blocks, BLOCKS_AT_ONCE):
        some = flat[8 * first : 8 * (first + BLOCKS_AT_ONCE)].astype(np.uint16)
        some = np.pad(some, (0, -some.size % 8)).reshape(-1, 8)  # (3)
        out = stream[first : first + len(some)]
        for i, j, shift in touching(width):
            out[:, j] |= shifted(some[:, i], shift).astype(np.uint8)  # (4)
    return stream.reshape(-1)[: packed_bytes(flat.size, width)]


def unpack(
    stream: NDArray[np.uint8], count: int, width: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The `count` codes of a stream, uint8, or uint16 where width = 9.

    A stream that is too short or too long, or whose last bits break (3), raises BadInput.
    """
    check_width(width)
    if stream.size != packed_bytes(count, width):
        need = packed_bytes(count, width)
        raise BadInput("codes", f"{stream.size} bytes, {count} codes of {width} bits need {need}")
    if count * width % 8 and int(stream[-1]) >> (count * width % 8):
        raise BadInput("codes", f"the bits after the last of {count} codes are not 0")
    blocks = -(-count // 8)
    codes = np.empty((blocks, 8), np.uint16 if width > 8 else np.uint8)
    for first in range(0, blocks, BLOCKS_AT_ONCE):
        some = stream[width * first : width * (first + BLOCKS_AT_ONCE)].astype(np.uint16)
        some = np.pad(some, (0, -some.size % width)).reshape(-1, width)
        out = np.zeros((len(some), 8), np.uint16)
        for i, j, shift in touching(width):
            out[:, i] |= shifted(some[:, j], -shift)  # (5)
        codes[first : first + len(some)] = out & (2**width - 1)
    return codes.reshape(-1)[:count]


def touching(width: int) -> Iterator[tuple[int, int, int]]:
    """(i, j, shift) for every code i of a block and every byte j that it touches."""
    for i in range(8):
        for j in range(width):
            shift = i * width - 8 * j
            if -width < shift < 8:
                yield i, j, shift


def shifted(values: NDArray[np.uint16], shift: int) -> NDArray[np.uint16]:
    """values << shift, or >> where shift is negative.

    16 bits hold every result: codes of 9 bits go up by 7 at most, bytes of 8 bits by 8.
    """
    return values << np.uint16(shift) if shift >= 0 else values >> np.uint16(-shift)


def check_width(width: int) -> None:
    if width not in WIDTHS:
        raise BadInput(f"width={width}", f"choose {WIDTHS[0]}..{WIDTHS[-1]}")
