"""Bilinear resize of uint8 images in fixed point: OpenCV's INTER_LINEAR, pixel for pixel.

image   (H, W, C) uint8
output  (P, Q, C) uint8

For output column q (rows likewise, with P and H, weights b0 and b1, indices j):
    t = float32((q + 0.5) * (W / Q) - 0.5)     in float64, rounded once          (1)
    i = floor(t),  f = t - i                                                     (2)
    columns   i < 0: i = 0, f = 0;   i >= W - 1: i = W - 1, f = 0                (3)
    rows      f stays; the indices j and j + 1 are clipped to 0 ... H - 1        (4)
    a0 = rint(2048 * (1 - f)),  a1 = rint(2048 * f)        integers              (5)
    S[r, q] = a0 * image[r, i] + a1 * image[r, i + 1]      at most 2**19, exact  (6)
    output = ((b0 * (S[j, q] >> 4) >> 16) + (b1 * (S[j + 1, q] >> 4) >> 16) + 2) >> 2   (7)

rint rounds half to even, and >> rounds down. Halving both sides gives (a + b + c + d + 2) >> 2.
Error   A float bilinear resize differs by one grey level on about 11 % of the samples, never by
        more.
Ranks   These equations > resize_ref > resize_fast.
Source  OpenCV 4 and 5, to whose behaviour the tests hold this file where cv2 is installed.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput

Image = NDArray[np.uint8]
ONE = 2048  # weights are in units of 2**-11


def taps(length: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """i and f of (1) and (2) for `count` outputs of an axis of `length` samples, both (count,)."""
    t = ((np.arange(count) + 0.5) * (length / count) - 0.5).astype(np.float32)  # (1)
    i = np.floor(t)
    return i.astype(np.int64), t - i  # (2)


def weights(f: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The two integer weights of (5); their sum is 2048 up to their two roundings."""
    one = np.float32(1.0)
    return (
        np.rint(np.float32(ONE) * (one - f)).astype(np.int32),
        np.rint(np.float32(ONE) * f).astype(np.int32),
    )


def column_taps(
    width: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """i, a0 and a1 of every output column, after (3)."""
    i, f = taps(width, count)
    f = np.where((i < 0) | (i >= width - 1), np.float32(0.0), f)  # (3)
    a0, a1 = weights(f)
    return np.clip(i, 0, width - 1), a0, a1


def resize_ref(image: Image, height: int, width: int) -> Image:
    """The definition, sample by sample: for study and tests, and too slow for photographs."""
    check(image, height, width)
    rows, columns, channels = image.shape
    i, a0, a1 = column_taps(columns, width)
    j, f = taps(rows, height)
    b0, b1 = weights(f)
    output = np.empty((height, width, channels), np.uint8)
    for p, q, c in np.ndindex(output.shape):
        total = 2
        for b, row in ((b0[p], j[p]), (b1[p], j[p] + 1)):
            line = image[min(max(row, 0), rows - 1)]  # (4)
            left, right = int(line[i[q], c]), int(line[min(i[q] + 1, columns - 1), c])
            s = int(a0[q]) * left + int(a1[q]) * right  # (6)
            total += int(b) * (s >> 4) >> 16  # (7)
        output[p, q, c] = total >> 2
    return output


def resize_fast(image: Image, height: int, width: int) -> Image:
    """The same bits on whole arrays in int32: first along the rows that are used, then across."""
    check(image, height, width)
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image.copy()
    i, a0, a1 = column_taps(columns, width)
    j, f = taps(rows, height)
    b0, b1 = weights(f)
    above, below = np.clip(j, 0, rows - 1), np.clip(j + 1, 0, rows - 1)  # (4)
    used, place = np.unique(np.concatenate((above, below)), return_inverse=True)
    lines = image[used].astype(np.int32)
    s = lines[:, i] * a0[:, None]
    s += lines[:, np.minimum(i + 1, columns - 1)] * a1[:, None]  # (6)
    s >>= 4
    y = s[place[:height]] * b0[:, None, None] >> 16
    y += s[place[height:]] * b1[:, None, None] >> 16  # (7)
    return ((y + 2) >> 2).astype(np.uint8)


def check(image: Image, height: int, width: int) -> None:
    """Refuse sizes without pixels."""
    rows, columns = image.shape[:2]
    if min(rows, columns, height, width) < 1:
        raise BadInput("resize", f"{columns}x{rows} to {width}x{height}", "choose 1 or more")
