"""Max pooling: each output is the largest value under a square window.

x   (N, C, H, W) float32 or float64
y   (N, C, P, Q) same dtype,  P = (H + 2*padding - kernel) // stride + 1, Q likewise

    y[n,c,p,q] = max over r,s of x[n, c, p*stride + r - padding, q*stride + s - padding]
    Outside the image x counts as -inf, so padding never wins.

Arithmetic  Compare and select, best = value if value > best, over r and then s, starting from the
first tap. Nothing is rounded. If there is a NaN under the window, the result is the canonical NaN,
in any order. Of +0 and -0 the one that is met first stays, since 0 > -0 is false.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.ops.conv import pad, windows


def max_pool_ref(x: NDArray, *, kernel: int, stride: int, padding: int) -> NDArray:
    """The definition; the same function serves float64, since nothing is rounded."""
    view = windows(pad(x, padding, -np.inf), (kernel, kernel), stride)
    best = view[..., 0, 0]
    for r in range(kernel):
        for s in range(kernel):
            tap = view[..., r, s]
            best = np.where(
                np.isnan(best) | np.isnan(tap),
                x.dtype.type(np.nan),
                np.where(tap > best, tap, best),
            )
    return best


def max_pool_fast(x: NDArray, *, kernel: int, stride: int, padding: int) -> NDArray:
    """The maxima within each row, then down the columns, by 2 * kernel comparisons, not kernel**2.

    They equal the definition, because a maximum over a square is the maximum of its rows' maxima.
    That holds for +0 and -0 too: the first of the first row is the first over r and then s.
    """
    view = pad(x, padding, -np.inf)
    rows = (view.shape[2] - kernel) // stride + 1
    columns = (view.shape[3] - kernel) // stride + 1
    for axis, count in ((3, columns), (2, rows)):
        best = np.take(view, range(0, count * stride, stride), axis=axis)
        for tap in range(1, kernel):
            other = np.take(view, range(tap, tap + count * stride, stride), axis=axis)
            best = np.where((other > best) | np.isnan(other), other, best)
        view = best
    return np.where(np.isnan(view), x.dtype.type(np.nan), view)
