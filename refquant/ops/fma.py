"""Fused multiply-add in float32, without hardware for it: round(x * w + acc), rounded once.

x, w, acc   float32, any shapes that broadcast       result   float32

    p = x * w                       exact in float64: 24 + 24 bits fit in 53        (1)
    s, e = TwoSum(p, acc)           s + e = p + acc exactly, s = fl64(p + acc)      (2)
    s' = s with its last bit set (towards e) where e != 0     round to odd          (3)
    result = float32(s')                                                            (4)

(3) makes the two roundings of (2) and (4) equal to one: float64 has more than two bits to spare
over float32, so a last bit that is odd keeps (4) from ever seeing a false tie.
Source: Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms
using rounding to odd", theorem 1; TwoSum: Knuth, TAOCP 2, 4.2.2.

Where the hardware has an fma it gives the same bits: IEEE 754 leaves no choice. Only the payload
and the sign of a NaN are free, and no comparison here looks at them.
"""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32] | np.float32


def fma_ref(x: Float32, w: Float32, acc: Float32) -> NDArray[np.float32]:
    """round(x * w + acc) with one rounding, to nearest, ties to even. Shapes broadcast."""
    with np.errstate(invalid="ignore", over="ignore"):
        p = np.multiply(x, w, dtype=np.float64)  # (1)
        a = np.asarray(acc, np.float64)
        s = np.asarray(p + a)  # (2)
        back = s - p
        e = (p - (s - back)) + (a - back)
        bits = s.view(np.int64)
        # (3) An even last bit and a nonzero error: one step towards e. Away from zero adds one
        # to the bits, towards zero takes one away. s = 0 has e = 0; inf and NaN stay as they are.
        inexact = (e != 0) & np.isfinite(s) & (bits & 1 == 0)
        step = np.where((e > 0) == (s > 0), np.int64(1), np.int64(-1))
        odd = np.where(inexact, bits + step, bits).view(np.float64)
        return odd.astype(np.float32)  # (4)


def fma(x: np.float32, w: np.float32, acc: np.float32) -> np.float32:
    """`fma_ref` of three numbers; in compiled code the processor's own instruction."""
    return np.float32(fma_ref(x, w, acc))
